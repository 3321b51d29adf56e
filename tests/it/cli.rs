//! The command line itself: help, usage errors, and commands that need no project.

use snapbox::str;

use crate::sandbox::Sandbox;

#[test]
fn a_command_outside_a_project_suggests_init() {
    Sandbox::new()
        .mlops(["config", "show"])
        .code(2)
        .stdout("")
        .stderr(str![[r#"
error: no mlops.toml in [DIR] or above it
hint: run `mlops init` to create a project here, or change to a project's directory

"#]]);
}

#[test]
fn an_unknown_key_in_the_project_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "mlops.toml",
        "name = \"flights\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\ncolour = 1\n",
    );
    sandbox.mlops(["config", "show"]).code(2).stdout("").stderr(str![[r#"
error: [DIR]/mlops.toml: line 4, column 1: unknown field `colour`, expected one of `name`, `account`, `region`, `architecture`, `branches`, `image`, `data`, `pipeline`, `deploy`, `monitor`, `validate`, `local`
hint: see docs/config.md for all keys

"#]]);
}

#[test]
fn errors_are_json_where_scripts_read_them() {
    let run = Sandbox::new()
        .mlops(["config", "show", "--output", "json"])
        .code(2);
    let error: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(error["hints"].as_array().unwrap().len(), 1);
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .starts_with("no mlops.toml")
    );
    assert_eq!(run.stdout, "");
}

#[test]
fn help_fits_80_columns() {
    let run = Sandbox::new().mlops(["--help"]).success();
    for line in run.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn flags_come_before_the_environment_and_the_project() {
    let mut sandbox = Sandbox::new();
    sandbox.write(
        "mlops.toml",
        "name = \"flights\"\naccount = \"000000000000\"\nregion = \"eu-west-1\"\n",
    );
    let region = |run: crate::sandbox::Run| run.json()["region"].clone();
    let show = ["config", "show", "--output", "json"];
    assert_eq!(region(sandbox.mlops(show).success()), "eu-west-1");
    sandbox.set("AWS_REGION", "eu-west-2");
    assert_eq!(region(sandbox.mlops(show).success()), "eu-west-2");
    let flagged = sandbox.mlops(show.iter().chain(&["--region", "eu-west-3"]));
    assert_eq!(region(flagged.success()), "eu-west-3");
}

#[test]
fn the_wrong_account_or_region_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("data/a.csv", "a\n1\n");
    let project = |account: &str, region: &str| {
        format!("name = \"flights\"\naccount = \"{account}\"\nregion = \"{region}\"\n")
    };
    for command in [
        ["--local", "data", "push", "data", "flights"].as_slice(),
        &["--local", "init"],
        &["--local", "promote", "1", "--yes"],
    ] {
        sandbox.write("mlops.toml", project("111111111111", "us-east-1"));
        let run = sandbox.mlops(command);
        assert_eq!(run.code, Some(4), "{command:?}: {}", run.stderr);
        assert!(
            run.stderr.contains("000000000000") && run.stderr.contains("111111111111"),
            "{command:?}: {}",
            run.stderr
        );
    }
    sandbox.write("mlops.toml", project("000000000000", "eu-west-1"));
    let run = sandbox
        .mlops([
            "--local",
            "--region",
            "us-east-1",
            "data",
            "push",
            "data",
            "flights",
        ])
        .code(4);
    assert!(run.stderr.contains("eu-west-1"), "{}", run.stderr);
}

/// Help and the version are output like any other: a full disk is an error.
#[test]
fn a_failed_write_to_stdout_is_an_error() {
    let sandbox = Sandbox::new();
    for line in [
        &["help"] as &[&str],
        &["--help"],
        &["--version"],
        &["-V"],
        &["help", "train"],
        &["data", "push", "--help"],
        &["version"],
        &["completions", "bash"],
        &["markdown-help"],
        &["--output", "json", "--version"],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut command = sandbox.command("");
        let command = command.args(line).stdout(full.unwrap());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{line:?}: {said}");
        let why = "cannot write to stdout: No space left on device";
        assert!(said.contains(why), "{line:?}: {said}");

        // A closed pipe is success: the reader stopped reading.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = sandbox.command("");
        let output = command.args(line).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line:?}");
    }
}

#[test]
fn hidden_commands_are_not_in_messages() {
    let sandbox = Sandbox::new();
    for line in [&["-o", "json"] as &[&str], &["local", "-o", "json"]] {
        let run = sandbox.mlops(line).code(2);
        for name in ["markdown-help", "analyze", "job-process", "git-credential"] {
            assert!(!run.stderr.contains(name), "{line:?}: {}", run.stderr);
        }
    }
    let run = sandbox.mlops(["-o", "json"]).code(2);
    assert!(run.stderr.contains("init, config, plan"), "{}", run.stderr);
}

/// A repository can make mlops.toml a link to any of the user's files.
#[test]
fn errors_of_project_files_quote_no_values() {
    let sandbox = Sandbox::new();
    let secrets = [
        "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG\n",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAKIDEXAMPLE\n",
        "{\"auths\": {\"x\": {\"auth\": \"AKIDEXAMPLE\"}}}",
        "AKIDEXAMPLE",
        "name = \"AKIDEXAMPLE\"\n",
        "account = \"1\"\nname = [\"AKIDEXAMPLE\"]\n",
    ];
    for secret in secrets {
        std::fs::write(sandbox.home().join("secret"), secret).unwrap();
        let link = sandbox.path().join("mlops.toml");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(sandbox.home().join("secret"), &link).unwrap();
        for format in ["human", "json"] {
            let run = sandbox.mlops(["config", "show", "-o", format]).code(2);
            assert!(run.stderr.contains("mlops.toml: line "), "{}", run.stderr);
            assert!(!run.stderr.contains("AKIDEXAMPLE"), "{}", run.stderr);
        }
    }
    std::fs::remove_file(sandbox.path().join("mlops.toml")).unwrap();
    let long = "x".repeat(100_000);
    for text in [
        format!("name = \"flights\"\n{long} = 1\n"),
        format!("name = \"{long}\"\n"),
        format!("name = {long}\n"),
        format!(
            "name = \"flights\"\naccount = \"1\"\nregion = \"r\"\n[branches]\ndevelop = \"{long} \"\n"
        ),
    ] {
        sandbox.write("mlops.toml", text);
        let run = sandbox.mlops(["config", "show"]).code(2);
        assert!(run.stderr.len() < 2000, "{}", run.stderr.len());
    }
}

/// Whatever a file contains, an error about it is short and cannot change the terminal.
#[test]
fn errors_of_data_files_are_short_and_harmless() {
    let sandbox = Sandbox::new();
    let long = "y\u{1b}[2J\u{202e}".repeat(30_000);
    let json = serde_json::to_string(&long).unwrap();
    sandbox.write("good.csv", "a,b\n1,2\n");
    sandbox.write("row.jsonl", format!("{{\"a\":1,{json}:[1]}}\n"));
    sandbox.write("twice.jsonl", format!("{{{json}:1,{json}:1}}\n"));
    sandbox.write("type.json", format!("{{\"features\":{json}}}"));
    sandbox.write(
        "key.json",
        format!("{{\"version\":0,\"features\":[{{\"name\":1,{json}:2}}]}}"),
    );
    sandbox.write(
        "enum.json",
        format!("{{\"version\":0,\"features\":[{{\"name\":\"a\",\"inferred_type\":{json}}}]}}"),
    );
    sandbox.write(
        "check.json",
        format!(
            "{{\"version\":0,\"features\":[{{\"name\":\"a\",\"inferred_type\":\"Integral\",\
             \"mlops_constraints\":{{{json}:1}}}}]}}"
        ),
    );
    sandbox.write("names.csv", format!("\"{long}\",b\n1\n"));
    for line in [
        &["validate", "row.jsonl", "--suggest"] as &[&str],
        &["validate", "twice.jsonl", "--suggest"],
        &["validate", "good.csv", "--constraints", "type.json"],
        &["validate", "good.csv", "--constraints", "key.json"],
        &["validate", "good.csv", "--constraints", "enum.json"],
        &["validate", "good.csv", "--constraints", "check.json"],
        &[
            "validate",
            "good.csv",
            "--constraints",
            "good.csv",
            "--statistics",
            "type.json",
        ],
        &["validate", "names.csv", "--suggest"],
    ] {
        let run = sandbox.mlops(line);
        assert!(matches!(run.code, Some(1 | 2)), "{line:?}: {:?}", run.code);
        assert!(run.stderr.len() < 8000, "{line:?}: {}", run.stderr.len());
        assert!(!run.stderr.contains(['\u{1b}', '\u{202e}']), "{line:?}");
    }
}

#[test]
fn a_file_in_place_of_the_state_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write(".mlops", "");
    sandbox.write(
        "mlops.toml",
        "name = \"flights\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n",
    );
    for line in [
        &["--local", "status"] as &[&str],
        &["--local", "init", "--yes"],
        &["--local", "runs", "list"],
        &["local", "start", "--detach"],
        &["local", "status"],
    ] {
        let run = sandbox.mlops(line).code(2);
        for part in [".mlops is not a directory", "hint: move or remove "] {
            assert!(run.stderr.contains(part), "{line:?}: {}", run.stderr);
        }
    }
    assert!(sandbox.path().join(".mlops").is_file());
}
