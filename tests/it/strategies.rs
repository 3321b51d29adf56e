//! How a deployment is shifted and guarded, and what happens when the endpoint returns to an earlier release by
//! itself.

use aws_sdk_sagemaker::Client;
use aws_sdk_sagemaker::types::DeploymentConfig;
use serde_json::Value;

use crate::promote::{project, promote, train};
use crate::promote_twice::{Point, hold};
use crate::repositories::wait_until;
use crate::sandbox::Sandbox;
use crate::sdk::Sdk;

/// Sets values of `[deploy]`.
fn set(sandbox: &Sandbox, values: &str) {
    let path = sandbox.path().join("mlops.toml");
    let toml = std::fs::read_to_string(path).unwrap();
    let (before, after) = toml.split_once("[deploy]\n").unwrap();
    sandbox.write("mlops.toml", format!("{before}[deploy]\n{values}{after}"));
}

/// Returns how the endpoint was deployed last.
fn last_deployment(sandbox: &Sandbox) -> DeploymentConfig {
    let sdk = Sdk::of(sandbox);
    let client = Client::new(&sdk.config);
    let describe = client.describe_endpoint().endpoint_name("small").send();
    let found = sdk.wait(describe).unwrap();
    found.last_deployment_config.unwrap()
}

fn outcomes(sandbox: &Sandbox) -> Vec<String> {
    let list = sandbox.mlops(["--local", "releases", "list", "--output", "json"]);
    let list = list.success().json();
    let releases = list["releases"].as_array().unwrap().iter();
    releases
        .map(|release| release["outcome"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_deployment_has_its_strategy_and_a_silent_rollback_is_a_failure() {
    let sandbox = project();
    let _ = train(&sandbox, &["Answer=one"]);

    // What AWS would refuse is refused before anything starts.
    let impossible = ["--local", "promote", "1", "--yes", "--strategy", "canary"];
    let impossible = sandbox.mlops(impossible).code(2);
    assert!(
        impossible.stderr.contains("needs at least 2 instances"),
        "{}",
        impossible.stderr
    );

    // An alarm without a bake time would never act.
    let toml = std::fs::read_to_string(sandbox.path().join("mlops.toml")).unwrap();
    assert!(!toml.contains("instance_count"), "{toml}");
    set(&sandbox, "alarms.custom = [\"drift\"]\n");
    let useless = promote(&sandbox, "1").code(2);
    assert!(
        useless.stderr.contains("deploy.alarms has no effect")
            && useless.stderr.contains("set deploy.bake_seconds"),
        "{}",
        useless.stderr
    );
    sandbox.write("mlops.toml", toml);
    set(
        &sandbox,
        "strategy = \"canary\"\ninstance_count = 2\n\
         autoscaling = {min = 2, max = 4, invocations_per_instance = 100}\n",
    );
    let _ = promote(&sandbox, "1").success();
    let _ = train(&sandbox, &["Answer=two"]);
    let second = promote(&sandbox, "2").success().json();
    assert_eq!(second["sample"]["answer"], "two", "{second}");
    let deployment = last_deployment(&sandbox);
    let policy = deployment.blue_green_update_policy().unwrap();
    let routing = policy.traffic_routing_configuration().unwrap();
    assert_eq!(routing.r#type().unwrap().as_str(), "CANARY");
    assert_eq!(routing.canary_size().unwrap().value(), Some(1));

    // CloudFormation reports success, but the endpoint serves release 2.
    let _ = train(&sandbox, &["Answer=three"]);
    let inject = ["--local", "local", "inject", "silent-rollback", "small"];
    let _ = sandbox.mlops(inject).success();
    let silent = promote(&sandbox, "3").code(1);
    assert!(
        silent.stderr.contains("was rolled back") && silent.stderr.contains("release 2 is live"),
        "{}",
        silent.stderr
    );
    assert_eq!(outcomes(&sandbox), ["rolled-back", "live", "replaced"]);
    // Stack, manifest and endpoint agree again.
    let verified = sandbox.mlops(["--local", "releases", "verify", "--output", "json"]);
    let verified = verified.success().json();
    assert_eq!(verified["release"], 2, "{verified:#}");
    let checked = |what: &str| {
        let checks = verified["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["what"] == what);
        check.unwrap()["skipped"].clone()
    };
    assert_eq!(checked("endpoint"), false, "the stack has release 2");
    let status = sandbox.mlops(["--local", "status", "--output", "json"]);
    let status = status.success().json();
    assert_eq!(status["live"], 2, "{status:#}");
    assert_eq!(
        status["last_release"]["outcome"], "rolled-back",
        "{status:#}"
    );
    assert_ne!(status["next"], Value::from("mlops --local promote 3"));
    let nothing = sandbox.mlops(["--local", "promote"]).code(1);
    assert!(!nothing.stderr.contains("promote 3"), "{}", nothing.stderr);

    killed_before_it_is_noticed(&sandbox);
}

/// The client is killed before it notices a silent rollback: the next promotion records it, and brings the stack
/// back before it deploys anything.
fn killed_before_it_is_noticed(sandbox: &Sandbox) {
    let _ = train(sandbox, &["Answer=four"]);
    let inject = ["--local", "local", "inject", "silent-rollback", "small"];
    let _ = sandbox.mlops(inject).success();
    let (mut killed, _holding) = hold(sandbox, &["promote", "4"], Point::After("ExecuteChangeSet"));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let in_progress = || {
        let status = sandbox.mlops(["--local", "status", "--output", "json"]);
        let status = status.success().json();
        let stacks = status["stacks"].as_array().unwrap().iter();
        let endpoint = stacks.clone().find(|stack| stack["part"] == "endpoint");
        endpoint.unwrap()["status"] != "UPDATE_COMPLETE"
    };
    wait_until("the update ends", || !in_progress());
    assert_eq!(outcomes(sandbox)[0], "in-progress");
    let _ = train(sandbox, &["Answer=five"]);
    let five = promote(sandbox, "5").success();
    assert!(
        five.stderr.contains("bringing the stack back to it"),
        "{}",
        five.stderr
    );
    assert_eq!(outcomes(sandbox)[..2], ["live", "rolled-back"]);
}
