//! Issue 8, 5.4 and 5.6: runs that a gate refused, their logs, and tables about them.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::Value;

use crate::sandbox::Sandbox;
use crate::small_project;

/// Trains a model that the gate refuses; returns the report.
fn refused_run(sandbox: &Sandbox) -> Value {
    let train = ["train", "-p", "MaxRmse=2", "--output", "json"];
    sandbox.mlops(train).code(3).json()
}

#[test]
fn issue_8_5_4_a_refused_gate_shows_metric_and_limit() {
    let sandbox = Sandbox::new();
    small_project::project(&sandbox);
    let reason = "rmse 4.250, must be at most 1.0 (MaxRmse)";
    let refused = sandbox.mlops(["train", "-p", "MaxRmse=1"]).code(3);
    for part in [
        "Refused",
        reason,
        "the model is not good enough",
        "mean_absolute",
    ] {
        assert!(refused.stdout.contains(part), "{part}: {}", refused.stdout);
    }
    assert!(!refused.stdout.contains("Failed"), "{}", refused.stdout);
    assert!(refused.stderr.contains(reason), "{}", refused.stderr);
}

#[test]
fn issue_8_5_4_a_refused_run_in_json() {
    let sandbox = Sandbox::new();
    small_project::project(&sandbox);
    let refused = refused_run(&sandbox);
    assert_eq!(refused["status"], "Refused", "{refused}");
    assert_eq!(refused["execution_status"], "Failed", "{refused}");
    assert_eq!(refused["metrics"]["rmse"], 4.25, "{refused}");
    let check = &refused["gate"]["checks"][0];
    assert_eq!(check["metric"], "rmse", "{refused}");
    assert_eq!(check["value"], 4.25, "{refused}");
    assert_eq!(check["limit"], 2.0, "{refused}");
    assert_eq!(check["parameter"], "MaxRmse", "{refused}");

    let passed = sandbox
        .mlops(["train", "--output", "json"])
        .success()
        .json();
    assert_eq!(passed["metrics"]["rmse"], 4.25, "{passed}");
    assert!(passed["gate"].is_null(), "{passed}");
}

#[test]
fn issue_8_5_4_runs_show_the_refusals_of_gates() {
    let sandbox = Sandbox::new();
    small_project::project(&sandbox);
    let refused = refused_run(&sandbox);
    // Everything comes from AWS alone.
    let run = refused["run"].as_str().unwrap();
    let shown = sandbox.mlops(["runs", "show", run]).success();
    assert!(
        shown.stdout.contains("must be at most 2.0 (MaxRmse)"),
        "{}",
        shown.stdout
    );
    assert!(!shown.stdout.contains("Failed"), "{}", shown.stdout);
    let shown = sandbox
        .mlops(["runs", "show", run, "--output", "json"])
        .success()
        .json();
    assert_eq!(
        (&shown["status"], &shown["gate"]),
        (&refused["status"], &refused["gate"])
    );
}

#[test]
fn issue_8_5_4_a_list_of_runs_shows_the_refusals_of_gates() {
    let sandbox = Sandbox::new();
    small_project::project(&sandbox);
    let reason = "rmse 4.250, must be at most 1.0 (MaxRmse)";
    let _ = sandbox.mlops(["train", "-p", "MaxRmse=1"]).code(3);
    let refused = refused_run(&sandbox);
    let _ = sandbox.mlops(["train"]).success();
    let list = sandbox.mlops(["runs", "list"]).success();
    assert!(list.stdout.contains(reason), "{}", list.stdout);
    assert_eq!(list.stdout.matches("Refused").count(), 2, "{}", list.stdout);
    let list = sandbox
        .mlops(["runs", "list", "--output", "json"])
        .success()
        .json();
    let newest = &list["runs"][0];
    assert_eq!(newest["model_version"], 1, "{list}");
    assert!(newest["seconds"].is_u64(), "{list}");
    assert_eq!(list["runs"][1]["status"], "Refused", "{list}");
    assert_eq!(list["runs"][1]["gate"], refused["gate"], "{list}");
}

/// The branch, every metric, whole words, color on request.
#[test]
fn issue_8_5_6_a_list_of_models_shows_branch_and_metrics() {
    let sandbox = Sandbox::new();
    small_project::project(&sandbox);
    let _ = sandbox.mlops(["train"]).success();
    let models = sandbox.mlops(["models", "list"]).success().stdout;
    for part in ["BRANCH", "develop", "PendingManualApproval"] {
        assert!(models.contains(part), "{part}: {models}");
    }
    assert!(
        models.lines().all(|line| line.chars().count() <= 80),
        "{models}"
    );
    assert!(!models.contains('\u{1b}'), "{models}");
    let wide = sandbox.mlops(["models", "list", "--wide"]).success().stdout;
    let metrics = "rmse 4.250, mean_absolute_percentage_error 0.1250";
    assert!(wide.contains(metrics), "{wide}");
    let colored = sandbox
        .mlops(["models", "list", "--color", "always"])
        .success()
        .stdout;
    assert!(colored.contains("\u{1b}["), "{colored}");
    let listed = sandbox
        .mlops(["models", "list", "--output", "json"])
        .success()
        .json();
    assert_eq!(listed["models"][0]["branch"], "develop", "{listed}");
}

/// A project on the local cloud with a complete run; returns the run's id.
fn with_run(sandbox: &Sandbox) -> String {
    small_project::project(sandbox);
    let run = sandbox
        .mlops(["train", "--output", "json"])
        .success()
        .json();
    run["run"].as_str().unwrap().to_owned()
}

#[test]
fn issue_8_5_4_logs_of_the_newest_run_can_be_followed() {
    let sandbox = Sandbox::new();
    small_project::project(&sandbox);
    let none = sandbox.mlops(["runs", "logs"]).code(1);
    assert!(none.stderr.contains("no runs"), "{}", none.stderr);
    let started = sandbox
        .mlops(["train", "--detach", "--output", "json"])
        .success()
        .json();

    // The command waits for lines that are not written yet, and ends with the run.
    let followed = sandbox.mlops(["runs", "logs", "-f"]).success().stdout;
    for line in ["Train  first line", "Train  last line"] {
        assert_eq!(followed.matches(line).count(), 1, "{followed}");
    }
    let show = ["runs", "show", "--output", "json"];
    let run = sandbox.mlops(show).success().json();
    assert_eq!(
        (&run["run"], &run["status"]),
        (&started["run"], &"Succeeded".into())
    );
}

#[test]
fn issue_8_5_4_logs_are_selected_by_run_and_step() {
    let sandbox = Sandbox::new();
    let id = with_run(&sandbox);
    let whole = sandbox.mlops(["runs", "logs"]).success().stdout;
    assert!(
        whole.contains("Train  first line") && whole.contains("Evaluate  "),
        "{whole}"
    );
    let step = sandbox.mlops(["runs", "logs", "train"]).success().stdout;
    assert!(
        step.contains("first line") && !step.contains("Evaluate"),
        "{step}"
    );
    let same = sandbox
        .mlops(["runs", "logs", &id, "TRAIN"])
        .success()
        .stdout;
    assert_eq!(same, step);
    let wrong = sandbox.mlops(["runs", "logs", &id, "Trian"]).code(1);
    assert!(wrong.stderr.contains("Train, Evaluate"), "{}", wrong.stderr);
}

#[test]
fn issue_8_5_4_logs_have_timestamps() {
    let sandbox = Sandbox::new();
    let _ = with_run(&sandbox);
    let timed = sandbox
        .mlops(["runs", "logs", "train", "--timestamps"])
        .success()
        .stdout;
    let form = regex::Regex::new(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  Train  ").unwrap();
    assert!(timed.lines().all(|line| form.is_match(line)), "{timed}");
    let json = sandbox
        .mlops(["runs", "logs", "train", "--output", "json"])
        .success()
        .json();
    let log = &json["logs"][0];
    let lines = log["lines"].as_array().unwrap();
    assert_eq!(
        log["events"].as_array().unwrap().len(),
        lines.len(),
        "{json}"
    );
    assert!(log["events"][0]["time"].is_string(), "{json}");
    let followed = sandbox
        .mlops(["runs", "logs", "-f", "--output", "json"])
        .success()
        .stdout;
    for line in followed.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            line["step"].is_string() && line["time"].is_string(),
            "{line}"
        );
    }
}

/// The name of a step that has not started is not mistaken for a run's id.
#[test]
fn logs_of_a_step_that_has_not_started_wait_for_it() {
    let sandbox = Sandbox::new();
    small_project::project(&sandbox);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let program = format!(
        "#!/usr/bin/env python3\nimport os, pathlib, socket\n\
         socket.create_connection(('127.0.0.1', {port})).recv(1)\n\
         base = pathlib.Path(os.environ.get('SAGEMAKER_BASE_DIR', '/opt/ml'))\n\
         (base / 'model/weights.txt').write_text('1.0')\n"
    );
    sandbox.write("image/program/train", program);
    small_project::commit(&sandbox);
    let _ = sandbox.mlops(["image", "push"]).success();
    let started = sandbox
        .mlops(["train", "--detach", "--output", "json"])
        .success()
        .json();
    // Train is now running, and ends when this connection is closed.
    let (training, _) = listener.accept().unwrap();

    let neither = sandbox.mlops(["runs", "logs", "Evaluat", "-f"]).code(1);
    for part in [
        "neither a run nor a step",
        "runs list",
        "Train, Evaluate, Gate",
    ] {
        assert!(neither.stderr.contains(part), "{part}: {}", neither.stderr);
    }
    let early = sandbox.mlops(["runs", "logs", "evaluate"]).code(1);
    let why = "has not started a step `evaluate`";
    assert!(early.stderr.contains(why), "{}", early.stderr);

    let mut follow = sandbox.command("");
    follow
        .args(["runs", "logs", "evaluate", "-f"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut follow = follow.spawn().unwrap();
    let mut lines = BufReader::new(follow.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("waiting for the step evaluate") {
        assert!(lines.read_line(&mut said).unwrap() > 0, "{said}");
    }
    drop(training);
    lines.read_to_string(&mut said).unwrap();
    let output = follow.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{said}");
    assert!(
        text.contains("Evaluate  ") && !text.contains("Train  "),
        "{text}"
    );

    let id = started["run"].as_str().unwrap();
    let whole = sandbox.mlops(["runs", "logs", id]).success().stdout;
    assert!(whole.contains("Train  "), "{whole}");
    // A branch that was not taken.
    let never = sandbox.mlops(["runs", "logs", "Refuse", "-f"]).code(1);
    let why = "has not started a step `Refuse`";
    assert!(never.stderr.contains(why), "{}", never.stderr);
}
