//! The whole workflow of the demo, the first command in the README.

use crate::readme;
use crate::sandbox::Sandbox;

#[test]
fn the_demo_runs_the_whole_workflow_and_keeps_the_project() {
    let sandbox = Sandbox::new();
    // Like the first command in the README, which runs in a clone of another repository.
    let _ = sandbox.program("", "git", &["init", "--quiet"]).success();
    // Both streams in one, as on a terminal, so that their lines are in order.
    let script = format!("'{}' demo flights 2>&1", env!("CARGO_BIN_EXE_mlops"));
    let demo = sandbox.program("", "sh", &["-c", &script]).success();
    for command in [
        "$ mlops --local init --name flights --yes",
        "$ mlops data push data/train flights",
        "$ mlops validate data/spoiled.csv",
        "$ mlops init --delivery --yes",
        "$ git push --quiet codecommit develop",
        "$ mlops runs watch --commit HEAD",
        "$ mlops models approve 2",
        "$ mlops runs watch --model-version 2",
        "$ mlops monitor run",
        "$ mlops lineage",
    ] {
        assert!(demo.stdout.contains(command), "{command}: {}", demo.stdout);
    }
    readme::check(&demo.stdout);
    let json = |command: &str| {
        let arguments = command.split(' ').chain(["--output", "json"]);
        sandbox.mlops_in("flights", arguments).success().json()
    };

    let models = json("models list");
    // The second version came out of a push, and nobody deployed it by hand.
    let model = &models["models"][0];
    assert_eq!(model["version"], 2, "{models}");
    assert_eq!(model["status"], "Approved", "{models}");
    let verified = json("releases verify");
    assert_eq!(verified["release"], 2, "{verified}");
    let runs = json("runs list");
    let kinds = runs["runs"].as_array().unwrap().iter();
    let succeeded = kinds.filter(|run| run["status"] == "Succeeded");
    let mut kinds: Vec<&str> = succeeded.filter_map(|run| run["kind"].as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, ["deploy", "image", "ml", "training"], "{runs}");

    let lineage = json("lineage").to_string();
    let head = sandbox
        .program("flights", "git", &["log", "--format=%H", "develop"])
        .success();
    assert!(
        head.stdout.lines().any(|commit| lineage.contains(commit)),
        "a commit of develop: {lineage}"
    );
    assert!(lineage.contains("sha256:"), "the image's digest: {lineage}");
    let versions = json("data versions flights");
    let version = versions["versions"][0]["version"].as_str().unwrap();
    assert!(lineage.contains(version), "the data's version: {lineage}");

    let status = sandbox.mlops_in("flights", ["status"]).success();
    assert!(status.stdout.lines().count() <= 24, "{}", status.stdout);
    assert!(
        status.stdout.lines().all(|line| line.chars().count() <= 80),
        "{}",
        status.stdout
    );

    let page = std::fs::read_to_string(sandbox.path().join("flights/drift.html")).unwrap();
    assert!(page.contains("<svg"), "a chart");
    assert!(page.contains("temp"), "July is warmer than the winter");
    for outside in ["src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!page.contains(outside), "the page loads nothing: {outside}");
    }

    // Issue 8, 5.3: suggested commands can be pasted, although `mlops` is not on PATH.
    let program = env!("CARGO_BIN_EXE_mlops");
    for line in [
        format!("`mlops` is not on PATH; its path is {program}"),
        format!("  {program} models list"),
    ] {
        assert!(demo.stdout.contains(&line), "{line}: {}", demo.stdout);
    }

    // No local records: everything shown comes from AWS calls alone.
    let again = sandbox.mlops_in("flights", ["local", "stop"]);
    let _ = again.success();
    assert_eq!(json("models list"), models);
}
