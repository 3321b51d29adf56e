//! `mlops notebook`: the project's notebook on the local cloud. JupyterLab itself is opened in
//! `tests/conformance/test_notebooks.py`.

use crate::sandbox::Sandbox;

fn project() -> Sandbox {
    let sandbox = Sandbox::new();
    let init = sandbox.mlops(["--local", "init", "--name", "flights"]);
    init.success();
    sandbox
}

#[test]
fn a_notebook_stops_and_starts() {
    let sandbox = project();
    let json = |words: &[&str]| {
        let words = [words, &["--local", "--output", "json"]].concat();
        sandbox.mlops(words).success().json()
    };
    let found = json(&["notebook", "status"]);
    assert_eq!(found["notebook"], "flights-notebook");
    assert_eq!(found["status"], "InService");
    assert_eq!(
        found["repositories"],
        serde_json::json!(["flights", "flights-eda"])
    );
    let stopped = json(&["notebook", "stop"]);
    assert_eq!(stopped["status"], "Stopped");
    assert_eq!(stopped["changed_now"], true);
    assert_eq!(json(&["notebook", "stop"])["changed_now"], false);

    let refused = sandbox.mlops(["notebook", "open", "--local"]).code(1);
    assert!(refused.stderr.contains("is Stopped"), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("mlops --local notebook start"),
        "{}",
        refused.stderr
    );

    let started = json(&["notebook", "start"]);
    assert_eq!(started["status"], "InService");
    assert_eq!(started["changed_now"], true);
    let again = sandbox.mlops(["notebook", "start", "--local"]).success();
    assert!(
        again.stdout.contains("is already InService"),
        "{}",
        again.stdout
    );

    let logs = json(&["notebook", "logs"]);
    let streams = logs["logs"].as_array().unwrap();
    assert_eq!(streams.len(), 1);
    assert_eq!(streams[0]["stream"], "LifecycleConfigOnStart");
}

#[test]
fn a_failed_script_is_shown_with_its_log() {
    let mut sandbox = project();
    sandbox.mlops(["notebook", "stop", "--local"]).success();
    sandbox.mlops(["local", "stop"]).success();
    sandbox.set("MLOPS_LOCAL_FAULT", "limit lifecycle-script 0");
    let failed = sandbox.mlops(["notebook", "start", "--local"]).code(1);
    for part in [
        "LifecycleConfigOnStart",
        "[mlops] host runtime",
        "the notebook flights-notebook is Failed: Notebook Instance Lifecycle Config '",
        "took longer than 5 minutes",
        "mlops --local notebook logs",
    ] {
        assert!(failed.stderr.contains(part), "{part}: {}", failed.stderr);
    }
    let found = sandbox.mlops(["notebook", "status", "--local"]).success();
    assert!(found.stdout.contains("Failed"), "{}", found.stdout);
    assert!(found.stdout.contains("took longer"), "{}", found.stdout);
    let missing = sandbox
        .mlops(["notebook", "status", "none", "--local"])
        .code(1);
    assert!(
        missing
            .stderr
            .contains("there is no notebook instance none"),
        "{}",
        missing.stderr
    );
}

#[test]
fn a_wait_that_takes_too_long_says_what_to_do() {
    let sandbox = project();
    let late = sandbox.mlops(["notebook", "stop", "--local", "--timeout", "0.01"]);
    let late = late.code(5);
    for part in ["Stopping", "mlops --local notebook status", "AWS Support"] {
        assert!(late.stderr.contains(part), "{part}: {}", late.stderr);
    }
}

#[test]
fn a_session_outside_of_the_limits_is_a_usage_error() {
    let sandbox = Sandbox::new();
    let refused = sandbox
        .mlops(["notebook", "open", "--session", "13h"])
        .code(2);
    assert!(
        refused.stderr.contains("SageMaker allows 30m to 12h"),
        "{}",
        refused.stderr
    );
}
