//! Jobs of functions. The functions are those of a small service of this file, which records its invocations.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Fixture, action, approval, pipeline, source};
use crate::api::ApiResult;
use crate::cloud::service::Service;
use crate::codepipeline::PRINCIPAL;
use crate::codepipeline::actions::lambda;
use crate::test_cloud::{Refused, TestCloud};
use crate::{Cloud, admission, iam, sts};

mod functions {
    use super::*;
    use crate::cloud::service::operations;

    operations! {
        "Invoke" => invoke,
    }

    pub(super) const SERVICE: Service =
        Service::json("lambda", "Lambda", "AWSLambda", &[OPERATIONS]);

    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Invoke {
        payload: String,
    }

    /// The callers and the events of invocations.
    #[derive(Debug, Default)]
    struct Invoked(Mutex<Vec<(String, Value)>>);

    async fn invoke(cloud: &Cloud, input: Invoke) -> ApiResult<Value> {
        let event = serde_json::from_slice(&STANDARD.decode(input.payload).unwrap()).unwrap();
        let caller = sts::arn_of(&crate::cloud::caller::Caller::current());
        let invoked = &cloud.state::<Invoked>().0;
        invoked.lock().unwrap().push((caller, event));
        Ok(json!({"RequestId": "request"}))
    }

    pub(super) fn invoked(cloud: &Cloud) -> Vec<(String, Value)> {
        cloud.state::<Invoked>().0.lock().unwrap().clone()
    }
}

static SERVICES: &[&Service] = &[
    &crate::codecommit::SERVICE,
    &crate::events::SERVICE,
    &crate::iam::SERVICE,
    &crate::kms::SERVICE,
    &crate::logs::SERVICE,
    &crate::s3::SERVICE,
    &crate::sts::SERVICE,
    &functions::SERVICE,
    &crate::codepipeline::SERVICE,
];

fn invocation() -> Value {
    let mut action = action("Invoke", "Lambda", "Approve", json!({"FunctionName": "f"}));
    action["inputArtifacts"] = json!([{"name": "SourceArtifact"}]);
    action["outputArtifacts"] = json!([{"name": "Made"}]);
    action
}

/// A pipeline whose second stage has this action, and whose third one has an approval.
async fn started(invocation: Value) -> Fixture {
    let fixture = Fixture::with(TestCloud::with_services(SERVICES)).await;
    let stages = vec![
        ("Source", vec![source()]),
        ("Test", vec![invocation]),
        ("Prod", vec![approval()]),
    ];
    fixture.create(&pipeline("QUEUED", stages)).await;
    fixture
}

async fn run_of(fixture: &Fixture, stage: &str) -> String {
    let state = fixture.stage(stage).await;
    let id = &state["actionStates"][0]["latestExecution"]["actionExecutionId"];
    id.as_str().unwrap().to_owned()
}

async fn succeed(fixture: &Fixture, job: &str, token: Option<&str>) -> Result<Value, Refused> {
    let mut input = json!({"jobId": job});
    if let Some(token) = token {
        input["continuationToken"] = json!(token);
    }
    let result = fixture.call("codepipeline", "PutJobSuccessResult", input);
    let result = result.await;
    fixture.at.idle().await;
    result
}

async fn fail(fixture: &Fixture, job: &str) -> Result<Value, Refused> {
    let details = json!({"type": "JobFailed", "message": "no"});
    let input = json!({"jobId": job, "failureDetails": details});
    fixture
        .call("codepipeline", "PutJobFailureResult", input)
        .await
}

#[tokio::test]
async fn only_the_jobs_of_functions_are_reported_and_only_once() {
    let fixture = started(invocation()).await;
    let job = run_of(&fixture, "Test").await;
    succeed(&fixture, &job, None).await.unwrap();
    let made = &fixture.stage("Test").await["latestExecution"]["status"];
    assert_eq!(*made, "Succeeded");
    for result in [
        succeed(&fixture, &job, None).await,
        fail(&fixture, &job).await,
    ] {
        assert_eq!(result.unwrap_err().code, "InvalidJobStateException");
    }
    // An approval has no job.
    let approval = run_of(&fixture, "Prod").await;
    for result in [
        succeed(&fixture, &approval, None).await,
        succeed(&fixture, &approval, Some("t")).await,
        fail(&fixture, &approval).await,
    ] {
        assert_eq!(result.unwrap_err().code, "JobNotFoundException");
    }
    let state = fixture.stage("Prod").await;
    assert_eq!(state["latestExecution"]["status"], "InProgress");
}

#[tokio::test]
async fn one_continuation_of_a_job_is_pending() {
    let fixture = started(invocation()).await;
    let cloud = fixture.at.cloud();
    let job = run_of(&fixture, "Test").await;
    let input = json!({"jobId": job, "continuationToken": "first"});
    fixture.run("PutJobSuccessResult", input.clone()).await;
    let again = fixture.call("codepipeline", "PutJobSuccessResult", input);
    assert_eq!(again.await.unwrap_err().code, "InvalidJobStateException");
    assert_eq!(functions::invoked(&cloud).len(), 1);
    cloud.advance(Duration::from_secs(31)).await.unwrap();
    let invoked = functions::invoked(&cloud);
    assert_eq!(invoked.len(), 2);
    let data = &invoked[1].1["CodePipeline.job"]["data"];
    assert_eq!(data["continuationToken"], "first");
    // The next one is possible, and an action that has ended is not continued.
    let input = json!({"jobId": job, "continuationToken": "second"});
    fixture.run("PutJobSuccessResult", input).await;
    fail(&fixture, &job).await.unwrap();
    cloud.advance(Duration::from_secs(31)).await.unwrap();
    assert_eq!(functions::invoked(&cloud).len(), 2);
}

#[tokio::test]
async fn a_reply_restarts_the_time_of_a_job() {
    let fixture = started(invocation()).await;
    let cloud = fixture.at.cloud();
    let job = run_of(&fixture, "Test").await;
    let id = fixture.executions().await[0].0.clone();
    cloud.advance(Duration::from_mins(19)).await.unwrap();
    let input = json!({"jobId": job, "continuationToken": "t"});
    fixture.run("PutJobSuccessResult", input).await;
    cloud.advance(Duration::from_mins(19)).await.unwrap();
    assert_eq!(fixture.status(&id).await, "InProgress");
    cloud.advance(Duration::from_mins(2)).await.unwrap();
    assert_eq!(fixture.status(&id).await, "Failed");
}

#[tokio::test]
async fn a_job_ends_with_its_action() {
    let fixture = started(invocation()).await;
    let cloud = fixture.at.cloud();
    let job = run_of(&fixture, "Test").await;
    let keys = |cloud: &Cloud| {
        let invoked = functions::invoked(cloud);
        let data = &invoked.last().unwrap().1["CodePipeline.job"]["data"];
        let key = &data["artifactCredentials"]["accessKeyId"];
        key.as_str().unwrap().to_owned()
    };
    let key = keys(&cloud);
    admission::caller_of(&cloud, &key).unwrap();
    let id = fixture.executions().await[0].0.clone();
    let stop = json!({"pipelineName": "p", "pipelineExecutionId": id, "abandon": true});
    fixture.run("StopPipelineExecution", stop).await;
    // The executor is at rest when the time can be advanced.
    cloud.advance(Duration::from_secs(1)).await.unwrap();
    assert!(lambda::begin_continuation(&cloud, &job).is_none());
    assert!(admission::caller_of(&cloud, &key).is_err());
    assert_eq!(
        succeed(&fixture, &job, None).await.unwrap_err().code,
        "InvalidJobStateException"
    );
    // A deletion, and a timeout by the way.
    fixture.start().await;
    let key = keys(&cloud);
    admission::caller_of(&cloud, &key).unwrap();
    fixture.run("DeletePipeline", json!({"name": "p"})).await;
    cloud.advance(Duration::from_secs(1)).await.unwrap();
    assert!(admission::caller_of(&cloud, &key).is_err());
}

#[tokio::test]
async fn an_action_with_a_role_works_with_it_from_start_to_end() {
    let fixture = Fixture::with(TestCloud::with_services(SERVICES)).await;
    let cloud = fixture.at.cloud();
    let pipelines = "arn:aws:iam::000000000000:role/pipeline";
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": pipelines}}]});
    let role = json!({"RoleName": "own", "AssumeRolePolicyDocument": trust.to_string()});
    fixture.call("iam", "CreateRole", role).await.unwrap();
    let document = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    let policy =
        json!({"RoleName": "own", "PolicyName": "p", "PolicyDocument": document.to_string()});
    fixture.call("iam", "PutRolePolicy", policy).await.unwrap();
    let mut own = invocation();
    own["roleArn"] = json!("arn:aws:iam::000000000000:role/own");
    let stages = vec![("Source", vec![source()]), ("Test", vec![own])];
    fixture.create(&pipeline("QUEUED", stages)).await;
    let job = run_of(&fixture, "Test").await;
    let input = json!({"jobId": job, "continuationToken": "t"});
    fixture.run("PutJobSuccessResult", input).await;
    cloud.advance(Duration::from_secs(31)).await.unwrap();
    let invoked = functions::invoked(&cloud);
    let callers: Vec<&String> = invoked.iter().map(|(caller, _)| caller).collect();
    assert_eq!(callers.len(), 2);
    for caller in callers {
        assert!(caller.contains(":assumed-role/own/"), "{caller}");
    }
    let data = &invoked[0].1["CodePipeline.job"]["data"];
    let key = data["artifactCredentials"]["accessKeyId"].as_str().unwrap();
    let caller = admission::caller_of(&cloud, key).unwrap();
    assert!(sts::arn_of(&caller).contains(":assumed-role/own/"));
    let policies = caller.session().unwrap().policies.join(" ");
    assert!(
        policies.contains("s3:PutObject") && !policies.contains("kms:"),
        "{policies}"
    );
    // It ends with the job.
    succeed(&fixture, &job, None).await.unwrap();
    assert!(admission::caller_of(&cloud, key).is_err());
}

#[tokio::test]
async fn the_key_of_the_artifact_store_is_the_only_one() {
    let fixture = Fixture::with(TestCloud::with_services(SERVICES)).await;
    let cloud = fixture.at.cloud();
    iam::trusting(&cloud, "pipeline", PRINCIPAL, &["*"]);
    let key = fixture.call("kms", "CreateKey", json!({})).await.unwrap();
    let stages = vec![("Source", vec![source()]), ("Test", vec![invocation()])];
    let mut structure = pipeline("QUEUED", stages);
    structure["artifactStore"]["encryptionKey"] =
        json!({"id": key["KeyMetadata"]["KeyId"], "type": "KMS"});
    fixture.create(&structure).await;
    let invoked = functions::invoked(&cloud);
    let data = &invoked[0].1["CodePipeline.job"]["data"];
    let access_key = data["artifactCredentials"]["accessKeyId"].as_str().unwrap();
    let caller = admission::caller_of(&cloud, access_key).unwrap();
    let policy: Value = serde_json::from_str(&caller.session().unwrap().policies[0]).unwrap();
    assert_eq!(
        policy["Statement"][0]["Resource"],
        json!([key["KeyMetadata"]["Arn"]])
    );
    let resources: BTreeSet<String> = policy["Statement"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["Resource"].to_string())
        .collect();
    assert!(!resources.contains("\"*\""), "{policy}");
}

/// The action that ran fails, as one of CodeBuild or CloudFormation does; its job is gone.
#[tokio::test]
async fn a_job_does_not_survive_its_server() {
    let fixture = started(invocation()).await;
    let job = run_of(&fixture, "Test").await;
    let fixture = Fixture {
        at: fixture.at.crash(),
    };
    fixture.at.idle().await;
    let [(id, status)] = &fixture.executions().await[..] else {
        panic!()
    };
    assert_eq!(status, "Failed");
    assert_eq!(
        fail(&fixture, &job).await.unwrap_err().code,
        "InvalidJobStateException"
    );
    let retry = json!({"pipelineName": "p", "stageName": "Test", "pipelineExecutionId": id,
        "retryMode": "FAILED_ACTIONS"});
    fixture.run("RetryStageExecution", retry).await;
    fixture.at.idle().await;
    let job = run_of(&fixture, "Test").await;
    succeed(&fixture, &job, None).await.unwrap();
    let state = fixture.stage("Prod").await;
    assert_eq!(state["latestExecution"]["status"], "InProgress");
}
