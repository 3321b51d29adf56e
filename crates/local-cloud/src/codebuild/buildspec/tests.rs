//! Tests of buildspecs.

use super::*;

fn parse(text: &str) -> Buildspec {
    Buildspec::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn error(text: &str) -> String {
    Buildspec::parse(text).expect_err(text)
}

/// A buildspec with these lines after its version.
fn with(rest: &str) -> String {
    format!("version: 0.2\n{rest}\n")
}

/// A buildspec with these lines after a build phase.
fn beside(rest: &str) -> String {
    with(&format!("phases:\n  build:\n    commands: [make]\n{rest}"))
}

#[test]
fn the_example_of_the_user_guide_has_all_parts() {
    let spec = parse(
        r#"
version: 0.2
env:
  shell: bash
  variables:
    JAVA_HOME: "/usr/lib/jvm/java-8-openjdk-amd64"
    NUMBER: 010
  parameter-store:
    LOGIN_PASSWORD: /CodeBuild/dockerLoginPassword
  exported-variables:
    - TAG
phases:
  install:
    runtime-versions:
      python: 3.10
      nodejs: latest
    commands:
      - echo Entered the install phase...
    finally:
      - echo This always runs
  pre_build:
    on-failure: CONTINUE
    commands:
      - |
        echo one
        echo two
  build:
    on-failure: RETRY-2
    commands:
      - echo Build started on `date`
      - true
      -
reports:
  unit:
    files:
      - "**/*"
    base-directory: 'target/tests/reports'
    discard-paths: no
  arn:aws:codebuild:us-east-1:000000000000:report-group/g:
    files: out.xml
    file-format: JunitXml
artifacts:
  files:
    - target/messageUtil-1.0.jar
  name: app-$(date +%Y)
  discard-paths: yes
  exclude-paths: ['**/secret']
  secondary-artifacts:
    artifact1:
      files:
        - target/artifact-1.0.jar
      base-directory: x
cache:
  paths:
    - '/root/.m2/**/*'
"#,
    );
    assert_eq!(spec.shell, Shell::Bash);
    assert_eq!(spec.variables["NUMBER"], "010");
    assert_eq!(
        spec.parameters["LOGIN_PASSWORD"],
        "/CodeBuild/dockerLoginPassword"
    );
    assert_eq!(spec.exported, ["TAG"]);
    assert_eq!(
        spec.runtimes,
        [("python", "3.10"), ("nodejs", "latest")]
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
    );
    let install = &spec.phases[&CommandPhase::Install];
    assert_eq!(install.finally, ["echo This always runs"]);
    assert_eq!(install.on_failure, OnFailure::Default);
    let pre = &spec.phases[&CommandPhase::PreBuild];
    assert_eq!(pre.commands, ["echo one\necho two\n"]);
    assert_eq!(pre.on_failure, OnFailure::Continue);
    let build = &spec.phases[&CommandPhase::Build];
    assert_eq!(build.commands, ["echo Build started on `date`", "true", ""]);
    assert_eq!(build.on_failure, OnFailure::Retry(2));
    assert!(!spec.phases.contains_key(&CommandPhase::PostBuild));
    assert_eq!(spec.reports.len(), 2);
    let artifacts = spec.artifacts.unwrap();
    assert!(artifacts.discard_paths);
    assert_eq!(artifacts.name.as_deref(), Some("app-$(date +%Y)"));
    let secondary = &spec.secondary_artifacts["artifact1"];
    assert_eq!(secondary.base_directory.as_deref(), Some("x"));
    assert_eq!(spec.cache_paths, ["/root/.m2/**/*"]);
}

#[test]
fn a_buildspec_can_be_json() {
    let spec = parse(r#"{"version": 0.2, "phases": {"build": {"commands": ["echo hi"]}}}"#);
    assert_eq!(spec.phases[&CommandPhase::Build].commands, ["echo hi"]);
    assert_eq!(spec.shell, Shell::Sh);
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    for (rest, name) in [
        ("run-as: builder", "run-as"),
        ("batch:\n  fast-fail: false", "batch"),
        ("proxy:\n  logs: yes", "proxy"),
        (
            "env:\n  secrets-manager:\n    A: secret:key",
            "env/secrets-manager",
        ),
        (
            "env:\n  git-credential-helper: yes",
            "env/git-credential-helper",
        ),
        ("env:\n  shell: powershell.exe", "the shell powershell.exe"),
        ("cache:\n  key: x\n  paths: [a]", "cache/key"),
        ("cache:\n  action: save\n  paths: [a]", "cache/action"),
        (
            "reports:\n  r:\n    files: [a]\n    file-format: CucumberJson",
            "CUCUMBERJSON",
        ),
        (
            "reports:\n  r:\n    files: [a]\n    file-format: COBERTURAXML",
            "COBERTURAXML",
        ),
    ] {
        let error = error(&beside(rest));
        assert!(
            error.starts_with("NotImplemented: ") && error.contains(name),
            "{error}"
        );
    }
    for (phase, name) in [
        ("    run-as: builder", "phases/build/run-as"),
        ("    on-failure: RETRY-.*timeout.*", "regular expression"),
        ("    on-failure: RETRY-3-.*timeout.*", "regular expression"),
    ] {
        let text = with(&format!("phases:\n  build:\n    commands: [make]\n{phase}"));
        let error = error(&text);
        assert!(
            error.starts_with("NotImplemented: ") && error.contains(name),
            "{error}"
        );
    }
    let old = error("version: 0.1\nphases: {}\n");
    assert!(old.contains("version 0.1"), "{old}");
    // Settings with which nothing changes are accepted.
    parse(&beside(
        "env:\n  git-credential-helper: no\n  secrets-manager: {}",
    ));
}

#[test]
fn mistakes_are_named() {
    for (text, part) in [
        ("phases: {}".to_owned(), "no version"),
        ("version: 3\nphases: {}".to_owned(), "version 3"),
        (with("env: {}"), "no phases"),
        (
            with("phases:\n  biuld:\n    commands: [x]"),
            "Invalid buildspec phase name found: biuld",
        ),
        (with("phases:\n  build:\n    comands: [x]"), "\"comands\""),
        (
            with("phases:\n  build:\n    commands:\n      - echo a: b"),
            "Commands[0]",
        ),
        (
            with("phases:\n  build:\n    commands: {a: b}"),
            "must be a list",
        ),
        (
            with("phases:\n  build:\n    runtime-versions: {python: 3}"),
            "runtime-versions",
        ),
        (
            with("phases:\n  build: [x]"),
            "phases/build must be a mapping",
        ),
        (
            with("phases:\n  build:\n    on-failure: STOP"),
            "on-failure is STOP",
        ),
        (
            with("phases:\n  build:\n    on-failure: RETRY-101"),
            "at most 100",
        ),
        (beside("artefacts: {}"), "artefacts"),
        (beside("artifacts:\n  discard-paths: yes"), "no files"),
        (
            beside("artifacts:\n  files: [a]\n  discard-paths: maybe"),
            "maybe",
        ),
        (
            beside("artifacts:\n  files: [a]\n  secondary-artifacts: {x: {}}"),
            "x has no files",
        ),
        (beside("reports:\n  r: {}"), "no files"),
        (
            beside("reports:\n  r:\n    files: [a]\n    file-format: TEXT"),
            "TEXT",
        ),
        (beside("env:\n  variables:\n    A-B: x"), "A-B"),
        (beside("env:\n  variables:\n    CODEBUILD_X: x"), "reserved"),
        (
            beside("env:\n  exported-variables: [AWS_REGION]"),
            "AWS_REGION",
        ),
        (
            beside("env:\n  variables: [a]"),
            "variables must be a mapping",
        ),
        ("- a".to_owned(), "must be a mapping"),
        ("version: 0.2\nphases: [".to_owned(), "line"),
    ] {
        let error = error(&text);
        assert!(error.contains(part), "{text}: {error}");
    }
    let groups: String = ["a", "b", "c", "d", "e", "f"]
        .map(|name| format!("  r-{name}: {{files: [a]}}\n"))
        .concat();
    assert!(error(&beside(&format!("reports:\n{groups}"))).contains("at most 5"));
    let large = "#".repeat(MAX_BUILDSPEC + 1);
    assert!(error(&large).contains("at most"));
}

#[test]
fn phases_may_be_empty() {
    let spec = parse(&with(
        "phases:\n  install:\n  build:\n    commands:\n      - ls\n    finally:",
    ));
    assert!(!spec.phases.contains_key(&CommandPhase::Install));
    assert!(spec.phases[&CommandPhase::Build].finally.is_empty());
    assert!(parse(&with("phases: {}")).phases.is_empty());
}

#[test]
fn every_on_failure_is_read() {
    for (text, expected) in [
        ("ABORT", OnFailure::Abort),
        ("CONTINUE", OnFailure::Continue),
        ("RETRY", OnFailure::Retry(3)),
        ("RETRY-0", OnFailure::Retry(0)),
        ("RETRY-100", OnFailure::Retry(100)),
    ] {
        let text = with(&format!(
            "phases:\n  build:\n    on-failure: {text}\n    commands: [x]"
        ));
        assert_eq!(
            parse(&text).phases[&CommandPhase::Build].on_failure,
            expected
        );
    }
}
