//! The command line itself: help, refusals, what needs no project.

use snapbox::str;

use crate::sandbox::Sandbox;

#[test]
fn a_command_outside_a_project_says_how_to_start_one() {
    Sandbox::new()
        .mlops(["config", "show"])
        .code(2)
        .stdout("")
        .stderr(str![[r#"
error: no mlops.toml in [DIR] or above it
hint: run `mlops init` to start a project here, or change into one

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
error: [DIR]/mlops.toml: TOML parse error at line 4, column 1
  |
4 | colour = 1
  | ^^^^^^
unknown field `colour`, expected one of `name`, `account`, `region`, `branches`, `image`, `data`, `pipeline`, `deploy`, `monitor`, `validate`, `local`

hint: docs/config.md lists every key

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
