//! Issue 8, 5.8: testing a change of the program without a commit.

use serde_json::Value;

use crate::sandbox::Sandbox;
use crate::small_project;

/// Runs a command with JSON output.
fn json(sandbox: &Sandbox, command: &str) -> Value {
    let arguments = command.split(' ').chain(["--output", "json"]);
    sandbox.mlops(arguments).success().json()
}

/// Creates a project and trains a changed program without a commit; returns the report.
fn tried(sandbox: &Sandbox) -> Value {
    small_project::project(sandbox);
    sandbox.write("image/program/evaluate", small_project::evaluate("3.5"));
    json(sandbox, "train --working-tree")
}

#[test]
fn issue_8_5_8_a_change_of_the_program_is_tested_without_a_commit() {
    let sandbox = Sandbox::new();
    let tried = tried(&sandbox);
    let json = |command: &str| json(&sandbox, command);
    let pushed = json("image show");
    assert_eq!(tried["metrics"]["rmse"], 3.5, "{tried}");
    assert_eq!(tried["dirty"], true, "{tried}");
    assert_eq!(tried["image_why"], "built from the working tree", "{tried}");
    assert_ne!(tried["image"], pushed["digest"], "{tried}");

    // Nobody else uses it: the branch still uses the pushed image.
    assert_eq!(json("image show")["digest"], pushed["digest"]);
    let plain = json("train");
    assert_eq!(plain["metrics"]["rmse"], 4.25, "{plain}");
    assert_eq!(plain["dirty"], false, "{plain}");
}

#[test]
fn issue_8_5_8_runs_and_models_are_recorded_as_dirty() {
    let sandbox = Sandbox::new();
    let _ = tried(&sandbox);
    let json = |command: &str| json(&sandbox, command);
    let plain = json("train");
    let models = json("models list");
    assert_eq!(models["models"][0]["dirty"], false, "{models}");
    let dirty = &models["models"][1];
    assert_eq!(dirty["dirty"], true, "{models}");
    assert_eq!(dirty["commit"], plain["commit"], "{models}");
    let runs = json("runs list");
    assert_eq!(runs["runs"][1]["dirty"], true, "{runs}");
    let list = sandbox.mlops(["models", "list"]).success().stdout;
    assert!(list.contains("dirty"), "{list}");
}

#[test]
fn issue_8_5_8_a_dirty_version_is_promoted_only_on_request() {
    let sandbox = Sandbox::new();
    let _ = tried(&sandbox);
    let json = |command: &str| json(&sandbox, command);
    // Otherwise, it is not even approved.
    let refused = sandbox.mlops(["promote", "1", "--yes"]).code(3);
    for part in ["working tree", "--allow-dirty"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    let shown = json("models show 1");
    assert_eq!(shown["status"], "PendingManualApproval", "{shown}");
    let _ = sandbox
        .mlops(["promote", "1", "--yes", "--allow-dirty"])
        .success();
    assert_eq!(json("models show 1")["live"], true);
    let _ = json("train");
    let _ = sandbox.mlops(["promote", "2", "--yes"]).success();
}

#[test]
fn issue_8_5_8_the_working_tree_belongs_to_one_branch() {
    let sandbox = Sandbox::new();
    small_project::project(&sandbox);
    let wrong = sandbox
        .mlops(["train", "--working-tree", "--branch", "other"])
        .code(2);
    assert!(wrong.stderr.contains("develop"), "{}", wrong.stderr);
}
