//! The hidden process that becomes a job's program: what the program can and cannot see.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::sandbox::{Run, Sandbox};

const PROGRAM: &str = r#"#!/bin/sh
env | sed 's/=.*//' | sort | tr '\n' ' '; echo
cat "$CREDENTIALS" 2>/dev/null || echo hidden
ls "$BASE"
pwd
echo made > "$BASE/model"
"#;

/// Runs a program as the server would, with the user's credentials in the environment and in HOME.
fn run(sandbox: &Sandbox, namespace: bool, base: &str) -> Run {
    let credentials = sandbox.home().join(".aws/credentials");
    std::fs::create_dir_all(credentials.parent().unwrap()).unwrap();
    std::fs::write(&credentials, "SECRETKEY\n").unwrap();
    for directory in [
        "job/ml/input",
        "job/ml.run/home",
        "job/ml.run/tmp",
        "job/ml.run/empty",
        "job/ml.run/old",
    ] {
        std::fs::create_dir_all(sandbox.path().join(directory)).unwrap();
    }
    sandbox.write("image/opt/program/look", PROGRAM);
    let program = sandbox.path().join("image/opt/program");
    std::fs::set_permissions(program.join("look"), PermissionsExt::from_mode(0o755)).unwrap();
    let program = if namespace {
        "/opt/program".into()
    } else {
        program
    };
    let environment = BTreeMap::from([
        ("PATH", format!("{}:/usr/bin:/bin", program.display())),
        ("BASE", base.to_owned()),
        ("CREDENTIALS", credentials.display().to_string()),
    ]);
    let spec = json!({
        "level": if namespace { "processes" } else { "nothing" },
        "network": true,
        "view": {"job": {
            "base_dir": sandbox.path().join("job/ml"),
            "opt": sandbox.path().join("image/opt"),
        }},
        "scratch": sandbox.path().join("job/ml.run"),
        "hide": if namespace { vec![sandbox.home().join(".aws")] } else { Vec::new() },
        "command": ["look"],
        "environment": environment,
        "working_directory": program,
        "parent": std::process::id(),
    });
    sandbox.write("spec.json", spec.to_string());
    sandbox.mlops(["job-process", "spec.json"])
}

#[test]
fn a_program_sees_its_own_environment_and_directory_only() {
    let mut sandbox = Sandbox::new();
    sandbox
        .set("AWS_PROFILE", "work")
        .set("AWS_SECRET_ACCESS_KEY", "SECRETKEY");
    let before = entries_of_opt();
    let seen = run(&sandbox, true, "/opt/ml");
    if seen.code != Some(0) && seen.stderr.contains("namespace") {
        // This kernel does not support them; the other test covers what runs here.
        return;
    }
    let seen = seen.success();
    let lines: Vec<&str> = seen.stdout.lines().collect();
    assert!(!lines[0].contains("AWS_"), "{}", seen.stdout);
    assert_eq!(
        lines[1..],
        ["hidden", "input", "/opt/program"],
        "{}",
        seen.stdout
    );
    let model = std::fs::read_to_string(sandbox.path().join("job/ml/model")).unwrap();
    assert_eq!(model, "made\n");
    assert_eq!(
        entries_of_opt(),
        before,
        "the machine's own /opt is untouched"
    );
}

#[test]
fn without_a_namespace_the_environment_is_still_its_own() {
    let mut sandbox = Sandbox::new();
    sandbox
        .set("AWS_PROFILE", "work")
        .set("AWS_SECRET_ACCESS_KEY", "SECRETKEY");
    let base = sandbox.path().join("job/ml");
    let seen = run(&sandbox, false, base.to_str().unwrap()).success();
    assert!(!seen.stdout.contains("AWS_"), "{}", seen.stdout);
    assert!(base.join("model").is_file());
}

#[test]
fn a_program_that_is_not_in_the_image_is_named() {
    let sandbox = Sandbox::new();
    let _ = run(&sandbox, false, "/").code;
    let spec = std::fs::read_to_string(sandbox.path().join("spec.json")).unwrap();
    sandbox.write("spec.json", spec.replace("[\"look\"]", "[\"evaluate\"]"));
    let gone = sandbox.mlops(["job-process", "spec.json"]).code(127);
    assert!(
        gone.stderr.contains("no program `evaluate`"),
        "{}",
        gone.stderr
    );
}

fn entries_of_opt() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir("/opt")
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The supervisor of a notebook instance without namespaces, where no kernel ends what it started.
#[test]
fn a_supervisor_ends_with_its_input_and_leaves_nothing_behind() {
    let sandbox = Sandbox::new();
    let seconds = format!("9{}", std::process::id());
    let spec = json!({
        "level": "nothing",
        "network": true,
        "view": {"notebook": {"volume": sandbox.path(), "private_tmp": false}},
        "scratch": sandbox.path(),
        "hide": [],
        "command": [],
        "environment": {},
        "working_directory": "/",
        "parent": std::process::id(),
        "supervised": true,
    });
    sandbox.write("spec.json", spec.to_string());
    let mut command = sandbox.command("");
    command.args(["job-process", "spec.json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut supervisor = command.spawn().unwrap();
    let mut input = supervisor.stdin.take().unwrap();
    let mut events = BufReader::new(supervisor.stdout.take().unwrap()).lines();
    let start = |name: &str, script: &str, limit: serde_json::Value| {
        json!({
            "name": name,
            "superuser": true,
            "command": ["/bin/sh", "-c", script],
            "environment": {"PATH": "/usr/bin:/bin"},
            "working_directory": "/",
            "limit": limit,
        })
    };
    writeln!(input, "{spec}").unwrap();
    let mut run = |start: serde_json::Value| {
        writeln!(input, "{start}").unwrap();
        let mut output = Vec::new();
        loop {
            let event = events.next().unwrap().unwrap();
            let event: serde_json::Value = serde_json::from_str(&event).unwrap();
            if let Some(line) = event["output"]["line"].as_str() {
                output.push(line.to_owned());
            } else {
                return (output, event["ended"]["end"].clone());
            }
        }
    };
    let background = format!("echo one; sleep {seconds} & setsid sleep {seconds} & echo two >&2");
    let (output, end) = run(start("first", &background, json!(null)));
    assert_eq!(output, ["one", "two"]);
    assert_eq!(end, json!({"code": 0, "timed_out": false}));
    let limit = json!({"secs": 0, "nanos": 1_000_000});
    let (_, end) = run(start("slow", &format!("sleep {seconds}"), limit));
    assert_eq!(end, json!({"code": 137, "timed_out": true}));
    let mut absent = start("absent", "", json!(null));
    absent["command"] = json!(["/no/such/program"]);
    let (output, end) = run(absent);
    assert!(output[0].contains("/no/such/program"), "{output:?}");
    assert_eq!(end, json!({"code": 126, "timed_out": false}));
    // The first script's background process is still running.
    let running = || {
        let pattern = format!("^sleep {seconds}$");
        let found = Command::new("pgrep").args(["-f", &pattern]).output();
        found.unwrap().stdout.len()
    };
    assert!(running() > 0);
    drop(input);
    assert!(supervisor.wait().unwrap().success());
    assert_eq!(running(), 0);
}
