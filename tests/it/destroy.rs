//! `mlops destroy`: what it deletes, what it keeps, and that it can be repeated.

use serde_json::Value;

use crate::sandbox::Sandbox;
use crate::small_project;

/// The stacks with this fate.
fn stacks<'a>(report: &'a Value, fate: &str) -> Vec<&'a str> {
    let all = report["stacks"].as_array().unwrap().iter();
    all.filter(|stack| stack["fate"] == fate)
        .filter_map(|stack| stack["stack"].as_str())
        .collect()
}

#[test]
fn data_is_kept_and_init_brings_the_rest_back() {
    let sandbox = Sandbox::new();
    let _ = sandbox
        .mlops(["init", "--local", "--name", "flights"])
        .success();
    let _ = sandbox.mlops(["data", "push", "data/train"]).success();

    let refused = sandbox.mlops(["destroy"]).code(2);
    for line in [
        "delete  stack flights-workbench",
        "notebook and its volume flights-notebook",
        "keep    stack flights-data",
        "bucket flights-data-000000000000-us-east-1",
        "pass --yes",
    ] {
        assert!(refused.stderr.contains(line), "{line}: {}", refused.stderr);
    }
    let dry = sandbox.mlops(["destroy", "--dry-run"]).success();
    assert!(
        dry.stdout.contains("Nothing was deleted."),
        "{}",
        dry.stdout
    );
    let status = sandbox.mlops(["status"]).success();
    assert!(
        !status.stdout.contains("network    not deployed"),
        "{}",
        status.stdout
    );

    let destroyed = ["destroy", "--yes", "--output", "json"];
    let report = sandbox.mlops(destroyed).success().json();
    assert_eq!(
        stacks(&report, "deleted"),
        ["flights-workbench", "flights-governance", "flights-network"]
    );
    assert_eq!(
        stacks(&report, "kept"),
        ["flights-code", "flights-registry", "flights-data"]
    );
    assert_eq!(report["left"].as_array().unwrap().len(), 0);
    let again = sandbox.mlops(["destroy", "--yes"]).success();
    assert!(
        again.stdout.contains("There is nothing to delete."),
        "{}",
        again.stdout
    );
    assert!(
        again.stdout.contains("about $1 per month"),
        "{}",
        again.stdout
    );

    let done = sandbox.mlops(["init", "--output", "json"]).success().json();
    let created = done["stacks"].as_array().unwrap().iter();
    let created: Vec<&str> = created
        .filter(|stack| stack["action"] == "created")
        .filter_map(|stack| stack["stack"].as_str())
        .collect();
    assert_eq!(
        created,
        ["flights-network", "flights-governance", "flights-workbench"]
    );
    let versions = sandbox.mlops(["data", "versions"]).success();
    assert!(versions.stdout.contains("804.6 KiB"), "{}", versions.stdout);
}

#[test]
fn with_data_nothing_remains() {
    let sandbox = Sandbox::new();
    small_project::project(&sandbox);
    let _ = sandbox.mlops(["train"]).success();
    let _ = sandbox.mlops(["promote", "1", "--yes"]).success();
    let report = sandbox
        .mlops(["destroy", "--delete-data", "--yes", "--output", "json"])
        .success();
    for line in [
        "pipeline small and its runs: deleted",
        "small-endpoint: deleted",
        "small: 1 model version deleted",
        "log group /aws/sagemaker/Endpoints/small: deleted",
        "small-data: deleted",
    ] {
        assert!(report.stderr.contains(line), "{line}: {}", report.stderr);
    }
    let report = report.json();
    assert_eq!(stacks(&report, "deleted").len(), 7);
    assert_eq!(report["left"], serde_json::json!([]));
    assert!(report["checked"].as_u64().unwrap() > 15);

    let again = sandbox
        .mlops(["destroy", "--delete-data", "--yes"])
        .success();
    assert!(
        again
            .stdout
            .contains("Nothing of small exists in this account."),
        "{}",
        again.stdout
    );
    // The name is free again.
    let _ = sandbox.mlops(["init"]).success();
}
