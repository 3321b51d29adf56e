//! Tests of builds, which really run.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::test_cloud::{Refused, TestCloud};

mod clones;
mod hostile;
mod life;
mod outputs;
mod projects;

const ROLE: &str = "arn:aws:iam::000000000000:role/build";

/// The actions of a service role in the user guide, and those of the tests' buildspecs.
const ACTIONS: [&str; 8] = [
    "logs:*",
    "s3:*",
    "ssm:GetParameters",
    "codecommit:GitPull",
    "codebuild:CreateReportGroup",
    "codebuild:CreateReport",
    "codebuild:UpdateReport",
    "codebuild:BatchPutTestCases",
];

/// Gives the role these permissions.
async fn permit(cloud: &TestCloud, actions: &[&str]) {
    let document = json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}],
    });
    let input =
        json!({"RoleName": "build", "PolicyName": "p", "PolicyDocument": document.to_string()});
    cloud.call("iam", "PutRolePolicy", input).await.unwrap();
}

/// A cloud with a service role.
async fn cloud() -> TestCloud {
    let cloud = TestCloud::new();
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Principal": {"Service": PRINCIPAL}, "Action": "sts:AssumeRole",
        }],
    });
    let input = json!({"RoleName": "build", "AssumeRolePolicyDocument": trust.to_string()});
    cloud.call("iam", "CreateRole", input).await.unwrap();
    permit(&cloud, &ACTIONS).await;
    cloud
}

/// A project without a source.
fn project(name: &str, buildspec: &str) -> Value {
    json!({
        "name": name,
        "source": {"type": "NO_SOURCE", "buildspec": buildspec},
        "artifacts": {"type": "NO_ARTIFACTS"},
        "environment": {
            "type": "LINUX_CONTAINER",
            "image": "aws/codebuild/standard:7.0",
            "computeType": "BUILD_GENERAL1_SMALL",
        },
        "serviceRole": ROLE,
    })
}

async fn create(cloud: &TestCloud, project: Value) -> Value {
    cloud
        .call("codebuild", "CreateProject", project)
        .await
        .unwrap()["project"]
        .take()
}

async fn refused(cloud: &TestCloud, operation: &str, input: Value) -> Refused {
    cloud.call("codebuild", operation, input).await.unwrap_err()
}

/// Starts a build; returns its id.
async fn start(cloud: &TestCloud, input: Value) -> String {
    let started = cloud.call("codebuild", "StartBuild", input).await.unwrap();
    started["build"]["id"].as_str().unwrap().to_owned()
}

async fn get(cloud: &TestCloud, id: &str) -> Value {
    let input = json!({"ids": [id]});
    let mut found = cloud
        .call("codebuild", "BatchGetBuilds", input)
        .await
        .unwrap();
    found["builds"][0].take()
}

/// Waits until a build has ended.
async fn ended(cloud: &TestCloud, id: &str) -> Value {
    for _ in 0..2000 {
        let build = get(cloud, id).await;
        if build["buildComplete"] == true {
            return build;
        }
        crate::clock::sleep(Duration::from_millis(5)).await;
    }
    panic!("{id} does not end: {}", get(cloud, id).await);
}

/// Waits until a build is in a phase.
async fn in_phase(cloud: &TestCloud, id: &str, phase: &str) {
    for _ in 0..2000 {
        if get(cloud, id).await["currentPhase"] == phase {
            return;
        }
        crate::clock::sleep(Duration::from_millis(5)).await;
    }
    panic!("{id} is not in {phase}: {}", get(cloud, id).await);
}

/// Runs a build of a new project.
async fn run(cloud: &TestCloud, project: Value) -> Value {
    let name = create(cloud, project).await["name"].clone();
    let id = start(cloud, json!({"projectName": name})).await;
    ended(cloud, &id).await
}

/// The status of each phase: `INSTALL=SUCCEEDED`.
fn phases(build: &Value) -> String {
    let phases = build["phases"].as_array().unwrap().iter();
    let text = |phase: &Value| {
        let status = phase["phaseStatus"].as_str().unwrap_or("-");
        format!("{}={status}", phase["phaseType"].as_str().unwrap())
    };
    phases.map(text).collect::<Vec<_>>().join(" ")
}

/// The context of a phase: `CODE: MESSAGE`.
fn context(build: &Value, phase: &str) -> String {
    let mut phases = build["phases"].as_array().unwrap().iter();
    let found = phases.find(|found| found["phaseType"] == phase).unwrap();
    let context = &found["contexts"][0];
    let text = |member: &str| context[member].as_str().unwrap_or_default();
    format!("{}: {}", text("statusCode"), text("message"))
}

/// The lines of a build's log, without the times of CodeBuild's own lines.
fn log(cloud: &TestCloud, build: &Value) -> Vec<String> {
    let place = |member: &str| build["logs"][member].as_str().unwrap();
    let lines =
        crate::logs::lines(&cloud.cloud(), place("groupName"), place("streamName")).unwrap();
    let text = |line: String| match line.strip_prefix("[Container] ") {
        Some(rest) => format!("> {}", rest.splitn(3, ' ').nth(2).unwrap()),
        None => line,
    };
    lines.into_iter().map(|(_, line)| text(line)).collect()
}

/// The lines that commands printed with this prefix.
fn printed(cloud: &TestCloud, build: &Value, prefix: &str) -> Vec<String> {
    let lines = log(cloud, build).into_iter();
    lines
        .filter_map(|line| line.strip_prefix(prefix).map(str::to_owned))
        .collect()
}

const SUCCEEDED: &str = "SUBMITTED=SUCCEEDED QUEUED=SUCCEEDED PROVISIONING=SUCCEEDED DOWNLOAD_SOURCE=SUCCEEDED \
    INSTALL=SUCCEEDED PRE_BUILD=SUCCEEDED BUILD=SUCCEEDED POST_BUILD=SUCCEEDED UPLOAD_ARTIFACTS=SUCCEEDED \
    FINALIZING=SUCCEEDED COMPLETED=-";
