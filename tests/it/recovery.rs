//! Deployments that are cut off when the server or its client dies: the next one succeeds.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::sandbox::{Sandbox, pause};

/// Longest wait for a server to reach a point.
const LIMIT: Duration = Duration::from_mins(4);

/// `mlops init` without reading its output.
fn init(sandbox: &Sandbox) -> Command {
    let mut command = sandbox.command("");
    command
        .args(["--local", "init", "--name", "small", "--yes"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Starts `init`; the server that it starts has this fault.
fn init_with_fault(sandbox: &Sandbox, fault: &str) -> Child {
    let mut command = init(sandbox);
    command.env("MLOPS_LOCAL_FAULT", fault).spawn().unwrap()
}

#[test]
fn an_interrupted_deployment_is_rolled_back_and_repeated() {
    let sandbox = Sandbox::new();
    for (point, kind, stack) in [
        ("resource-created", "AWS::EC2::Subnet", "small-network"),
        ("resource-create", "AWS::IAM::Role", "small-governance"),
        ("resource-recorded", "AWS::IAM::Role", "small-governance"),
        (
            "resource-created",
            "AWS::SageMaker::NotebookInstance",
            "small-workbench",
        ),
    ] {
        let mut child = init_with_fault(&sandbox, &format!("kill {point} {kind}"));
        let ended = child.wait().unwrap();
        assert!(
            !ended.success(),
            "{stack}: the server did not die at {point} of {kind}"
        );
        let status = sandbox.mlops(["local", "status", "--output", "json"]);
        assert!(status.json()["pid"].is_null(), "{stack}: {}", status.stdout);
    }
    let done = sandbox
        .mlops([
            "--local", "init", "--name", "small", "--yes", "--output", "json",
        ])
        .success();
    assert!(done.stdout.contains("small-workbench"), "{}", done.stdout);
    let again = sandbox.mlops(["--local", "init", "--yes"]).success();
    assert!(!again.stdout.contains("created"), "{}", again.stdout);
}

/// Issue 8, 2.5: the next `init` waits for what a killed one began.
#[test]
fn issue_8_2_5_an_init_whose_client_was_killed_is_completed_by_the_next() {
    let sandbox = Sandbox::new();
    for (stack, kind) in [
        ("small-network", "AWS::EC2::Subnet"),
        ("small-workbench", "AWS::SageMaker::NotebookInstance"),
    ] {
        // The server holds the creation of the stack until this file is removed.
        let held = sandbox.home().join(stack);
        let fault = format!("hold resource-created {kind} {}", held.display());
        let mut child = init_with_fault(&sandbox, &fault);
        let start = Instant::now();
        while !held.exists() {
            assert!(start.elapsed() < LIMIT, "{stack}: {kind} was not created");
            assert_eq!(child.try_wait().unwrap(), None, "{stack}: init has ended");
            pause();
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let mut next = init(&sandbox).stderr(Stdio::piped()).spawn().unwrap();
        let mut told = String::new();
        for line in BufReader::new(next.stderr.take().unwrap()).lines() {
            told += &(line.unwrap() + "\n");
            let waits = format!("{stack}: waiting for an earlier deployment");
            if told.contains(&waits) && held.exists() {
                std::fs::remove_file(&held).unwrap();
            }
        }
        assert_eq!(next.wait().unwrap().code(), Some(0), "{stack}: {told}");
        assert!(!held.exists(), "{stack}: it did not wait: {told}");
        assert!(!told.contains("is being changed"), "{told}");
        if stack == "small-network" {
            // The second round needs a stack to wait for.
            let _ = sandbox.mlops(["local", "stop"]);
            std::fs::remove_dir_all(sandbox.path().join(".mlops/local")).unwrap();
        }
    }
}

/// `mlops destroy --delete-data` without reading its output.
fn destroy(sandbox: &Sandbox) -> Command {
    let mut command = sandbox.command("");
    command
        .args(["destroy", "--delete-data", "--yes"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[test]
fn an_interrupted_destroy_is_completed_by_the_next() {
    let sandbox = Sandbox::new();
    let _ = sandbox
        .mlops(["--local", "init", "--name", "small", "--yes"])
        .success();
    let _ = sandbox.mlops(["local", "stop"]).success();
    // The server dies while it deletes the roles, and again while it deletes the buckets.
    for kind in ["AWS::IAM::Role", "AWS::S3::Bucket"] {
        let fault = format!("kill resource-delete {kind}");
        let mut command = destroy(&sandbox);
        let ended = command.env("MLOPS_LOCAL_FAULT", fault).status().unwrap();
        assert!(!ended.success(), "the server did not die at {kind}");
    }
    // The client dies while the server deletes the key.
    let held = sandbox.home().join("held");
    let fault = format!("hold resource-delete AWS::KMS::Key {}", held.display());
    let mut command = destroy(&sandbox);
    let mut child = command.env("MLOPS_LOCAL_FAULT", fault).spawn().unwrap();
    let start = Instant::now();
    while !held.exists() {
        assert!(start.elapsed() < LIMIT, "the key was not deleted");
        assert_eq!(child.try_wait().unwrap(), None, "destroy has ended");
        pause();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut next = destroy(&sandbox).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    for line in BufReader::new(next.stderr.take().unwrap()).lines() {
        told += &(line.unwrap() + "\n");
        if told.contains("small-data: waiting (DELETE_IN_PROGRESS)") && held.exists() {
            std::fs::remove_file(&held).unwrap();
        }
    }
    assert_eq!(next.wait().unwrap().code(), Some(0), "{told}");
    assert!(!held.exists(), "it did not wait: {told}");
    let again = sandbox.mlops(["destroy", "--delete-data"]).success();
    assert!(
        again.stdout.contains("Nothing of small"),
        "{}",
        again.stdout
    );
}
