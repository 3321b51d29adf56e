//! What bounds the history and the work of pipelines, and what one pipeline cannot do to the others.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Fixture, approval, approvals, deploy, pipeline, source};
use crate::codepipeline::PRINCIPAL;
use crate::codepipeline::engine;
use crate::codepipeline::outcome::{Ended, Output};
use crate::codepipeline::records::{execution, key, open};
use crate::codepipeline::retention;
use crate::{iam, sts};

#[tokio::test]
async fn histories_have_pages_and_a_maximum_length() {
    let fixture = Fixture::new().await;
    fixture.create(&approvals("QUEUED")).await;
    for _ in 0..3 {
        fixture.answer("Test", "Rejected").await.unwrap();
        fixture.start().await;
    }
    for (operation, member, expected) in [
        ("ListPipelineExecutions", "pipelineExecutionSummaries", 4),
        ("ListActionExecutions", "actionExecutionDetails", 8),
    ] {
        let list = |size: usize, token: Value| {
            let mut input = json!({"pipelineName": "p", "maxResults": size});
            if token.is_string() {
                input["nextToken"] = token;
            }
            fixture.run(operation, input)
        };
        let all = list(100, Value::Null).await;
        assert!(all["nextToken"].is_null());
        let all = all[member].as_array().unwrap().clone();
        assert_eq!(all.len(), expected, "{operation}");
        let mut found = Vec::new();
        let mut token = Value::Null;
        loop {
            let page = list(3, token).await;
            found.extend(page[member].as_array().unwrap().iter().cloned());
            token = page["nextToken"].clone();
            if token.is_null() {
                break;
            }
        }
        assert_eq!(found, all, "{operation}");
        let input = json!({"pipelineName": "p", "nextToken": "x"});
        let error = fixture.call("codepipeline", operation, input).await;
        assert_eq!(error.unwrap_err().code, "InvalidNextTokenException");
    }
    // Three have ended.
    let before = fixture.executions().await;
    retention::remove(&fixture.at.cloud(), 1).unwrap();
    assert_eq!(fixture.executions().await, before[2..]);
    let input = json!({"pipelineName": "p", "pipelineExecutionId": before[0].0});
    let gone = fixture.call("codepipeline", "GetPipelineExecution", input);
    assert_eq!(
        gone.await.unwrap_err().code,
        "PipelineExecutionNotFoundException"
    );
}

#[tokio::test]
async fn an_action_that_produces_too_many_variables_fails() {
    let fixture = Fixture::new().await;
    fixture.create(&approvals("QUEUED")).await;
    let cloud = fixture.at.cloud();
    let [(id, _)] = &fixture.executions().await[..] else {
        panic!()
    };
    let found = execution(&cloud, "p", id).unwrap();
    let (_, run) = found.open_runs().next().unwrap();
    let output = Output {
        variables: BTreeMap::from([("a".to_owned(), "x".repeat(122_880))]),
        ..Output::default()
    };
    let ended = Ended::Succeeded(Box::new(output));
    engine::change(&cloud, "p", |board| {
        board.finish(found.number, &run.id, &ended)
    })
    .unwrap();
    assert_eq!(fixture.status(id).await, "Failed");
    let actions = fixture.actions(id).await;
    let output = &actions[1]["output"];
    assert_eq!(output["outputVariables"], json!({}));
    let message = output["executionResult"]["errorDetails"]["message"].as_str();
    assert!(message.unwrap().contains("more than 122880 bytes"));
}

#[tokio::test]
async fn an_input_that_was_not_produced_fails_its_action_by_name() {
    let fixture = Fixture::new().await;
    let mut make = deploy("CREATE_UPDATE", json!({"OutputFileName": "o.json"}));
    make["configuration"]["TemplatePath"] = json!("SourceArtifact::absent.yaml");
    make["outputArtifacts"] = json!([{"name": "Outputs"}]);
    let mut uses = deploy("CREATE_UPDATE", json!({"TemplatePath": "Outputs::o.json"}));
    uses["inputArtifacts"] = json!([{"name": "SourceArtifact"}, {"name": "Outputs"}]);
    let stages = vec![
        ("Source", vec![source()]),
        ("Make", vec![make]),
        ("Use", vec![uses]),
    ];
    let mut structure = pipeline("QUEUED", stages);
    structure["stages"][1]["onFailure"] = json!({"result": "SKIP"});
    fixture.create(&structure).await;
    let [(id, status)] = &fixture.executions().await[..] else {
        panic!()
    };
    assert_eq!(status, "Failed");
    let actions = fixture.actions(id).await;
    let error = &actions.last().unwrap()["output"]["executionResult"]["errorDetails"];
    assert_eq!(
        error["message"],
        "The input artifact Outputs of the action Deploy does not exist"
    );
    let events = fixture.events("Action").await;
    assert_eq!(
        events[2..],
        [
            "Deploy FAILED",
            "Deploy FAILED",
            "Deploy STARTED",
            "Deploy STARTED"
        ]
    );
}

/// The records of one pipeline are damaged; the others recover, and their approvals time out.
#[tokio::test]
async fn a_broken_pipeline_does_not_stop_the_others() {
    let fixture = Fixture::new().await;
    fixture.create(&approvals("QUEUED")).await;
    let cloud = fixture.at.cloud();
    for (kind, key) in [("pipeline", "a-broken"), ("open", "a-broken/000000000001")] {
        let records = cloud.store().collection::<Value>("codepipeline", kind);
        records.put(key, &json!({"wrong": true})).unwrap();
    }
    let fixture = Fixture {
        at: fixture.at.crash(),
    };
    let cloud = fixture.at.cloud();
    let [(id, status)] = &fixture.executions().await[..] else {
        panic!()
    };
    assert_eq!(status, "InProgress");
    let week = Duration::from_hours(8 * 24);
    cloud.advance(week).await.unwrap();
    assert_eq!(fixture.status(id).await, "Failed");
    retention::remove_expired(&cloud).unwrap();
}

#[tokio::test]
async fn subscribers_are_notified_after_a_crash_before_it() {
    let fixture = Fixture::new().await;
    let topic = fixture
        .call("sns", "CreateTopic", json!({"Name": "t"}))
        .await;
    let arn = topic.unwrap()["TopicArn"].clone();
    let mut asks = approval();
    asks["configuration"]["NotificationArn"] = arn;
    let stages = vec![("Source", vec![source()]), ("Test", vec![asks])];
    fixture.create(&pipeline("QUEUED", stages)).await;
    let run = |fixture: &Fixture| {
        let found = open(&fixture.at.cloud())
            .get(&key("p", 1))
            .unwrap()
            .unwrap();
        let (_, run) = found.open_runs().next().unwrap();
        run.clone()
    };
    let before = run(&fixture);
    assert!(before.is_notified);
    let cloud = fixture.at.cloud();
    let forgotten = open(&cloud).update(&key("p", 1), |execution| {
        execution.run_mut(&before.id).unwrap().is_notified = false;
        Ok(())
    });
    forgotten.unwrap().unwrap();
    let fixture = Fixture {
        at: fixture.at.crash(),
    };
    fixture.at.idle().await;
    let after = run(&fixture);
    assert!(after.is_notified);
    assert_eq!(after.token, before.token);
}

#[tokio::test]
async fn only_eventbridge_can_trigger_as_eventbridge() {
    let fixture = Fixture::new().await;
    fixture.create(&approvals("SUPERSEDED")).await;
    let cloud = fixture.at.cloud();
    let role = iam::trusting(&cloud, "caller", PRINCIPAL, &["*"]);
    let session = sts::for_service(&cloud, &role, "EventBridge-x", PRINCIPAL).unwrap();
    let start = cloud.call(
        "codepipeline",
        "StartPipelineExecution",
        json!({"name": "p"}),
    );
    let started = session.caller().scope(start).await.unwrap();
    fixture.at.idle().await;
    let id = started["pipelineExecutionId"].as_str().unwrap();
    let trigger = fixture.execution(id).await["trigger"].clone();
    assert_eq!(trigger["triggerType"], "StartPipelineExecution");

    let role = iam::trusting(&cloud, "rule", "events.amazonaws.com", &["*"]);
    let pattern = json!({"source": ["my.app"]}).to_string();
    let rule = json!({"Name": "r", "EventPattern": pattern});
    let rule = fixture.call("events", "PutRule", rule).await.unwrap();
    let target = json!({"Id": "1", "Arn": cloud.arn("codepipeline", "p"), "RoleArn": role});
    let targets = json!({"Rule": "r", "Targets": [target]});
    fixture.call("events", "PutTargets", targets).await.unwrap();
    let entry = json!({"Source": "my.app", "DetailType": "t", "Detail": "{}"});
    fixture
        .call("events", "PutEvents", json!({"Entries": [entry]}))
        .await
        .unwrap();
    for _ in 0..200 {
        if fixture.executions().await.len() == 3 {
            break;
        }
        crate::clock::sleep(Duration::from_millis(20)).await;
    }
    let executions = fixture.executions().await;
    let trigger = fixture.execution(&executions[2].0).await["trigger"].clone();
    let expected = json!({"triggerType": "CloudWatchEvent", "triggerDetail": rule["RuleArn"]});
    assert_eq!(trigger, expected);
}
