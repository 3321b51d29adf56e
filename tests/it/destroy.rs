//! `mlops destroy`: what it deletes, what it keeps, and that it can be repeated.

use std::io::{Read, Write};
use std::net::TcpStream;

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
    assert_eq!(status(&sandbox, "network"), "CREATE_COMPLETE");

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

/// Injects this failure of a resource.
fn fail(sandbox: &Sandbox, kind: &str, step: &str, count: &str) {
    let fault = ["--type", kind, "--step", step, "--count", count];
    let inject = ["local", "inject", "resource-failure"].into_iter();
    sandbox.mlops(inject.chain(fault)).success();
}

/// The status of a stack, as `mlops status` shows it.
fn status(sandbox: &Sandbox, part: &str) -> String {
    let status = ["status", "--output", "json"];
    let status = sandbox.mlops(status).success().json();
    let mut stacks = status["stacks"].as_array().unwrap().iter();
    let found = stacks.find(|found| found["part"] == part).unwrap();
    found["status"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn nothing_is_emptied_if_cloudformation_would_keep_the_data() {
    let sandbox = Sandbox::new();
    small_project::project(&sandbox);
    let toml = std::fs::read_to_string(sandbox.path().join("mlops.toml")).unwrap();
    sandbox.write(
        "mlops.toml",
        format!("{toml}\n[branches]\nproduction = \"release\"\n"),
    );
    // The update of the registry fails, and so does its rollback.
    fail(&sandbox, "AWS::ECR::Repository", "update", "2");
    let _ = sandbox.mlops(["init"]).code(1);
    let refused = sandbox.mlops(["destroy", "--delete-data", "--yes"]).code(1);
    for line in [
        "small-registry is UPDATE_ROLLBACK_FAILED",
        "continue-update-rollback --stack-name small-registry",
    ] {
        assert!(refused.stderr.contains(line), "{line}: {}", refused.stderr);
    }
    let images = ["image", "list", "--output", "json"];
    let images = sandbox.mlops(images).success().stdout;
    assert!(images.contains("sha256:"), "the image is there: {images}");
    let dry = ["destroy", "--delete-data", "--dry-run", "--output", "json"];
    let dry = sandbox.mlops(dry).success().json();
    assert_eq!(stacks(&dry, "deleted").len(), 6);
}

#[test]
fn after_an_interruption_init_protects_the_data_again() {
    let sandbox = Sandbox::new();
    let _ = sandbox
        .mlops(["init", "--local", "--name", "flights"])
        .success();
    let _ = sandbox.mlops(["data", "push", "data/train"]).success();
    fail(&sandbox, "AWS::SageMaker::NotebookInstance", "delete", "3");
    let _ = sandbox.mlops(["destroy", "--delete-data", "--yes"]).code(1);
    // The user changes their mind.
    let _ = sandbox.mlops(["destroy", "--yes"]).success();
    let plan = sandbox.mlops(["plan"]).code(3);
    for stack in ["data", "registry", "code"] {
        let line = format!("flights-{stack}: ");
        assert!(plan.stdout.contains(&line), "{stack}: {}", plan.stdout);
    }
    let done = sandbox.mlops(["init", "--output", "json"]).success().json();
    let updated = done["stacks"].as_array().unwrap().iter();
    let updated = updated.filter(|stack| stack["action"] == "updated");
    assert_eq!(updated.count(), 3);
    let _ = sandbox.mlops(["plan"]).success();
    let versions = sandbox.mlops(["data", "versions"]).success();
    assert!(versions.stdout.contains("804.6 KiB"), "{}", versions.stdout);
}

#[test]
fn a_plan_deletes_no_failed_stack() {
    let sandbox = Sandbox::new();
    let start = ["local", "start", "--detach", "--port", "0"];
    sandbox.mlops(start).success();
    fail(&sandbox, "AWS::S3::Bucket", "create", "1");
    let init = ["init", "--local", "--name", "flights"];
    let _ = sandbox.mlops(init).code(1);
    let before = status(&sandbox, "data");
    assert_eq!(before, "ROLLBACK_COMPLETE");
    let plan = sandbox.mlops(["plan"]).code(3);
    let line = "(from the template: its deployment failed, and init deletes it first)";
    assert!(plan.stdout.contains(line), "{}", plan.stdout);
    // The parameters decide the conditions: with `nat`, there are no interface endpoints.
    assert!(!plan.stdout.contains("VPCEndpoint (if"), "{}", plan.stdout);
    assert_eq!(status(&sandbox, "data"), before);
    let _ = sandbox.mlops(["init"]).success();
    let _ = sandbox.mlops(["plan"]).success();
}

#[test]
fn what_belongs_to_no_stack_is_found_and_named() {
    let sandbox = Sandbox::new();
    let _ = sandbox
        .mlops(["init", "--local", "--name", "flights"])
        .success();
    let destroy = ["destroy", "--delete-data", "--yes"];
    let _ = sandbox.mlops(destroy).success();
    let server = ["local", "status", "--output", "json"];
    let server = sandbox.mlops(server).success().json();
    let address = server["endpoint"].as_str().unwrap();
    let address = address.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let body = r#"{"repositoryName":"flights-eda"}"#;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=AK/20260101/us-east-1/codecommit/aws4_request, SignedHeaders=host, Signature=0\r\n\
         Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: CodeCommit_20150413.CreateRepository\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let found = sandbox.mlops(destroy).code(1);
    for line in [
        "still there, and possibly billed: git repository flights-eda",
        "aws codecommit delete-repository --repository-name flights-eda",
    ] {
        assert!(found.stdout.contains(line), "{line}: {}", found.stdout);
    }
    assert!(!found.stdout.contains("Nothing of"), "{}", found.stdout);
}

#[test]
fn the_source_of_a_deployed_project_stays() {
    let sandbox = Sandbox::new();
    let _ = sandbox
        .mlops(["init", "--local", "--name", "flights", "--empty"])
        .success();
    let toml = std::fs::read_to_string(sandbox.path().join("mlops.toml")).unwrap();
    sandbox.write(
        "mlops.toml",
        toml.replace(
            "[architecture]\n",
            "[architecture]\nsource = \"codeconnections\"\n",
        ),
    );
    for command in ["init", "plan"] {
        let refused = sandbox.mlops([command]).code(2);
        let line = "the source of a deployed project cannot be changed to codeconnections";
        assert!(refused.stderr.contains(line), "{}", refused.stderr);
    }
    let other = ["init", "--local", "--name", "flights-eda"];
    let named = Sandbox::new().mlops(other).code(2);
    let line = "the notebooks' repository of a project `flights`";
    assert!(named.stderr.contains(line), "{}", named.stderr);
}
