//! Pipelines that run: sources, approvals and stacks, with the clock, crashes and permissions.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::iam;
use crate::s3::buckets;
use crate::test_cloud::{Refused, TestCloud};

mod clones;
mod jobs;
mod limits;
mod modes;
mod recovery;
mod requests;

/// The log group that receives the events of pipelines.
const LOG: &str = "/aws/events/pipelines";

/// Texts in order, as [`Fixture::events`] returns them.
fn sorted<const N: usize>(mut texts: [&str; N]) -> [&str; N] {
    texts.sort_unstable();
    texts
}

/// A template with one parameter, one resource and one output.
const TEMPLATE: &str = "
Parameters:
  Value: {Type: String}
Resources:
  Parameter:
    Type: AWS::SSM::Parameter
    Properties: {Name: released, Type: String, Value: !Ref Value}
Outputs:
  Released: {Value: !Ref Value}
";

/// A cloud with a repository, an artifact bucket, and the roles of a pipeline and of stacks.
struct Fixture {
    at: TestCloud,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(TestCloud::new()).await
    }

    async fn with(at: TestCloud) -> Self {
        let fixture = Self { at };
        let cloud = fixture.at.cloud();
        buckets::create(&cloud, "artifacts").unwrap();
        iam::trusting(&cloud, "pipeline", super::PRINCIPAL, &["*"]);
        iam::trusting(&cloud, "stacks", "cloudformation.amazonaws.com", &["ssm:*"]);
        fixture.watch().await;
        let repository = json!({"repositoryName": "code"});
        fixture
            .call("codecommit", "CreateRepository", repository)
            .await
            .unwrap();
        fixture.commit("template.yaml", TEMPLATE).await;
        fixture
            .commit(
                "release.json",
                r#"{"Parameters": {"Value": "from-file"}, "Tags": {"team": "ml"}}"#,
            )
            .await;
        fixture
    }

    /// Sends the events of pipelines to a log group.
    async fn watch(&self) {
        let group = json!({"logGroupName": LOG});
        self.call("logs", "CreateLogGroup", group).await.unwrap();
        let rule = json!({"Name": "watch", "EventPattern": r#"{"source": ["aws.codepipeline"]}"#});
        self.call("events", "PutRule", rule).await.unwrap();
        let arn = self.at.cloud().arn("logs", format_args!("log-group:{LOG}"));
        let targets = json!({"Rule": "watch", "Targets": [{"Id": "log", "Arn": arn}]});
        let put = self.call("events", "PutTargets", targets).await.unwrap();
        assert_eq!(put["FailedEntryCount"], 0, "{put}");
    }

    /// A project of CodeBuild that runs this buildspec.
    async fn project(&self, buildspec: &str) {
        let service = "codebuild.amazonaws.com";
        iam::trusting(&self.at.cloud(), "build", service, &["*"]);
        let project = json!({
            "name": "app",
            "serviceRole": "arn:aws:iam::000000000000:role/build",
            "source": {"type": "CODEPIPELINE", "buildspec": buildspec},
            "artifacts": {"type": "CODEPIPELINE"},
            "environment": {
                "type": "LINUX_CONTAINER",
                "image": "aws/codebuild/standard:7.0",
                "computeType": "BUILD_GENERAL1_SMALL",
            },
        });
        let created = self.call("codebuild", "CreateProject", project).await;
        created.unwrap();
    }

    async fn call(&self, service: &str, operation: &str, input: Value) -> Result<Value, Refused> {
        self.at.call(service, operation, input).await
    }

    async fn run(&self, operation: &str, input: Value) -> Value {
        let found = self.call("codepipeline", operation, input).await;
        found.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    /// Commits a file to `main` and returns the commit.
    async fn commit(&self, path: &str, content: &str) -> String {
        let branch = json!({"repositoryName": "code", "branchName": "main"});
        let head = self.call("codecommit", "GetBranch", branch).await;
        let mut input = json!({
            "repositoryName": "code", "branchName": "main", "filePath": path,
            "fileContent": STANDARD.encode(content), "commitMessage": format!("Change {path}"),
        });
        if let Ok(head) = head {
            input["parentCommitId"] = head["branch"]["commitId"].clone();
        }
        let put = self.call("codecommit", "PutFile", input).await.unwrap();
        put["commitId"].as_str().unwrap().to_owned()
    }

    async fn create(&self, pipeline: &Value) {
        self.run("CreatePipeline", json!({"pipeline": pipeline}))
            .await;
        self.at.idle().await;
    }

    async fn start(&self) -> String {
        let started = self
            .run("StartPipelineExecution", json!({"name": "p"}))
            .await;
        self.at.idle().await;
        started["pipelineExecutionId"].as_str().unwrap().to_owned()
    }

    async fn execution(&self, id: &str) -> Value {
        let input = json!({"pipelineName": "p", "pipelineExecutionId": id});
        self.run("GetPipelineExecution", input).await["pipelineExecution"].clone()
    }

    async fn status(&self, id: &str) -> String {
        self.execution(id).await["status"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn stage(&self, name: &str) -> Value {
        let state = self.run("GetPipelineState", json!({"name": "p"})).await;
        let stages = state["stageStates"].as_array().unwrap();
        let found = stages.iter().find(|stage| stage["stageName"] == name);
        found.unwrap().clone()
    }

    /// The ids and statuses of the executions, the oldest first.
    async fn executions(&self) -> Vec<(String, String)> {
        let found = self
            .run("ListPipelineExecutions", json!({"pipelineName": "p"}))
            .await;
        let found = found["pipelineExecutionSummaries"]
            .as_array()
            .unwrap()
            .iter()
            .rev();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        found
            .map(|it| (text(&it["pipelineExecutionId"]), text(&it["status"])))
            .collect()
    }

    /// The runs of actions, the oldest first.
    async fn actions(&self, id: &str) -> Vec<Value> {
        let input = json!({"pipelineName": "p", "filter": {"pipelineExecutionId": id}});
        let found = self.run("ListActionExecutions", input).await;
        let found = found["actionExecutionDetails"].as_array().unwrap();
        found.iter().rev().cloned().collect()
    }

    async fn answer(&self, stage: &str, status: &str) -> Result<Value, Refused> {
        let state = self.stage(stage).await;
        let token = &state["actionStates"][0]["latestExecution"]["token"];
        let result = json!({"status": status, "summary": "looks fine"});
        let input = json!({
            "pipelineName": "p", "stageName": stage, "actionName": "Approve", "result": result,
            "token": token.as_str().unwrap_or("00000000-0000-0000-0000-000000000000"),
        });
        let answered = self.call("codepipeline", "PutApprovalResult", input).await;
        self.at.idle().await;
        answered
    }

    /// The events of a kind about the pipeline, sorted: stage or action (if any) and state.
    async fn events(&self, kind: &str) -> Vec<String> {
        self.at.idle().await;
        let group = json!({"logGroupName": LOG});
        let found = self.call("logs", "FilterLogEvents", group).await.unwrap();
        let lines = found["events"].as_array().unwrap().iter();
        let events = lines.map(|line| {
            let text = line["message"].as_str().unwrap();
            serde_json::from_str::<Value>(text).unwrap()
        });
        let wanted = format!("CodePipeline {kind} Execution State Change");
        let events = events.filter(|event| event["detail-type"] == wanted.as_str());
        let mut found: Vec<String> = events
            .map(|event| {
                assert_eq!(event["source"], "aws.codepipeline");
                assert_eq!(
                    event["resources"],
                    json!(["arn:aws:codepipeline:us-east-1:000000000000:p"])
                );
                let detail = &event["detail"];
                assert_eq!(detail["pipeline"], "p");
                assert!(detail["version"].is_number());
                let of = detail["action"].as_str().or(detail["stage"].as_str());
                format!(
                    "{} {}",
                    of.unwrap_or_default(),
                    detail["state"].as_str().unwrap()
                )
            })
            .collect();
        found.sort();
        found
    }
}

fn action(category: &str, provider: &str, name: &str, configuration: Value) -> Value {
    let mut action = json!({
        "name": name,
        "actionTypeId": {"category": category, "owner": "AWS", "provider": provider, "version": "1"},
    });
    action["configuration"] = configuration;
    action
}

fn source() -> Value {
    let configuration =
        json!({"RepositoryName": "code", "BranchName": "main", "PollForSourceChanges": "false"});
    let mut source = action("Source", "CodeCommit", "Code", configuration);
    source["namespace"] = json!("Code");
    source["outputArtifacts"] = json!([{"name": "SourceArtifact"}]);
    source
}

fn approval() -> Value {
    action(
        "Approval",
        "Manual",
        "Approve",
        json!({"CustomData": "commit #{Code.CommitId}"}),
    )
}

fn build() -> Value {
    let mut build = action("Build", "CodeBuild", "Build", json!({"ProjectName": "app"}));
    build["inputArtifacts"] = json!([{"name": "SourceArtifact"}]);
    build
}

fn deploy(mode: &str, more: Value) -> Value {
    let mut configuration = json!({
        "ActionMode": mode,
        "StackName": "release",
        "RoleArn": "arn:aws:iam::000000000000:role/stacks",
        "TemplatePath": "SourceArtifact::template.yaml",
        "TemplateConfiguration": "SourceArtifact::release.json",
    });
    if let (Value::Object(configuration), Value::Object(more)) = (&mut configuration, more) {
        configuration.extend(more);
    }
    let mut deploy = action("Deploy", "CloudFormation", "Deploy", configuration);
    deploy["inputArtifacts"] = json!([{"name": "SourceArtifact"}]);
    deploy
}

fn pipeline(mode: &str, stages: Vec<(&str, Vec<Value>)>) -> Value {
    let stages: Vec<Value> = stages
        .into_iter()
        .map(|(name, actions)| json!({"name": name, "actions": actions}))
        .collect();
    json!({
        "name": "p",
        "roleArn": "arn:aws:iam::000000000000:role/pipeline",
        "artifactStore": {"type": "S3", "location": "artifacts"},
        "pipelineType": "V2",
        "executionMode": mode,
        "stages": stages,
    })
}

/// A source, an approval, and a last stage with an approval.
fn approvals(mode: &str) -> Value {
    pipeline(
        mode,
        vec![
            ("Source", vec![source()]),
            ("Test", vec![approval()]),
            ("Prod", vec![approval()]),
        ],
    )
}

#[tokio::test]
async fn a_commit_is_approved_and_deployed() {
    let fixture = Fixture::new().await;
    let commit = fixture.commit("data.json", r#"{"value": 7}"#).await;
    let overrides = json!({"ParameterOverrides": json!({
        "Value": {"Fn::GetParam": ["SourceArtifact", "data.json", "value"]},
    }).to_string(), "OutputFileName": "outputs.json"});
    let mut deploy = deploy("CREATE_UPDATE", overrides);
    deploy["namespace"] = json!("Stack");
    deploy["outputArtifacts"] = json!([{"name": "Outputs"}]);
    let mut second = action(
        "Approval",
        "Manual",
        "Check",
        json!({"CustomData": "#{Stack.Released}"}),
    );
    second["runOrder"] = json!(2);
    let stages = vec![
        ("Source", vec![source()]),
        ("Review", vec![approval()]),
        ("Deploy", vec![deploy, second]),
    ];
    fixture.create(&pipeline("QUEUED", stages)).await;
    let executions = fixture.executions().await;
    let [(id, status)] = &executions[..] else {
        panic!("{executions:?}")
    };
    assert_eq!(status, "InProgress");
    let execution = fixture.execution(id).await;
    assert_eq!(execution["trigger"]["triggerType"], "CreatePipeline");
    assert_eq!(
        execution["artifactRevisions"][0]["revisionId"],
        commit.as_str()
    );
    assert_eq!(
        execution["artifactRevisions"][0]["revisionSummary"],
        "Change data.json"
    );
    let review = fixture.stage("Review").await;
    assert_eq!(review["latestExecution"]["status"], "InProgress");
    assert_eq!(review["inboundTransitionState"]["enabled"], true);

    fixture.answer("Review", "Approved").await.unwrap();
    for _ in 0..200 {
        if fixture.stage("Deploy").await["actionStates"][1]["latestExecution"].is_object() {
            break;
        }
        crate::clock::sleep(Duration::from_millis(20)).await;
    }
    fixture.at.idle().await;
    let released = fixture
        .call("ssm", "GetParameter", json!({"Name": "released"}))
        .await;
    assert_eq!(released.unwrap()["Parameter"]["Value"], "7");
    let actions = fixture.actions(id).await;
    let names: Vec<&str> = actions
        .iter()
        .map(|it| it["actionName"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["Code", "Approve", "Deploy", "Check"]);
    assert_eq!(
        actions[0]["output"]["outputVariables"]["CommitId"],
        commit.as_str()
    );
    let key = actions[0]["output"]["outputArtifacts"][0]["s3location"]["key"].as_str();
    assert!(key.unwrap().starts_with("p/SourceArti/"), "{key:?}");
    assert_eq!(
        actions[1]["input"]["resolvedConfiguration"]["CustomData"],
        format!("commit {commit}")
    );
    assert_eq!(actions[2]["output"]["outputVariables"]["Released"], "7");
    assert_eq!(
        actions[2]["output"]["outputArtifacts"][0]["name"],
        "Outputs"
    );
    let stack = actions[2]["output"]["executionResult"]["externalExecutionId"].as_str();
    assert!(stack.unwrap().contains(":stack/release/"), "{stack:?}");
    assert_eq!(
        actions[3]["input"]["resolvedConfiguration"]["CustomData"],
        "7"
    );
    // The tags of the template configuration.
    let stack = fixture.call(
        "cloudformation",
        "DescribeStacks",
        json!({"StackName": "release"}),
    );
    assert_eq!(
        stack.await.unwrap()["Stacks"][0]["Tags"][0],
        json!({"Key": "team", "Value": "ml"})
    );
    assert_eq!(fixture.status(id).await, "InProgress");
    let events = fixture.events("Action").await;
    let expected = [
        "Code STARTED",
        "Code SUCCEEDED",
        "Approve STARTED",
        "Approve SUCCEEDED",
        "Deploy STARTED",
        "Deploy SUCCEEDED",
        "Check STARTED",
    ];
    assert_eq!(events, sorted(expected));
}

#[tokio::test]
async fn change_sets_are_replaced_and_executed() {
    let fixture = Fixture::new().await;
    let set = json!({"ChangeSetName": "next"});
    let mut execute = deploy("CHANGE_SET_EXECUTE", set.clone());
    execute["name"] = json!("Execute");
    execute["runOrder"] = json!(2);
    let mut delete = deploy("DELETE_ONLY", json!({}));
    delete["name"] = json!("Delete");
    let stages = vec![
        ("Source", vec![source()]),
        ("Deploy", vec![deploy("CHANGE_SET_REPLACE", set), execute]),
    ];
    fixture.create(&pipeline("QUEUED", stages)).await;
    let [(id, status)] = &fixture.executions().await[..] else {
        panic!()
    };
    assert_eq!(status, "Succeeded", "{:#?}", fixture.actions(id).await);
    let released = || fixture.call("ssm", "GetParameter", json!({"Name": "released"}));
    assert_eq!(released().await.unwrap()["Parameter"]["Value"], "from-file");
    // Without changes, both succeed.
    let again = fixture.start().await;
    assert_eq!(
        fixture.status(&again).await,
        "Succeeded",
        "{:#?}",
        fixture.actions(&again).await
    );
    fixture
        .commit("release.json", r#"{"Parameters": {"Value": "next"}}"#)
        .await;
    let again = fixture.start().await;
    assert_eq!(
        fixture.status(&again).await,
        "Succeeded",
        "{:#?}",
        fixture.actions(&again).await
    );
    assert_eq!(released().await.unwrap()["Parameter"]["Value"], "next");
    // A stack that fails names the resource.
    fixture.commit("template.yaml", "Resources: {P: {Type: 'AWS::SSM::Parameter', Properties: {Name: 'a b', Type: String, Value: x}}}").await;
    fixture.commit("release.json", "{}").await;
    let failed = fixture.start().await;
    assert_eq!(fixture.status(&failed).await, "Failed");
    let actions = fixture.actions(&failed).await;
    let error = &actions.last().unwrap()["output"]["executionResult"]["errorDetails"];
    assert_eq!(error["code"], "JobFailed");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("UPDATE_ROLLBACK_COMPLETE: P: "),
        "{error}"
    );

    let stages = vec![("Source", vec![source()]), ("Delete", vec![delete])];
    fixture
        .run(
            "UpdatePipeline",
            json!({"pipeline": pipeline("QUEUED", stages)}),
        )
        .await;
    for _ in 0..2 {
        let deleted = fixture.start().await;
        assert_eq!(fixture.status(&deleted).await, "Succeeded");
    }
    let error = released().await.unwrap_err();
    assert_eq!(error.code, "ParameterNotFound");
}

#[tokio::test]
async fn a_rejected_stage_is_retried() {
    let fixture = Fixture::new().await;
    fixture.create(&approvals("QUEUED")).await;
    fixture.answer("Test", "Rejected").await.unwrap();
    let [(id, status)] = &fixture.executions().await[..] else {
        panic!()
    };
    assert_eq!(status, "Failed");
    let stage = fixture.stage("Test").await;
    assert_eq!(stage["latestExecution"]["status"], "Failed");
    let latest = &stage["actionStates"][0]["latestExecution"];
    assert_eq!(latest["summary"], "looks fine");
    assert_eq!(
        latest["lastUpdatedBy"],
        "arn:aws:iam::000000000000:user/local"
    );
    assert!(latest["token"].is_null());
    let retry = |stage: &str| json!({"pipelineName": "p", "stageName": stage, "pipelineExecutionId": id, "retryMode": "FAILED_ACTIONS"});
    let error = fixture
        .call("codepipeline", "RetryStageExecution", retry("Source"))
        .await
        .unwrap_err();
    assert_eq!(error.code, "StageNotRetryableException");
    fixture.run("RetryStageExecution", retry("Test")).await;
    fixture.at.idle().await;
    let stage = fixture.stage("Test").await;
    assert_eq!(
        stage["retryStageMetadata"],
        json!({"latestRetryTrigger": "ManualStageRetry", "manualStageRetryAttempt": 1})
    );
    fixture.answer("Test", "Approved").await.unwrap();
    fixture.answer("Prod", "Approved").await.unwrap();
    assert_eq!(fixture.status(id).await, "Succeeded");
    assert_eq!(fixture.actions(id).await.len(), 4);
    let input = json!({"pipelineName": "p", "filter": {"latestInPipelineExecution":
        {"pipelineExecutionId": id, "startTimeRange": "Latest"}}});
    let latest = fixture.run("ListActionExecutions", input).await;
    assert_eq!(
        latest["actionExecutionDetails"].as_array().unwrap().len(),
        3
    );
    let events = fixture.events("Pipeline").await;
    let expected = [" STARTED", " FAILED", " RESUMED", " SUCCEEDED"];
    assert_eq!(events, sorted(expected));
    let events = fixture.events("Stage").await;
    let expected = [
        "Source STARTED",
        "Source SUCCEEDED",
        "Test STARTED",
        "Test FAILED",
        "Test RESUMED",
        "Test SUCCEEDED",
        "Prod STARTED",
        "Prod SUCCEEDED",
    ];
    assert_eq!(events, sorted(expected));
}

#[tokio::test]
async fn approvals_time_out_by_the_clouds_clock() {
    let fixture = Fixture::new().await;
    let mut short = approval();
    short["timeoutInMinutes"] = json!(5);
    let stages = vec![("Source", vec![source()]), ("Test", vec![short])];
    fixture.create(&pipeline("QUEUED", stages)).await;
    let [(id, _)] = &fixture.executions().await[..] else {
        panic!()
    };
    let cloud = fixture.at.cloud();
    cloud.advance(Duration::from_mins(4)).await.unwrap();
    assert_eq!(fixture.status(id).await, "InProgress");
    cloud.advance(Duration::from_mins(2)).await.unwrap();
    assert_eq!(fixture.status(id).await, "Failed");
    let error = fixture.answer("Test", "Approved").await.unwrap_err();
    assert_eq!(error.code, "InvalidApprovalTokenException");

    // Seven days by default.
    let stages = vec![("Source", vec![source()]), ("Test", vec![approval()])];
    fixture
        .run(
            "UpdatePipeline",
            json!({"pipeline": pipeline("QUEUED", stages)}),
        )
        .await;
    let id = fixture.start().await;
    cloud
        .advance(Duration::from_mins(7 * 24 * 60 - 1))
        .await
        .unwrap();
    assert_eq!(fixture.status(&id).await, "InProgress");
    cloud.advance(Duration::from_mins(2)).await.unwrap();
    assert_eq!(fixture.status(&id).await, "Failed");
}
