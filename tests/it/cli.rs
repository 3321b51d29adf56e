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
error: [DIR]/mlops.toml: line 4, column 1: unknown field `colour`, expected one of `name`, `account`, `region`, `architecture`, `branches`, `delivery`, `image`, `data`, `pipeline`, `deploy`, `monitor`, `retrain`, `validate`, `local`
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
fn each_value_of_the_configuration_has_its_origin() {
    let mut sandbox = Sandbox::new();
    sandbox.write(
        "mlops.toml",
        "name = \"flights\"\naccount = \"000000000000\"\nregion = \"eu-west-1\"\nlocal = true\n\n\
         [deploy]\n# two, for the evening\ninstance_count = 2\n",
    );
    sandbox.set("AWS_PROFILE", "team").set("NO_COLOR", "1");
    sandbox.set("MLOPS_CACHE_DIR", "/cache");
    let show = ["config", "show", "--region", "eu-west-3"];
    sandbox.mlops(show).success().stderr("").stdout(str![[r#"
[DIR]/mlops.toml

SETTING                     VALUE          ORIGIN
name                        flights        mlops.toml:1
account                     000000000000   mlops.toml:2
region                      eu-west-1      mlops.toml:3
architecture.network        nat            default
architecture.source         codecommit     default
architecture.provider       github         default
branches.develop            develop        default
branches.production         main           default
delivery                    -              default
image.directory             image          default
image.builder               auto           default
image.base                  -              default
image.python                -              default
image.platform              linux/amd64    default
data.name                   -              default
pipeline.definition         pipeline.json  default
deploy.instance_type        ml.m5.large    default
deploy.instance_count       2              mlops.toml:8
deploy.capture_percent      100            default
deploy.sample               -              default
deploy.strategy             all-at-once    default
deploy.step                 -              default
deploy.bake_seconds         0              default
deploy.keep                 3              default
deploy.alarms.errors_5xx    -              default
deploy.alarms.latency_ms    -              default
deploy.alarms.custom        []             default
deploy.autoscaling          -              default
deploy.challenger           -              default
deploy.expect.status        -              default
deploy.expect.content_type  -              default
deploy.expect.json          -              default
deploy.expect.min           -              default
deploy.expect.max           -              default
monitor.baseline            baseline       default
monitor.minimum_records     20             default
monitor.every_hours         24             default
monitor.alarm_periods       1              default
monitor.alarm_datapoints    1              default
monitor.model_quality       -              default
retrain.cool_down_hours     24             default
retrain.maximum_per_day     2              default
validate.instance_type      ml.m5.large    default
validate.rules              -              default
local.enabled               true           mlops.toml:4
local.runtime               host           default
local in use                true           mlops.toml:4
profile                     team           AWS_PROFILE
region in use               eu-west-3      --region
endpoint_url                -              default
cache                       /cache         MLOPS_CACHE_DIR
ca_bundle                   -              default
python                      -              default
spark_home                  -              default
java_home                   -              default
output                      human          default
color                       never          NO_COLOR
poll_interval               0.2 s          default
timeout                     21600 s        default

"#]]);

    let json = ["config", "show", "--output", "json", "--timeout", "60"];
    let shown = sandbox.mlops(json).success().json();
    let origin = |path: &str| shown["origins"][path].clone();
    let file = |line: u32| serde_json::json!({"source": "file", "line": line});
    assert_eq!(origin("project.deploy.instance_count"), file(8));
    assert_eq!(origin("region"), file(3));
    assert_eq!(origin("local"), file(4));
    let default = serde_json::json!({"source": "default"});
    assert_eq!(origin("project.image.base"), default);
    assert_eq!(
        origin("profile"),
        serde_json::json!({"source": "environment", "name": "AWS_PROFILE"})
    );
    assert_eq!(
        origin("timeout"),
        serde_json::json!({"source": "flag", "name": "--timeout"})
    );
    // Members of earlier versions.
    assert_eq!(shown["project"]["deploy"]["instance_count"], 2);
    assert_eq!(shown["cache"], "/cache");
    assert_eq!(shown["endpoint_url"], serde_json::Value::Null);

    // What overrides `local = true` is named.
    let overridden = sandbox.mlops(["config", "show", "-ojson", "--profile", "other"]);
    let overridden = overridden.success().json();
    assert_eq!(overridden["local"], false);
    assert_eq!(overridden["origins"]["local"]["name"], "--profile");
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
