//! `mlops status --watch`, without a terminal.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::sandbox::Sandbox;
use crate::small_project;

#[test]
fn a_watch_prints_the_state_and_then_a_line_for_each_change() {
    let sandbox = Sandbox::new();
    small_project::project(&sandbox);
    let mut watch = sandbox.command("");
    watch.args(["status", "--watch", "--output", "json"]);
    watch.args(["--poll-interval", "0.2", "--timeout", "300"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let first = lines.next().unwrap();
    assert_eq!(first["project"], "small", "{first}");
    assert_eq!(first["runs"], serde_json::json!([]));
    assert_eq!(first["notebook"]["status"], "InService");
    let billed = first["billed"].as_array().unwrap();
    let kinds: Vec<&str> = billed
        .iter()
        .map(|it| it["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["notebook", "nat_gateway"], "{first}");
    // Another image: its digest changes, and nothing else.
    sandbox.write("image/program/version.py", "V = 1\n");
    small_project::commit(&sandbox);
    let _ = sandbox.mlops(["image", "push"]).success();
    let change = lines.next().unwrap();
    assert_eq!(change["what"], "image", "{change}");
    assert_ne!(change["from"], change["to"]);
    assert!(change["from"].as_str().unwrap().starts_with("sha256:"));
    // A new run is a change as well, and so is its end.
    let train = ["train", "--output", "json"];
    let run = sandbox.mlops(train).success().json();
    let run = format!("run {}", run["run"].as_str().unwrap());
    // The version may be seen before the run has ended.
    let mut expected = vec![
        (run.as_str(), "Succeeded"),
        ("version 1", "PendingManualApproval"),
    ];
    while !expected.is_empty() {
        let change = lines.next().unwrap();
        expected.retain(|(what, to)| change["what"] != *what || change["to"] != *to);
    }
    // A reader that stops reading ends the watch.
    drop(lines);
    let _ = sandbox.mlops(["promote", "1", "--yes"]).success();
    assert!(watch.wait().unwrap().success());

    let shown = sandbox.mlops(["status"]).success();
    assert!(
        shown
            .stdout
            .contains("by hour    endpoint small (1 x ml.m5.large)"),
        "{}",
        shown.stdout
    );
    let _ = sandbox.mlops(["train"]).success();
    let shown = sandbox.mlops(["status"]).success();
    let waits = "waiting    version 2 waits for an approver: mlops promote 2";
    assert!(shown.stdout.contains(waits), "{}", shown.stdout);
}

#[test]
fn a_watch_ends_after_its_time_and_after_failures_in_a_row() {
    let sandbox = Sandbox::new();
    let init = ["init", "--local", "--name", "small", "--yes"];
    let _ = sandbox.mlops(init).success();
    let watch = ["status", "--watch", "--poll-interval", "0.1", "--timeout"];
    let run = sandbox.mlops(watch.iter().chain(&["0.3"])).success();
    assert!(run.stdout.starts_with("project    small"), "{}", run.stdout);
    // A cloud that is not there.
    let nowhere = [
        "--endpoint-url",
        "http://127.0.0.1:1",
        "--region",
        "us-east-1",
    ];
    let mut command = sandbox.command("");
    command
        .args(watch)
        .arg("300")
        .args(nowhere)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret-key");
    let run = sandbox.run(command).code(1);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.contains("4 more attempts"), "{}", run.stderr);
    assert!(run.stderr.contains("1 more attempts"), "{}", run.stderr);
    assert!(run.stderr.contains("error: "), "{}", run.stderr);
}
