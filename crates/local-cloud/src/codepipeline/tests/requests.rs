//! What requests are refused, and what pipelines record.

use serde_json::{Value, json};

use super::{Fixture, approvals};
use crate::codepipeline::PRINCIPAL;
use crate::iam;

#[tokio::test]
async fn tokens_of_approvals_are_used_once() {
    let fixture = Fixture::new().await;
    fixture.create(&approvals("QUEUED")).await;
    let state = fixture.stage("Test").await;
    let token = state["actionStates"][0]["latestExecution"]["token"].clone();
    let answer = |stage: &str, action: &str, token: &Value| {
        let input = json!({"pipelineName": "p", "stageName": stage, "actionName": action, "token": token,
            "result": {"status": "Approved", "summary": ""}});
        let cloud = fixture.at.cloud();
        async move { cloud.call("codepipeline", "PutApprovalResult", input).await }
    };
    let code = |result: crate::api::ApiResult<Value>| result.unwrap_err().code;
    let wrong = json!("00000000-0000-0000-0000-000000000000");
    assert_eq!(
        code(answer("Test", "Approve", &wrong).await),
        "InvalidApprovalTokenException"
    );
    assert_eq!(
        code(answer("Test", "Nobody", &token).await),
        "ActionNotFoundException"
    );
    assert_eq!(
        code(answer("None", "Approve", &token).await),
        "StageNotFoundException"
    );
    answer("Test", "Approve", &token).await.unwrap();
    assert_eq!(
        code(answer("Test", "Approve", &token).await),
        "ApprovalAlreadyCompletedException"
    );
}

#[tokio::test]
async fn each_action_has_the_permissions_of_its_role_only() {
    let fixture = Fixture::new().await;
    let cloud = fixture.at.cloud();
    iam::trusting(&cloud, "pipeline", PRINCIPAL, &["s3:*"]);
    fixture.create(&approvals("QUEUED")).await;
    let error =
        |actions: Vec<Value>| actions[0]["output"]["executionResult"]["errorDetails"].clone();
    let [(id, status)] = &fixture.executions().await[..] else {
        panic!()
    };
    assert_eq!(status, "Failed");
    let found = error(fixture.actions(id).await);
    assert_eq!(found["code"], "PermissionError");
    assert!(
        found["message"]
            .as_str()
            .unwrap()
            .contains("codecommit:GetBranch"),
        "{found}"
    );
    // The archive needs a permission of its own.
    let actions = ["s3:*", "codecommit:GetBranch", "codecommit:GetCommit"];
    iam::trusting(&cloud, "pipeline", PRINCIPAL, &actions);
    let id = fixture.start().await;
    let found = error(fixture.actions(&id).await);
    assert!(
        found["message"]
            .as_str()
            .unwrap()
            .contains("codecommit:UploadArchive"),
        "{found}"
    );
    // A role that does not trust the service.
    iam::trusting(&cloud, "pipeline", "lambda.amazonaws.com", &["*"]);
    let id = fixture.start().await;
    let found = error(fixture.actions(&id).await);
    assert!(
        found["message"]
            .as_str()
            .unwrap()
            .contains("Could not assume role"),
        "{found}"
    );
    let refused = fixture.call(
        "codepipeline",
        "UpdatePipeline",
        json!({"pipeline": approvals("QUEUED")}),
    );
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.code, "InvalidStructureException");
    assert!(
        refused
            .message
            .contains("is not authorized to perform AssumeRole"),
        "{refused}"
    );
}

#[tokio::test]
async fn pipelines_have_versions_tags_and_variables() {
    let fixture = Fixture::new().await;
    let mut first = approvals("SUPERSEDED");
    first["variables"] =
        json!([{"name": "size", "defaultValue": "1"}, {"name": "other", "defaultValue": "x"}]);
    first["stages"][1]["actions"][0]["configuration"]["CustomData"] =
        json!("#{variables.size}-#{variables.other}");
    fixture.create(&first).await;
    let error = fixture
        .call("codepipeline", "CreatePipeline", json!({"pipeline": first}))
        .await
        .unwrap_err();
    assert_eq!(error.code, "PipelineNameInUseException");
    let input = json!({"name": "p", "variables": [{"name": "size", "value": "2"}], "clientRequestToken": "t"});
    let started = fixture.run("StartPipelineExecution", input.clone()).await;
    fixture.at.idle().await;
    assert_eq!(fixture.run("StartPipelineExecution", input).await, started);
    let id = started["pipelineExecutionId"].as_str().unwrap();
    let execution = fixture.execution(id).await;
    let expected =
        json!([{"name": "other", "resolvedValue": "x"}, {"name": "size", "resolvedValue": "2"}]);
    assert_eq!(execution["variables"], expected);
    let input = json!({"name": "p", "variables": [{"name": "none", "value": "2"}]});
    let error = fixture
        .call("codepipeline", "StartPipelineExecution", input)
        .await
        .unwrap_err();
    assert_eq!(error.code, "ValidationException");

    fixture
        .run("UpdatePipeline", json!({"pipeline": approvals("QUEUED")}))
        .await;
    let found = fixture.run("GetPipeline", json!({"name": "p"})).await;
    assert_eq!(found["pipeline"]["version"], 2);
    assert_eq!(found["pipeline"]["executionMode"], "QUEUED");
    assert_eq!(
        found["metadata"]["pipelineArn"],
        "arn:aws:codepipeline:us-east-1:000000000000:p"
    );
    let found = fixture
        .run("GetPipeline", json!({"name": "p", "version": 1}))
        .await;
    assert_eq!(found["pipeline"]["executionMode"], "SUPERSEDED");
    let error = fixture
        .call(
            "codepipeline",
            "GetPipeline",
            json!({"name": "p", "version": 3}),
        )
        .await
        .unwrap_err();
    assert_eq!(error.code, "PipelineVersionNotFoundException");
    let arn = "arn:aws:codepipeline:us-east-1:000000000000:p";
    fixture
        .run(
            "TagResource",
            json!({"resourceArn": arn, "tags": [{"key": "a", "value": "b"}]}),
        )
        .await;
    let tags = fixture
        .run("ListTagsForResource", json!({"resourceArn": arn}))
        .await;
    assert_eq!(tags["tags"], json!([{"key": "a", "value": "b"}]));
    let listed = fixture.run("ListPipelines", json!({})).await;
    assert_eq!(listed["pipelines"][0]["pipelineType"], "V2");
    fixture.run("DeletePipeline", json!({"name": "p"})).await;
    fixture.run("DeletePipeline", json!({"name": "p"})).await;
    let error = fixture
        .call("codepipeline", "GetPipelineState", json!({"name": "p"}))
        .await
        .unwrap_err();
    assert_eq!(error.code, "PipelineNotFoundException");
}

#[tokio::test]
async fn a_commit_can_be_pinned() {
    let fixture = Fixture::new().await;
    fixture.create(&approvals("SUPERSEDED")).await;
    let pinned = fixture.commit("a", "1").await;
    fixture.commit("a", "2").await;
    let start = |action: &str, kind: &str| {
        json!({"name": "p", "sourceRevisions": [
            {"actionName": action, "revisionType": kind, "revisionValue": pinned}]})
    };
    let started = fixture
        .run("StartPipelineExecution", start("Code", "COMMIT_ID"))
        .await;
    fixture.at.idle().await;
    let execution = fixture
        .execution(started["pipelineExecutionId"].as_str().unwrap())
        .await;
    assert_eq!(
        execution["artifactRevisions"][0]["revisionId"],
        pinned.as_str()
    );
    for (action, kind) in [
        ("Code", "IMAGE_DIGEST"),
        ("Approve", "COMMIT_ID"),
        ("None", "COMMIT_ID"),
    ] {
        let error = fixture
            .call(
                "codepipeline",
                "StartPipelineExecution",
                start(action, kind),
            )
            .await;
        assert_eq!(
            error.unwrap_err().code,
            "ValidationException",
            "{action} {kind}"
        );
    }
}

#[tokio::test]
async fn members_that_do_nothing_here_are_refused() {
    let fixture = Fixture::new().await;
    let rule = json!({"conditions": [{"result": "FAIL", "rules": [{"name": "r", "ruleTypeId":
        {"category": "Rule", "owner": "AWS", "provider": "CloudWatchAlarm", "version": "1"}}]}]});
    for (pointer, value) in [
        ("/stages/1/beforeEntry", rule.clone()),
        ("/stages/1/onSuccess", rule),
        ("/stages/1/actions/0/commands", json!(["ls"])),
        (
            "/triggers",
            json!([{"providerType": "CodeStarSourceConnection", "gitConfiguration": {"sourceActionName": "Code"}}]),
        ),
    ] {
        let mut pipeline = approvals("QUEUED");
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        pipeline.pointer_mut(parent).unwrap()[name] = value;
        let error = fixture
            .call(
                "codepipeline",
                "CreatePipeline",
                json!({"pipeline": pipeline}),
            )
            .await
            .unwrap_err();
        assert_eq!(error.code, "NotImplemented", "{pointer}: {error}");
        assert!(error.message.contains(name), "{error}");
    }
    let absent = "PutWebhook";
    let error = fixture.call("codepipeline", absent, json!({}));
    let error = error.await.unwrap_err();
    assert!(error.message.contains("codepipeline:PutWebhook"), "{error}");
}
