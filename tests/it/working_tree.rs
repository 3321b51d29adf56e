//! Issue 8, 5.8: testing a change of the program without a commit.

use crate::sandbox::Sandbox;
use crate::small_project;

#[test]
fn issue_8_5_8_a_change_of_the_program_is_tested_without_a_commit() {
    let sandbox = Sandbox::new();
    small_project::project(&sandbox);
    let json = |command: &str| {
        let arguments = command.split(' ').chain(["--output", "json"]);
        sandbox.mlops(arguments).success().json()
    };
    let pushed = json("image show");
    sandbox.write("image/program/evaluate", small_project::evaluate("3.5"));
    let tried = json("train --working-tree");
    assert_eq!(tried["metrics"]["rmse"], 3.5, "{tried}");
    assert_eq!(tried["dirty"], true, "{tried}");
    assert_eq!(tried["image_why"], "built from the working tree", "{tried}");
    assert_ne!(tried["image"], pushed["digest"], "{tried}");

    // Nobody else uses it: the branch still uses the pushed image.
    assert_eq!(json("image show")["digest"], pushed["digest"]);
    let plain = json("train");
    assert_eq!(plain["metrics"]["rmse"], 4.25, "{plain}");
    assert_eq!(plain["dirty"], false, "{plain}");
    let models = json("models list");
    assert_eq!(models["models"][0]["dirty"], false, "{models}");
    let dirty = &models["models"][1];
    assert_eq!(dirty["dirty"], true, "{models}");
    assert_eq!(dirty["commit"], plain["commit"], "{models}");
    let runs = json("runs list");
    assert_eq!(runs["runs"][1]["dirty"], true, "{runs}");
    let list = sandbox.mlops(["models", "list"]).success().stdout;
    assert!(list.contains("dirty"), "{list}");

    // It can only be promoted on request; otherwise it is not even approved.
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
    let _ = sandbox.mlops(["promote", "2", "--yes"]).success();

    // The working tree belongs to one branch only.
    let wrong = sandbox
        .mlops(["train", "--working-tree", "--branch", "other"])
        .code(2);
    assert!(wrong.stderr.contains("develop"), "{}", wrong.stderr);
}
