//! Issue 10: what commands do when requests and resources fail (`mlops local inject`).

use crate::sandbox::{Run, Sandbox};

/// A sandbox whose local cloud runs, with these faults.
fn with_faults(faults: &[&[&str]]) -> Sandbox {
    let sandbox = Sandbox::new();
    let start = ["local", "start", "--detach", "--port", "0"];
    sandbox.mlops(start).success();
    for fault in faults {
        inject(&sandbox, fault).success();
    }
    sandbox
}

fn inject(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    let all = ["local", "inject"].iter().chain(arguments).copied();
    sandbox.mlops(all.collect::<Vec<_>>())
}

const INIT: [&str; 4] = ["--local", "init", "--name", "flights"];

#[test]
fn throttled_requests_are_repeated_and_shown() {
    let operation = ["--operation", "cloudformation:CreateChangeSet"];
    let throttle = ["throttle", operation[0], operation[1], "--count", "2"];
    let sandbox = with_faults(&[&throttle]);
    let listed = inject(&sandbox, &["list"]).success().stdout;
    assert_eq!(listed, "throttle cloudformation:CreateChangeSet, 2 times\n");
    let run = sandbox.mlops(INIT).success();
    let line = "cloudformation is busy or did not answer: attempt 2 of 3";
    assert!(run.stderr.contains(line), "{}", run.stderr);
    let listed = inject(&sandbox, &["list"]).success().stdout;
    assert_eq!(listed, "No faults are injected.\n");
}

#[test]
fn an_expired_token_ends_a_deployment_that_can_be_resumed() {
    let operation = "cloudformation:ExecuteChangeSet";
    let sandbox = with_faults(&[&["expired-token", "--operation", operation]]);
    let run = sandbox.mlops(INIT);
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    assert!(run.stderr.contains("aws sso login"), "{}", run.stderr);
    sandbox.mlops(["--local", "init"]).success();
}

#[test]
fn a_failed_resource_is_named_and_the_next_run_succeeds() {
    let failure = ["resource-failure", "--type", "AWS::S3::Bucket"];
    let sandbox = with_faults(&[&failure]);
    let run = sandbox.mlops(INIT);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(
        run.stderr.contains("injected by `mlops local inject"),
        "{}",
        run.stderr
    );
    sandbox.mlops(["--local", "init"]).success();
}

#[test]
fn faults_that_cannot_happen_are_refused() {
    let sandbox = with_faults(&[]);
    for wrong in [
        &["throttle", "--operation", "kms:None"][..],
        &["throttle", "--count", "0"],
        &["resource-failure", "--type", "AWS::S3::Pail"],
    ] {
        let run = inject(&sandbox, wrong);
        assert_eq!(run.code, Some(2), "{wrong:?}: {}", run.stderr);
    }
    let resource = [
        "resource-failure",
        "--type",
        "AWS::KMS::Key",
        "--step",
        "delete",
    ];
    inject(&sandbox, &resource).success();
    let cleared = inject(&sandbox, &["clear", "--output", "json"])
        .success()
        .json();
    let wanted = serde_json::json!([{
        "id": cleared["cleared"][0]["id"], "fault": "resource-failure", "type": "AWS::KMS::Key",
        "logical_id": null, "step": "delete", "remaining": 1,
    }]);
    assert_eq!(cleared["cleared"], wanted);
    assert_eq!(
        inject(&Sandbox::new(), &["list"]).code,
        Some(2),
        "without a local cloud"
    );
}

#[test]
fn faults_of_endpoints_are_listed() {
    let sandbox = with_faults(&[
        &["silent-rollback", "flights"],
        &["container-crash"],
        &["slow-start", "flights"],
        &["http-500", "flights", "--count", "3"],
    ]);
    let listed = inject(&sandbox, &["list"]).success().stdout;
    let wanted = "silent rollback of flights, once\ncontainer crash of any endpoint, once\n\
                  slow start of flights, once\nHTTP 500 from flights, 3 times\n";
    assert_eq!(listed, wanted);
}
