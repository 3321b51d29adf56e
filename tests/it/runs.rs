//! Failing runs: their error messages, and the state they leave behind.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sandbox::{Sandbox, pause};

/// A program whose behavior is a parameter of the run: `-p Mode=…`.
const TRAIN: &str = r#"#!/usr/bin/env python3
import ctypes, fcntl, json, os, pathlib, sys, time

base = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
parameters = json.loads((base / "input/config/hyperparameters.json").read_text())
mode = parameters["mode"]
if mode == "fail":
    for number in range(20):
        print(f"line {number}", flush=True)
    (base / "output/failure").write_text("the column `distance` is missing")
    sys.exit(1)
if mode == "slow":
    # The lock is held as long as a process of this job lives, one that left the group included.
    note = open(parameters["note"], "w")
    fcntl.flock(note, fcntl.LOCK_EX)
    if "SAGEMAKER_BASE_DIR" not in os.environ and os.fork() == 0:
        os.setsid()
    note.write("runs")
    note.flush()
    time.sleep(300)
if mode == "peek":
    found = [f"{k}={v}" for k, v in os.environ.items() if "SECRETKEY" in v or k == "AWS_PROFILE"]
    for path in (pathlib.Path.home() / ".aws/credentials", pathlib.Path(parameters["note"])):
        if path.exists() and "SECRETKEY" in path.read_text():
            found.append(str(path))
    if base == pathlib.Path("/opt/ml"):
        # What hides ~/.aws must not come off, and no other process may be seen.
        libc = ctypes.CDLL(None, use_errno=True)
        for directory in (str(pathlib.Path(parameters["note"]).parent), "/proc"):
            if libc.umount2(directory.encode(), 2) == 0:
                found.append(f"umount {directory} worked")
        CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0:
            if libc.umount2(str(pathlib.Path(parameters["note"]).parent).encode(), 2) == 0:
                found.append("umount in another namespace worked")
        if pathlib.Path(parameters["note"]).exists():
            found.append("the hidden file is there")
        if os.getuid() == 0:
            found.append("it is user 0")
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        for file in ("environ", "cmdline"):
            try:
                if b"SECRETKEY" in (process / file).read_bytes():
                    found.append(str(process / file))
            except OSError:
                pass
    if found:
        (base / "output/failure").write_text("found " + ", ".join(found))
        sys.exit(1)
(base / "model/weights.txt").write_text("1.0")
"#;

const PIPELINE: &str = r#"{
  "Version": "2020-12-01",
  "Parameters": [
    {"Name": "ImageUri", "Type": "String"},
    {"Name": "RoleArn", "Type": "String"},
    {"Name": "ArtifactBucket", "Type": "String"},
    {"Name": "Mode", "Type": "String", "DefaultValue": "ok"},
    {"Name": "Note", "Type": "String", "DefaultValue": "-"},
    {"Name": "Score", "Type": "Float", "DefaultValue": 1.0}
  ],
  "Steps": [
    {"Name": "Train", "Type": "Training", "Arguments": {
      "AlgorithmSpecification": {"TrainingImage": {"Get": "Parameters.ImageUri"}, "TrainingInputMode": "File"},
      "RoleArn": {"Get": "Parameters.RoleArn"},
      "HyperParameters": {"mode": {"Get": "Parameters.Mode"}, "note": {"Get": "Parameters.Note"}},
      "OutputDataConfig": {"S3OutputPath": {"Std:Join": {"On": "", "Values": ["s3://", {"Get": "Parameters.ArtifactBucket"}, "/models"]}}},
      "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
      "StoppingCondition": {"MaxRuntimeInSeconds": 600}}},
    {"Name": "Gate", "Type": "Condition", "DependsOn": ["Train"], "Arguments": {
      "Conditions": [{"Type": "GreaterThanOrEqualTo", "LeftValue": {"Get": "Parameters.Score"}, "RightValue": 0.5}],
      "IfSteps": [],
      "ElseSteps": [{"Name": "Reject", "Type": "Fail", "Arguments": {"ErrorMessage": "the score is below 0.5"}}]}}
  ]
}
"#;

/// Creates a project with a small program, deployed and pushed.
fn project(sandbox: &Sandbox) {
    let _ = sandbox
        .mlops(["--local", "init", "--name", "small", "--yes"])
        .success();
    sandbox.write("image/requirements.txt", "");
    sandbox.write("image/program/train", TRAIN);
    sandbox.write("pipeline.json", PIPELINE);
    commit(sandbox);
    let _ = sandbox.mlops(["--local", "image", "push"]).success();
}

fn commit(sandbox: &Sandbox) {
    let _ = sandbox.program("", "git", &["add", "-A"]).success();
    let _ = sandbox
        .program(
            "",
            "git",
            &[
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@localhost",
                "commit",
                "-qm",
                "small",
            ],
        )
        .success();
}

/// Starts a long run, waits until its program runs, and returns the run's id and a file that stays
/// locked while any process of the job is alive.
fn slow_run(sandbox: &Sandbox, note: &str) -> (String, File) {
    let note = sandbox.path().join(note);
    let started = sandbox
        .mlops([
            "--local",
            "train",
            "--detach",
            "--output",
            "json",
            "-p",
            "Mode=slow",
            "-p",
            &format!("Note={}", note.display()),
        ])
        .success();
    let run = started.json()["run"].as_str().unwrap().to_owned();
    wait_for(|| {
        std::fs::read_to_string(&note)
            .ok()?
            .starts_with("runs")
            .then_some(())
    });
    let file = File::open(&note).unwrap();
    assert!(file.try_lock_shared().is_err(), "the program runs");
    (run, file)
}

fn wait_for<T>(mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(
            start.elapsed() < Duration::from_mins(4),
            "nothing happened for 240 s"
        );
        pause();
    }
}

fn show(sandbox: &Sandbox, run: &str) -> Value {
    sandbox
        .mlops(["--local", "runs", "show", run, "--output", "json"])
        .success()
        .json()
}

#[test]
fn a_failing_script_is_explained() {
    let sandbox = Sandbox::new();
    project(&sandbox);
    let run = sandbox
        .mlops(["--local", "train", "-p", "Mode=fail"])
        .code(1);
    assert!(
        run.stderr.contains("the column `distance` is missing"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("line 19"),
        "the last log lines: {}",
        run.stderr
    );
    assert!(run.stderr.contains("Train"), "which step: {}", run.stderr);

    let gate = sandbox
        .mlops(["--local", "train", "-p", "Score=0.1"])
        .code(3);
    assert!(
        gate.stderr.contains("the score is below 0.5"),
        "{}",
        gate.stderr
    );

    let undeclared = sandbox.mlops(["--local", "train", "-p", "Nope=1"]);
    assert_ne!(undeclared.code, Some(0));
    assert!(undeclared.stderr.contains("Nope"), "{}", undeclared.stderr);

    let branch = sandbox.mlops(["--local", "train", "--branch", "nope"]);
    assert_ne!(branch.code, Some(0));
    assert!(branch.stderr.contains("nope"), "{}", branch.stderr);

    // Refused runs never started: only the two above are listed.
    let list = sandbox
        .mlops(["--local", "runs", "list", "--output", "json"])
        .success()
        .json();
    assert_eq!(list["runs"].as_array().unwrap().len(), 2, "{list}");
}

#[test]
fn a_job_cannot_see_the_users_credentials() {
    let mut sandbox = Sandbox::new();
    let credentials = sandbox.home().join(".aws/credentials");
    std::fs::create_dir_all(credentials.parent().unwrap()).unwrap();
    std::fs::write(
        &credentials,
        "[work]\naws_access_key_id = AKIAREAL\naws_secret_access_key = SECRETKEY\n",
    )
    .unwrap();
    sandbox
        .set("AWS_PROFILE", "work")
        .set("AWS_ACCESS_KEY_ID", "AKIAREAL")
        .set("AWS_SECRET_ACCESS_KEY", "SECRETKEY");
    project(&sandbox);
    let note = format!("Note={}", credentials.display());
    let _ = sandbox
        .mlops(["--local", "train", "-p", "Mode=peek", "-p", &note])
        .success();
}

#[test]
fn a_killed_server_loses_only_work_in_progress() {
    let sandbox = Sandbox::new();
    project(&sandbox);
    let done = sandbox
        .mlops(["--local", "train", "--output", "json"])
        .success()
        .json();
    for round in ["first", "second"] {
        let (run, alive) = slow_run(&sandbox, round);
        let status = sandbox
            .mlops(["local", "status", "--output", "json"])
            .success()
            .json();
        let server = status["pid"].as_u64().unwrap().to_string();
        let _ = sandbox.program("", "kill", &["-9", &server]).success();
        let shown = show(&sandbox, &run);
        assert_eq!(shown["status"], "Failed", "{shown}");
        assert!(shown.to_string().contains("InternalServerError"), "{shown}");
        wait_for(|| alive.try_lock_shared().ok());
    }
    let shown = show(&sandbox, done["run"].as_str().unwrap());
    assert_eq!(shown["status"], "Succeeded", "{shown}");
}

#[test]
fn ctrl_c_does_not_stop_the_run_and_prints_how_to_resume() {
    let sandbox = Sandbox::new();
    project(&sandbox);
    let note = sandbox.path().join("note");
    let child = sandbox
        .command("")
        .args(["--local", "train", "-p", "Mode=slow", "-p"])
        .arg(format!("Note={}", note.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(|| {
        std::fs::read_to_string(&note)
            .ok()?
            .starts_with("runs")
            .then_some(())
    });
    let _ = sandbox
        .program("", "kill", &["-INT", &child.id().to_string()])
        .success();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    let run = stderr
        .split("runs show ")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next())
        .unwrap_or_else(|| panic!("{stderr}"))
        .to_owned();
    assert_eq!(show(&sandbox, &run)["status"], "Executing");
    let _ = sandbox.mlops(["--local", "runs", "stop", &run]).success();
    wait_for(|| (show(&sandbox, &run)["status"] == "Stopped").then_some(()));
}

/// Issue 8, 4.1 and 4.2: `train` checks the definition against AWS's format before any request.
#[test]
fn issue_8_4_2_train_refuses_a_wrong_definition_before_any_request() {
    let mut sandbox = Sandbox::new();
    // Nobody listens there: a request would end with a different exit code.
    sandbox.set("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    sandbox.write(
        "mlops.toml",
        "name = \"small\"\naccount = \"111111111111\"\nregion = \"us-east-1\"\n",
    );
    let _ = sandbox
        .program("", "git", &["init", "-q", "-b", "develop"])
        .success();
    for (part, other, expected) in [
        (
            "\"DependsOn\"",
            "\"DependOn\"",
            "unknown property 'DependOn'",
        ),
        (
            "\"Parameters.Note\"",
            "\"Parameters.Score\"",
            "Cannot assign property reference [Parameters.Score] to argument of type [String].",
        ),
    ] {
        sandbox.write("pipeline.json", PIPELINE.replace(part, other));
        commit(&sandbox);
        let run = sandbox.mlops(["train"]).code(2);
        assert!(run.stderr.contains(expected), "{}", run.stderr);
    }
}

#[test]
fn a_run_needs_git_and_python() {
    let mut sandbox = Sandbox::new();
    sandbox.set("MLOPS_PYTHON", "/nowhere/python3");
    project(&sandbox);
    let run = sandbox.mlops(["--local", "train"]).code(1);
    assert!(run.stderr.contains("/nowhere/python3"), "{}", run.stderr);
    assert!(run.stderr.contains("MLOPS_PYTHON"), "{}", run.stderr);

    std::fs::remove_dir_all(sandbox.path().join(".git")).unwrap();
    let run = sandbox.mlops(["--local", "train"]).code(2);
    assert!(
        run.stderr.contains("not in a git repository"),
        "{}",
        run.stderr
    );
}
