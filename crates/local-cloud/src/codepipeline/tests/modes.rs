//! Executions that meet: SUPERSEDED, QUEUED, PARALLEL, transitions, stops and rollbacks.

use serde_json::{Value, json};

use super::{Fixture, approval, approvals, pipeline, sorted, source};

fn statuses(executions: &[(String, String)]) -> Vec<&str> {
    executions
        .iter()
        .map(|(_, status)| status.as_str())
        .collect()
}

#[tokio::test]
async fn newer_executions_supersede_those_that_wait() {
    let fixture = Fixture::new().await;
    fixture.create(&approvals("SUPERSEDED")).await;
    // The first is in Test.
    fixture.start().await;
    let third = fixture.start().await;
    let executions = fixture.executions().await;
    assert_eq!(
        statuses(&executions),
        ["InProgress", "Superseded", "InProgress"]
    );
    let stage = fixture.stage("Test").await;
    assert_eq!(
        stage["inboundExecution"]["pipelineExecutionId"],
        third.as_str()
    );
    fixture.answer("Test", "Rejected").await.unwrap();
    // The failure unlocks the stage.
    let stage = fixture.stage("Test").await;
    assert_eq!(
        stage["latestExecution"]["pipelineExecutionId"],
        third.as_str()
    );
    assert!(stage["inboundExecution"].is_null());
    let retry = json!({"pipelineName": "p", "stageName": "Test", "pipelineExecutionId": executions[0].0,
        "retryMode": "FAILED_ACTIONS"});
    let error = fixture
        .call("codepipeline", "RetryStageExecution", retry)
        .await
        .unwrap_err();
    assert_eq!(error.code, "NotLatestPipelineExecutionException");
}

#[tokio::test]
async fn queued_executions_follow_each_other() {
    let fixture = Fixture::new().await;
    fixture.create(&approvals("QUEUED")).await;
    let second = fixture.start().await;
    let third = fixture.start().await;
    let inbound = fixture.stage("Test").await["inboundExecutions"].clone();
    let ids: Vec<&Value> = inbound
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["pipelineExecutionId"])
        .collect();
    assert_eq!(ids, [&json!(second), &json!(third)]);
    for _ in 0..3 {
        fixture.answer("Test", "Approved").await.unwrap();
        fixture.answer("Prod", "Approved").await.unwrap();
    }
    let executions = fixture.executions().await;
    assert_eq!(statuses(&executions), ["Succeeded"; 3]);
}

#[tokio::test]
async fn queues_have_a_limit() {
    let fixture = Fixture::new().await;
    fixture.create(&approvals("PARALLEL")).await;
    for _ in 1..super::super::engine::MAX_OPEN {
        fixture
            .run("StartPipelineExecution", json!({"name": "p"}))
            .await;
    }
    let refused = fixture.call(
        "codepipeline",
        "StartPipelineExecution",
        json!({"name": "p"}),
    );
    let code = refused.await.unwrap_err().code;
    assert_eq!(code, "ConcurrentPipelineExecutionsLimitExceededException");
    fixture.at.idle().await;
    // None waits for another.
    let executions = fixture.executions().await;
    for (id, _) in &executions {
        assert_eq!(fixture.actions(id).await.len(), 2);
    }
}

#[tokio::test]
async fn a_disabled_transition_holds_executions() {
    let fixture = Fixture::new().await;
    fixture.create(&approvals("QUEUED")).await;
    let transition = json!({"pipelineName": "p", "stageName": "Prod", "transitionType": "Inbound"});
    let mut disable = transition.clone();
    disable["reason"] = json!("not now");
    fixture.run("DisableStageTransition", disable).await;
    fixture.answer("Test", "Approved").await.unwrap();
    let prod = fixture.stage("Prod").await;
    assert_eq!(prod["inboundTransitionState"]["disabledReason"], "not now");
    assert!(prod["inboundExecution"].is_object() && prod["latestExecution"].is_null());
    fixture.run("EnableStageTransition", transition).await;
    fixture.at.idle().await;
    let prod = fixture.stage("Prod").await;
    assert_eq!(prod["inboundTransitionState"]["enabled"], true);
    assert_eq!(prod["latestExecution"]["status"], "InProgress");
    // Permissions are those for the named stage, and not for the next one.
    let outbound = json!({"pipelineName": "p", "stageName": "Test", "transitionType": "Outbound"});
    let error = fixture.call("codepipeline", "EnableStageTransition", outbound);
    assert_eq!(error.await.unwrap_err().code, "NotImplemented");
    let wrong = json!({"pipelineName": "p", "stageName": "None", "transitionType": "Inbound"});
    let error = fixture
        .call("codepipeline", "EnableStageTransition", wrong)
        .await
        .unwrap_err();
    assert_eq!(error.code, "StageNotFoundException");
}

#[tokio::test]
async fn executions_stop_with_or_without_their_actions() {
    let fixture = Fixture::new().await;
    fixture.create(&approvals("QUEUED")).await;
    let [(id, _)] = &fixture.executions().await[..] else {
        panic!()
    };
    let stop = |abandon: bool| json!({"pipelineName": "p", "pipelineExecutionId": id, "abandon": abandon, "reason": "enough"});
    fixture.run("StopPipelineExecution", stop(false)).await;
    assert_eq!(fixture.status(id).await, "Stopping");
    let error = fixture
        .call("codepipeline", "StopPipelineExecution", stop(false))
        .await
        .unwrap_err();
    assert_eq!(error.code, "DuplicatedStopRequestException");
    fixture.answer("Test", "Approved").await.unwrap();
    assert_eq!(fixture.status(id).await, "Stopped");
    let error = fixture
        .call("codepipeline", "StopPipelineExecution", stop(true))
        .await
        .unwrap_err();
    assert_eq!(error.code, "PipelineExecutionNotStoppableException");

    let second = fixture.start().await;
    let mut abandon = stop(true);
    abandon["pipelineExecutionId"] = json!(second);
    fixture.run("StopPipelineExecution", abandon).await;
    assert_eq!(fixture.status(&second).await, "Stopped");
    let stage = fixture.stage("Test").await;
    assert_eq!(stage["latestExecution"]["status"], "Stopped");
    assert_eq!(
        stage["actionStates"][0]["latestExecution"]["status"],
        "Abandoned"
    );
    // A stopped stage can be retried.
    let retry = json!({"pipelineName": "p", "stageName": "Test", "pipelineExecutionId": second,
        "retryMode": "FAILED_ACTIONS"});
    fixture.run("RetryStageExecution", retry).await;
    fixture.at.idle().await;
    fixture.answer("Test", "Approved").await.unwrap();
    fixture.answer("Prod", "Approved").await.unwrap();
    assert_eq!(fixture.status(&second).await, "Succeeded");
    let events = fixture.events("Pipeline").await;
    let expected = [
        " STARTED",
        " STOPPING",
        " STOPPED",
        " STARTED",
        " STOPPING",
        " STOPPED",
        " RESUMED",
        " SUCCEEDED",
    ];
    assert_eq!(events, sorted(expected));
}

#[tokio::test]
async fn a_stage_is_rolled_back_by_hand_and_by_itself() {
    let fixture = Fixture::new().await;
    let mut structure = pipeline(
        "SUPERSEDED",
        vec![("Source", vec![source()]), ("Prod", vec![approval()])],
    );
    structure["stages"][1]["onFailure"] = json!({"result": "ROLLBACK"});
    fixture.create(&structure).await;
    fixture.answer("Prod", "Approved").await.unwrap();
    let good = fixture.executions().await[0].0.clone();
    let commit = fixture.execution(&good).await["artifactRevisions"][0]["revisionId"].clone();
    fixture.commit("a", "1").await;
    let bad = fixture.start().await;
    fixture.answer("Prod", "Rejected").await.unwrap();
    let executions = fixture.executions().await;
    assert_eq!(statuses(&executions), ["Succeeded", "Failed", "InProgress"]);
    let rollback = fixture.execution(&executions[2].0).await;
    assert_eq!(rollback["executionType"], "ROLLBACK");
    assert_eq!(
        rollback["rollbackMetadata"]["rollbackTargetPipelineExecutionId"],
        good.as_str()
    );
    assert_eq!(
        rollback["trigger"],
        json!({"triggerType": "AutomatedRollback", "triggerDetail": bad})
    );
    assert_eq!(rollback["artifactRevisions"][0]["revisionId"], commit);
    let runs = fixture.actions(&executions[2].0).await;
    let configuration = &runs[0]["input"]["resolvedConfiguration"]["CustomData"];
    assert_eq!(
        *configuration,
        format!("commit {}", commit.as_str().unwrap())
    );
    fixture.answer("Prod", "Approved").await.unwrap();
    assert_eq!(fixture.status(&executions[2].0).await, "Succeeded");

    let roll_back = |stage: &str, target: &str| json!({"pipelineName": "p", "stageName": stage, "targetPipelineExecutionId": target});
    for (stage, target, code) in [
        ("Source", good.as_str(), "UnableToRollbackStageException"),
        ("Prod", bad.as_str(), "UnableToRollbackStageException"),
        (
            "Prod",
            executions[2].0.as_str(),
            "UnableToRollbackStageException",
        ),
        ("None", good.as_str(), "StageNotFoundException"),
        (
            "Prod",
            "00000000-0000-0000-0000-000000000000",
            "PipelineExecutionNotFoundException",
        ),
    ] {
        let error = fixture
            .call("codepipeline", "RollbackStage", roll_back(stage, target))
            .await;
        assert_eq!(error.unwrap_err().code, code, "{stage} {target}");
    }
    let started = fixture.run("RollbackStage", roll_back("Prod", &good)).await;
    fixture.at.idle().await;
    let id = started["pipelineExecutionId"].as_str().unwrap();
    assert_eq!(
        fixture.execution(id).await["trigger"]["triggerType"],
        "ManualRollback"
    );
    fixture.answer("Prod", "Approved").await.unwrap();
    assert_eq!(fixture.status(id).await, "Succeeded");
}

#[tokio::test]
async fn a_failed_stage_is_retried_once_or_skipped() {
    let fixture = Fixture::new().await;
    let mut structure = approvals("QUEUED");
    structure["stages"][1]["onFailure"] =
        json!({"result": "RETRY", "retryConfiguration": {"retryMode": "ALL_ACTIONS"}});
    structure["stages"][2]["onFailure"] = json!({"result": "SKIP"});
    fixture.create(&structure).await;
    let [(id, _)] = &fixture.executions().await[..] else {
        panic!()
    };
    fixture.answer("Test", "Rejected").await.unwrap();
    let stage = fixture.stage("Test").await;
    assert_eq!(stage["latestExecution"]["status"], "InProgress");
    assert_eq!(
        stage["retryStageMetadata"]["latestRetryTrigger"],
        "AutomatedStageRetry"
    );
    fixture.answer("Test", "Approved").await.unwrap();
    fixture.answer("Prod", "Rejected").await.unwrap();
    assert_eq!(
        fixture.stage("Prod").await["latestExecution"]["status"],
        "Skipped"
    );
    assert_eq!(fixture.status(id).await, "Succeeded");
    let second = fixture.start().await;
    fixture.answer("Test", "Rejected").await.unwrap();
    fixture.answer("Test", "Rejected").await.unwrap();
    assert_eq!(fixture.status(&second).await, "Failed");
}

#[tokio::test]
async fn a_disabled_transition_holds_executions_after_an_update() {
    let fixture = Fixture::new().await;
    fixture.create(&approvals("QUEUED")).await;
    let transition = json!({"pipelineName": "p", "stageName": "Prod", "transitionType": "Inbound"});
    let mut disable = transition.clone();
    disable["reason"] = json!("not now");
    fixture.run("DisableStageTransition", disable).await;
    fixture.answer("Test", "Approved").await.unwrap();
    let [(id, _)] = &fixture.executions().await[..] else {
        panic!()
    };
    let mut renamed = approvals("QUEUED");
    renamed["stages"][2]["name"] = json!("Live");
    fixture
        .run("UpdatePipeline", json!({"pipeline": renamed}))
        .await;
    fixture.at.idle().await;
    assert_eq!(fixture.actions(id).await.len(), 2);
    // It can be opened for the execution, and is forgotten after it.
    fixture
        .run("EnableStageTransition", transition.clone())
        .await;
    fixture.at.idle().await;
    assert_eq!(fixture.actions(id).await.len(), 3);
    let stop =
        json!({"pipelineName": "p", "pipelineExecutionId": id, "abandon": true, "reason": "x"});
    fixture.run("StopPipelineExecution", stop).await;
    fixture
        .run("UpdatePipeline", json!({"pipeline": renamed}))
        .await;
    let gone = fixture.call("codepipeline", "EnableStageTransition", transition);
    assert_eq!(gone.await.unwrap_err().code, "StageNotFoundException");
}

#[tokio::test]
async fn rollbacks_that_wait_have_a_limit() {
    let fixture = Fixture::new().await;
    let stages = vec![("Source", vec![source()]), ("Prod", vec![approval()])];
    fixture.create(&pipeline("SUPERSEDED", stages)).await;
    fixture.answer("Prod", "Approved").await.unwrap();
    let good = fixture.executions().await[0].0.clone();
    let transition = json!({"pipelineName": "p", "stageName": "Prod", "transitionType": "Inbound", "reason": "x"});
    fixture.run("DisableStageTransition", transition).await;
    let input =
        json!({"pipelineName": "p", "stageName": "Prod", "targetPipelineExecutionId": good});
    for _ in 0..50 {
        fixture.run("RollbackStage", input.clone()).await;
    }
    let error = fixture.call("codepipeline", "RollbackStage", input).await;
    assert_eq!(error.unwrap_err().code, "UnableToRollbackStageException");
    // Executions still start, and supersede each other.
    for _ in 0..3 {
        fixture.start().await;
    }
    let waiting = fixture.stage("Prod").await["inboundExecutions"].clone();
    assert_eq!(waiting.as_array().unwrap().len(), 51);
}
