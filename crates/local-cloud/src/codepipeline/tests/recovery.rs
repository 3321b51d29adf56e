//! Executions after the end of a server.

use serde_json::json;

use super::{Fixture, approvals, build, pipeline, source};

#[tokio::test]
async fn a_running_action_has_failed_and_its_stage_can_be_retried() {
    let fixture = Fixture::new().await;
    let created = fixture.at.call(
        "codepipeline",
        "CreatePipeline",
        json!({"pipeline": approvals("QUEUED")}),
    );
    created.await.unwrap();
    // The source action is recorded, and has not run.
    let fixture = Fixture {
        at: fixture.at.crash(),
    };
    fixture.at.idle().await;
    let [(id, status)] = &fixture.executions().await[..] else {
        panic!()
    };
    assert_eq!(status, "Failed");
    let actions = fixture.actions(id).await;
    let error = &actions[0]["output"]["executionResult"]["errorDetails"];
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("InternalServerError"),
        "{error}"
    );
    let retry = json!({"pipelineName": "p", "stageName": "Source", "pipelineExecutionId": id,
        "retryMode": "FAILED_ACTIONS"});
    fixture.run("RetryStageExecution", retry).await;
    fixture.at.idle().await;
    fixture.answer("Test", "Approved").await.unwrap();
    fixture.answer("Prod", "Approved").await.unwrap();
    assert_eq!(fixture.status(id).await, "Succeeded");
}

#[tokio::test]
async fn approvals_keep_waiting_and_queues_continue() {
    let fixture = Fixture::new().await;
    fixture.create(&approvals("QUEUED")).await;
    fixture.start().await;
    let token = fixture.stage("Test").await["actionStates"][0]["latestExecution"]["token"].clone();
    let fixture = Fixture {
        at: fixture.at.crash(),
    };
    let again = fixture.stage("Test").await["actionStates"][0]["latestExecution"]["token"].clone();
    assert_eq!(again, token);
    for _ in 0..2 {
        fixture.answer("Test", "Approved").await.unwrap();
        fixture.answer("Prod", "Approved").await.unwrap();
    }
    let fixture = Fixture {
        at: fixture.at.restart().await,
    };
    let executions = fixture.executions().await;
    assert!(
        executions.iter().all(|(_, status)| status == "Succeeded"),
        "{executions:?}"
    );
}

#[tokio::test]
async fn an_action_whose_build_was_running_has_failed() {
    let fixture = Fixture::new().await;
    let spec = "{version: 0.2, phases: {build: {commands: ['sleep 20']}}}";
    fixture.project(spec).await;
    let stages = vec![("Source", vec![source()]), ("Build", vec![build()])];
    let created = json!({"pipeline": pipeline("QUEUED", stages)});
    let created = fixture.call("codepipeline", "CreatePipeline", created);
    created.await.unwrap();
    let mut external = None;
    for _ in 0..500 {
        let state = fixture.stage("Build").await;
        let latest = &state["actionStates"][0]["latestExecution"];
        external = latest["externalExecutionId"].as_str().map(str::to_owned);
        if external.is_some() {
            break;
        }
        crate::clock::sleep(std::time::Duration::from_millis(20)).await;
    }
    let external = external.unwrap();
    let fixture = Fixture {
        at: fixture.at.crash(),
    };
    let [(id, status)] = &fixture.executions().await[..] else {
        panic!()
    };
    assert_eq!(status, "Failed");
    let actions = fixture.actions(id).await;
    let result = &actions[1]["output"]["executionResult"];
    assert_eq!(result["externalExecutionId"], external.as_str());
    assert_eq!(result["errorDetails"]["code"], "SystemUnavailable");
}

/// Whatever write of a start fails: nothing is acknowledged that is lost, and nothing stays half done.
#[tokio::test]
async fn a_start_that_fails_leaves_no_execution() {
    let fixture = Fixture::new().await;
    fixture.create(&approvals("QUEUED")).await;
    fixture.at.refuse_writes_after(0);
    let error = fixture
        .call(
            "codepipeline",
            "StartPipelineExecution",
            json!({"name": "p"}),
        )
        .await;
    assert_eq!(error.unwrap_err().code, "ServiceUnavailable");
    fixture.at.accept_writes();
    assert_eq!(fixture.executions().await.len(), 1);
}

#[tokio::test]
async fn executions_are_kept_for_a_year() {
    let fixture = Fixture::new().await;
    fixture.create(&approvals("QUEUED")).await;
    fixture.answer("Test", "Rejected").await.unwrap();
    let token = json!({"name": "p", "clientRequestToken": "t"});
    let second = fixture.run("StartPipelineExecution", token.clone()).await;
    fixture.at.idle().await;
    let cloud = fixture.at.cloud();
    // The approval of the second one times out after a week.
    let year = std::time::Duration::from_hours((7 + 366) * 24);
    cloud.advance(year).await.unwrap();
    super::super::retention::remove_expired(&cloud).unwrap();
    assert!(fixture.executions().await.is_empty());
    let state = fixture.stage("Test").await;
    assert!(state["latestExecution"].is_null(), "{state}");
    let third = fixture.run("StartPipelineExecution", token).await;
    assert_ne!(third, second);
    fixture.at.idle().await;
    super::super::retention::remove_expired(&cloud).unwrap();
    assert_eq!(fixture.executions().await.len(), 1);
}
