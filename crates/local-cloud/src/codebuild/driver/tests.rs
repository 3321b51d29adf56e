//! Tests of the scripts, which really run.

use std::process::Command;

use super::*;

/// Runs a buildspec directly and returns its output, with reports as `> REPORT`.
fn run(text: &str, expressions: &[&str]) -> (String, tempfile::TempDir) {
    let spec = Buildspec::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let expressions: Vec<String> = expressions.iter().map(|&text| text.to_owned()).collect();
    let script = Script::new(&spec, &expressions);
    let root = tempfile::tempdir().unwrap();
    let directory = Directory::open(root.path(), "/opt/codebuild").unwrap();
    script.write(root.path(), &directory).unwrap();
    let source = root.path().join("src");
    std::fs::create_dir(&source).unwrap();
    let command = script.command(root.path());
    let output = Command::new(&command[0])
        .args(&command[1..])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("CODEBUILD_SRC_DIR", &source)
        .env("GIVEN", "given value")
        .envs([
            ("control", "1"),
            ("marker", "2"),
            ("shell", "3"),
            ("succeeding", "4"),
            ("number", "5"),
            ("code", "6"),
        ])
        .current_dir(&source)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned() + &errors;
    (
        shown.replace(&format!("\n{} ", script.marker), "\n> "),
        root,
    )
}

fn lines(output: &str, prefix: &str) -> Vec<String> {
    let lines = output.lines().filter_map(|line| line.strip_prefix(prefix));
    lines.map(str::to_owned).collect()
}

#[test]
fn commands_share_a_shell() {
    for shell in ["bash", "/bin/sh"] {
        let (output, root) = run(
            &format!(
                r#"
version: 0.2
env:
  shell: {shell}
  exported-variables: [TAG, MULTI, ABSENT, GIVEN]
phases:
  install:
    commands:
      - TAG="it's 1"
      - export EXPORTED=x
      - |
        MULTI="a
        b \$HOME \"q\""
      - mkdir sub && cd sub
  build:
    commands:
      - echo "=$TAG=$EXPORTED=$(basename "$PWD")=$GIVEN"
      - printenv EXPORTED | sed 's/^/=/'
      - unset GIVEN
      - echo "=${{GIVEN:-no}}="
"#
            ),
            &[
                "$TAG-$(echo two words)",
                "a/\"quoted\"",
                "broken $(",
                "it's",
            ],
        );
        assert_eq!(
            lines(&output, "="),
            ["it's 1=x=sub=given value", "x", "no="],
            "{shell}: {output}"
        );
        let out =
            |name: &str| std::fs::read_to_string(root.path().join("control/out").join(name)).ok();
        assert_eq!(out("variable-0").as_deref(), Some("it's 1"));
        assert_eq!(
            out("variable-1").as_deref(),
            Some("a\nb $HOME \"q\""),
            "{output}"
        );
        assert_eq!((out("variable-2"), out("variable-3")), (None, None));
        assert_eq!(
            out("text-0").as_deref(),
            Some("it's 1-two words"),
            "{output}"
        );
        assert_eq!(out("text-2").as_deref(), Some(""));
        assert_eq!(out("text-3").as_deref(), Some("it's"));
    }
}

#[test]
fn bash_keeps_functions_arrays_and_options() {
    let (output, _root) = run(
        r#"
version: 0.2
env: {shell: bash}
phases:
  build:
    commands:
      - greet() { echo "=hello $1"; }
      - greet you
      - declare -A map=([a b]=c); list=(x "y z")
      - echo "=${map[a b]} ${#list[@]}"
      - set -o pipefail; readonly FIXED=1
      - false | true; echo "=$? $FIXED"
      - 'IFS=:'
      - |
        for part in $(echo a:b); do echo "=$part"; done
"#,
        &[],
    );
    assert_eq!(
        lines(&output, "="),
        ["hello you", "c 2", "1 1", "a", "b"],
        "{output}"
    );
}

#[test]
fn exit_ends_only_its_command() {
    for shell in ["bash", "sh"] {
        let (output, _root) = run(
            &format!(
                r#"
version: 0.2
env: {{shell: {shell}}}
phases:
  build:
    commands:
      - A=kept; exit 0
      - echo "=$A"
      - set -e
      - false; echo "=not reached"
      - echo "=skipped"
    finally:
      - echo "=$CODEBUILD_BUILD_SUCCEEDING $A"
  post_build:
    commands:
      - echo "=post $CODEBUILD_BUILD_SUCCEEDING"
      - if true
"#
            ),
            &[],
        );
        assert_eq!(
            lines(&output, "="),
            ["kept", "0 kept", "post 0"],
            "{shell}: {output}"
        );
        let reports = lines(&output, "> ");
        assert!(reports.contains(&"failed 3 1".to_owned()), "{output}");
        assert!(reports.contains(&"end BUILD 1".to_owned()), "{output}");
        assert!(reports.contains(&"failed 7 2".to_owned()), "{output}");
    }
}

#[test]
fn what_follows_a_failure() {
    let ran = |phase: &str, rule: &str| {
        let rule = if rule.is_empty() {
            String::new()
        } else {
            format!("on-failure: {rule}, ")
        };
        let part = |name: &str| {
            if name == phase {
                format!("  {name}: {{{rule}commands: ['echo =x; false'], finally: ['echo =f']}}\n")
            } else {
                format!("  {name}: {{commands: ['echo ={name}']}}\n")
            }
        };
        let phases: String = ["install", "pre_build", "build", "post_build"]
            .map(part)
            .concat();
        let (output, _root) = run(&format!("version: 0.2\nphases:\n{phases}"), &[]);
        assert!(output.contains("> commands-done"), "{output}");
        lines(&output, "=").join(" ")
    };
    assert_eq!(ran("install", ""), "x f");
    assert_eq!(ran("pre_build", ""), "install x f");
    assert_eq!(ran("build", ""), "install pre_build x f post_build");
    assert_eq!(ran("build", "ABORT"), "install pre_build x f");
    assert_eq!(ran("pre_build", "CONTINUE"), "install x f build post_build");
    assert_eq!(ran("install", "RETRY-2"), "x f x f x f");
    assert_eq!(
        ran("build", "RETRY-1"),
        "install pre_build x f x f post_build"
    );
    assert_eq!(ran("post_build", ""), "install pre_build build x f");
}

#[test]
fn a_retry_can_succeed() {
    let (output, _root) = run(
        r#"
version: 0.2
phases:
  build:
    on-failure: RETRY
    commands:
      - echo x >>count
      - test "$(wc -l <count)" -eq 3
  post_build:
    commands:
      - echo "=$CODEBUILD_BUILD_SUCCEEDING"
"#,
        &[],
    );
    assert_eq!(lines(&output, "="), ["1"], "{output}");
    assert_eq!(lines(&output, "> retry "), ["1", "2"]);
    assert!(output.contains("> end BUILD 0"), "{output}");
}

#[test]
fn scripts_are_written_through_no_link() {
    let script = Script::new(
        &Buildspec::parse("version: 0.2\nphases: {}\n").unwrap(),
        &[],
    );
    let at = tempfile::tempdir().unwrap();
    let (root, other) = (at.path().join("root"), at.path().join("other"));
    for directory in [&root, &other] {
        std::fs::create_dir(directory).unwrap();
    }
    std::os::unix::fs::symlink(&other, root.join(CONTROL)).unwrap();
    let directory = Directory::open(&root, "/opt/codebuild").unwrap();
    assert!(script.write(&root, &directory).is_err());
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 0);
}

#[test]
fn variables_of_a_build_do_not_meet_those_of_the_driver() {
    let (output, _root) = run(
        r#"
version: 0.2
phases:
  build:
    commands:
      - echo "=$control$marker$shell$succeeding$number$code"
      - echo "=$control$marker$shell$succeeding$number$code"
"#,
        &[],
    );
    assert_eq!(lines(&output, "="), ["123456", "123456"], "{output}");
}
