//! Releases that a pipeline deploys: `promote --prepare` claims one, `releases verify --record` proves it.

use std::collections::BTreeMap;

use aws_sdk_cloudformation::types::{Parameter, StackStatus};
use serde_json::Value;

use crate::promote::{project, promote, train};
use crate::sandbox::{Run, Sandbox, pause};
use crate::sdk::Sdk;

const STACK: &str = "small-endpoint";

/// Deploys the files of a directory, as CodePipeline does. Returns the stack's status at the end.
pub(crate) fn deploy(sandbox: &Sandbox, sdk: &Sdk, directory: &str) -> StackStatus {
    let file = |name: &str| {
        let path = sandbox.path().join(directory).join(name);
        std::fs::read_to_string(path).unwrap()
    };
    let configuration: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(&file("configuration.json")).unwrap();
    let parameters = configuration["Parameters"].iter().map(|(name, value)| {
        let parameter = Parameter::builder().parameter_key(name);
        parameter.parameter_value(value).build()
    });
    let parameters: Vec<Parameter> = parameters.collect();
    let client = aws_sdk_cloudformation::Client::new(&sdk.config);
    let status = || {
        let found = sdk.wait(client.describe_stacks().stack_name(STACK).send());
        let stack = found.ok()?.stacks()[0].clone();
        stack.stack_status
    };
    let template = file("endpoint.yaml");
    if status().is_none() {
        let create = client.create_stack().stack_name(STACK);
        let create = create.template_body(template);
        let _ = sdk
            .wait(create.set_parameters(Some(parameters)).send())
            .unwrap();
    } else {
        let update = client.update_stack().stack_name(STACK);
        let update = update.template_body(template);
        let _ = sdk
            .wait(update.set_parameters(Some(parameters)).send())
            .unwrap();
    }
    loop {
        match status() {
            Some(status) if !status.as_str().ends_with("_IN_PROGRESS") => return status,
            _ => pause(),
        }
    }
}

fn approve(sandbox: &Sandbox, version: &str) {
    let approve = ["--local", "models", "approve", version];
    let _ = sandbox.mlops(approve).success();
}

fn prepare(sandbox: &Sandbox, version: &str, directory: &str) -> Run {
    let words = ["--local", "promote", version, "--prepare", directory];
    sandbox.mlops(words.into_iter().chain(["--output", "json"]))
}

fn record(sandbox: &Sandbox, release: &str) -> Run {
    let words = ["--local", "releases", "verify", "--record", release];
    sandbox.mlops(words.into_iter().chain(["--output", "json"]))
}

/// The outcomes of the releases, newest first.
fn outcomes(sandbox: &Sandbox) -> Vec<String> {
    let words = ["--local", "releases", "list", "--output", "json"];
    let list = sandbox.mlops(words).success().json();
    let releases = list["releases"].as_array().unwrap().iter();
    let outcomes = releases.map(|release| release["outcome"].as_str().unwrap().to_owned());
    outcomes.collect()
}

fn parameters(sandbox: &Sandbox, directory: &str) -> Value {
    let file = sandbox.path().join(directory).join("configuration.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[test]
fn an_approved_version_is_claimed_deployed_and_recorded_once() {
    let sandbox = project();
    let sdk = Sdk::of(&sandbox);
    let _ = train(&sandbox, &[]);
    let pending = prepare(&sandbox, "1", "out").success().json();
    assert_eq!(pending["nothing"], "version 1 is PendingManualApproval");
    let unknown = prepare(&sandbox, "9", "out").success().json();
    assert_eq!(unknown["nothing"], "version 9 does not exist");
    assert!(!sandbox.path().join("out").exists());

    approve(&sandbox, "1");
    let first = prepare(&sandbox, "1", "out").success().json();
    assert_eq!(first["release"], 1, "{first}");
    // A repeated event finds the claim.
    let again = prepare(&sandbox, "1", "again").success().json();
    assert_eq!(again["release"], 1, "{again}");
    assert_eq!(parameters(&sandbox, "again"), parameters(&sandbox, "out"));
    assert_eq!(outcomes(&sandbox), ["in-progress"]);

    assert_eq!(deploy(&sandbox, &sdk, "out"), StackStatus::CreateComplete);
    let proven = record(&sandbox, "1").success().json();
    assert_eq!(proven["release"], 1, "{proven}");
    assert_eq!(proven["matches"], true, "{proven}");
    assert_eq!(outcomes(&sandbox), ["live"]);
    let status = ["--local", "models", "show", "1", "--output", "json"];
    let shown = sandbox.mlops(status).success().json();
    assert!(shown.to_string().contains("Live"), "{shown}");

    // A later event finds it live, and changes nothing.
    let later = prepare(&sandbox, "1", "later").success().json();
    assert_eq!(later["release"], Value::Null, "{later}");
    assert_eq!(later["nothing"], "version 1 is live already, as release 1");
    assert!(!sandbox.path().join("later").exists());
    let proven = record(&sandbox, "1").success().json();
    assert_eq!(proven["matches"], true, "{proven}");
    assert_eq!(outcomes(&sandbox), ["live"]);
}

#[test]
fn a_deployment_of_a_pipeline_that_was_rolled_back_is_not_repeated() {
    let sandbox = project();
    let sdk = Sdk::of(&sandbox);
    let _ = train(&sandbox, &[]);
    let _ = promote(&sandbox, "1").success();
    let _ = train(&sandbox, &["Answer=broken"]);
    approve(&sandbox, "2");
    let claimed = prepare(&sandbox, "2", "out").success().json();
    assert_eq!(claimed["release"], 2, "{claimed}");
    assert_eq!(
        deploy(&sandbox, &sdk, "out"),
        StackStatus::UpdateRollbackComplete
    );
    // Nobody recorded it: the stack's events tell.
    let again = prepare(&sandbox, "2", "again").success().json();
    assert_eq!(again["nothing"], "version 2 (release 2 failed to deploy)");
    let none = sandbox.mlops(["--local", "promote", "--yes"]).code(1);
    assert!(
        none.stderr.contains("release 2 failed to deploy"),
        "{}",
        none.stderr
    );

    let _ = train(&sandbox, &["Answer=two"]);
    approve(&sandbox, "3");
    let _ = prepare(&sandbox, "3", "third").success();
    assert_eq!(outcomes(&sandbox), ["in-progress", "failed", "live"]);
    assert_eq!(deploy(&sandbox, &sdk, "third"), StackStatus::UpdateComplete);
    // Not a release that the stack does not have.
    let other = record(&sandbox, "2").code(3);
    assert!(
        other.stderr.contains("does not have release 2"),
        "{}",
        other.stderr
    );
    let _ = record(&sandbox, "3").success();
    assert_eq!(outcomes(&sandbox), ["live", "failed", "replaced"]);
    // Older than what is live.
    let older = prepare(&sandbox, "1", "older").success().json();
    assert_eq!(older["nothing"], "version 1 was live before, as release 1");
}

#[test]
fn an_endpoint_that_returned_to_the_release_before_is_recorded_and_followed() {
    let sandbox = project();
    let sdk = Sdk::of(&sandbox);
    let _ = train(&sandbox, &[]);
    let _ = promote(&sandbox, "1").success();
    let _ = train(&sandbox, &["Answer=two"]);
    approve(&sandbox, "2");
    let _ = prepare(&sandbox, "2", "out").success();
    let inject = ["--local", "local", "inject", "silent-rollback", "small"];
    let _ = sandbox.mlops(inject).success();
    assert_eq!(deploy(&sandbox, &sdk, "out"), StackStatus::UpdateComplete);
    let refuted = record(&sandbox, "2").code(1);
    assert!(
        refuted.stderr.contains("was rolled back"),
        "{}",
        refuted.stderr
    );
    assert_eq!(outcomes(&sandbox), ["rolled-back", "live"]);
    // The stack was brought back to release 1.
    let words = ["--local", "releases", "verify", "--output", "json"];
    let verified = sandbox.mlops(words).success().json();
    assert_eq!(verified["release"], 1, "{verified}");
}

#[test]
fn a_release_of_the_pipeline_that_was_not_proven_is_completed_by_a_promotion() {
    let sandbox = project();
    let sdk = Sdk::of(&sandbox);
    let _ = train(&sandbox, &[]);
    approve(&sandbox, "1");
    // The pipeline claimed and deployed it, and could not prove it.
    let _ = prepare(&sandbox, "1", "out").success();
    assert_eq!(deploy(&sandbox, &sdk, "out"), StackStatus::CreateComplete);
    let promoted = promote(&sandbox, "1").success().json();
    assert_eq!(promoted["release"], 1, "{promoted}");
    assert_eq!(promoted["changed"], false, "{promoted}");
    assert_eq!(outcomes(&sandbox), ["live"]);
}

#[test]
fn a_promotion_whose_client_was_killed_is_taken_over() {
    let sandbox = project();
    let _ = train(&sandbox, &[]);
    approve(&sandbox, "1");
    // A person claimed the release, and is gone.
    let _ = prepare(&sandbox, "1", "out").success();
    let role = ["--local", "local", "env", "--role", "small-deploy-build"];
    let session = sandbox.mlops(role.iter().chain(&["--output", "json"]));
    let session = session.success().json();
    let mut command = sandbox.command("");
    command.args(["promote", "1", "--prepare", "taken", "--output", "json"]);
    command.env("MLOPS_LOCAL", "0");
    for (name, value) in session.as_object().unwrap() {
        match value.as_str() {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // It waits until nobody has worked on the release for a minute.
    let taken = sandbox.run(command).success();
    assert!(
        taken.stderr.contains("waiting for the end"),
        "{}",
        taken.stderr
    );
    assert_eq!(taken.json()["release"], 1, "{}", taken.stdout);
    assert_eq!(parameters(&sandbox, "taken"), parameters(&sandbox, "out"));
}
