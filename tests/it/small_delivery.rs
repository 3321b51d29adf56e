//! Small pipelines of CodePipeline for the project of `small_project`: a push starts a build that runs a script of the
//! repository, and an approval follows.

use std::time::{Duration, Instant};

use aws_sdk_cloudformation::types::{Capability, StackStatus};
use serde_json::Value;

use crate::sandbox::{Sandbox, pause};
use crate::sdk::Sdk;
use crate::small_project;

/// The script that the build runs.
const SCRIPT: &str = "step.py";

const TEMPLATE: &str = r##"
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement:
          - Effect: Allow
            Principal: {Service: [codepipeline.amazonaws.com, codebuild.amazonaws.com, events.amazonaws.com]}
            Action: sts:AssumeRole
      Policies:
        - PolicyName: all
          PolicyDocument:
            Version: "2012-10-17"
            Statement: [{Effect: Allow, Action: "*", Resource: "*"}]
  Store: {Type: "AWS::S3::Bucket", Properties: {BucketName: small-delivery-test}}
  Build:
    Type: AWS::CodeBuild::Project
    Properties:
      Name: small-test-build
      Source:
        Type: CODEPIPELINE
        BuildSpec: |
          version: 0.2
          phases:
            build:
              commands:
                - python3 step.py
      Artifacts: {Type: CODEPIPELINE}
      Environment:
        Type: LINUX_CONTAINER
        Image: aws/codebuild/amazonlinux-x86_64-standard:5.0
        ComputeType: BUILD_GENERAL1_SMALL
      ServiceRole: !GetAtt Role.Arn
  Ml:
    Type: AWS::CodePipeline::Pipeline
    Properties:
      Name: small-ml-develop
      RoleArn: !GetAtt Role.Arn
      PipelineType: V2
      ExecutionMode: QUEUED
      ArtifactStore: {Type: S3, Location: !Ref Store}
      Stages:
        - Name: Source
          Actions: [CODE]
        - Name: Train
          Actions:
            - Name: Train
              ActionTypeId: {Category: Build, Owner: AWS, Provider: CodeBuild, Version: "1"}
              Configuration: {ProjectName: !Ref Build}
              InputArtifacts: [{Name: Code}]
        - Name: Review
          Actions: [REVIEW]
  Deploy:
    Type: AWS::CodePipeline::Pipeline
    Properties:
      Name: small-deploy
      RoleArn: !GetAtt Role.Arn
      PipelineType: V2
      ExecutionMode: QUEUED
      ArtifactStore: {Type: S3, Location: !Ref Store}
      Stages:
        - Name: Source
          Actions: [CODE]
        - Name: Review
          Actions: [REVIEW]
  Push:
    Type: AWS::Events::Rule
    Properties:
      Name: small-ml-develop
      EventPattern:
        source: [aws.codecommit]
        detail-type: [CodeCommit Repository State Change]
        detail: {event: [referenceUpdated], repositoryName: [small], referenceName: [develop]}
      Targets:
        - Id: pipeline
          Arn: !Sub arn:aws:codepipeline:${AWS::Region}:${AWS::AccountId}:${Ml}
          RoleArn: !GetAtt Role.Arn
"##;

const CODE: &str = r#"{
            Name: Code,
            ActionTypeId: {Category: Source, Owner: AWS, Provider: CodeCommit, Version: "1"},
            Configuration: {RepositoryName: small, BranchName: develop, PollForSourceChanges: "false"},
            OutputArtifacts: [{Name: Code}]}"#;

const REVIEW: &str = r#"{
            Name: Approve,
            ActionTypeId: {Category: Approval, Owner: AWS, Provider: Manual, Version: "1"}}"#;

/// Creates the pipelines of a project, whose creation starts them; the script is the text of `step.py`.
pub(crate) fn create(sandbox: &Sandbox, script: &str) {
    push(sandbox, script);
    let template = TEMPLATE.replace("[CODE]", &format!("[{CODE}]"));
    let template = template.replace("[REVIEW]", &format!("[{REVIEW}]"));
    let sdk = Sdk::of(sandbox);
    let client = aws_sdk_cloudformation::Client::new(&sdk.config);
    let stack = client.create_stack().stack_name("small-test-delivery");
    let stack = stack.capabilities(Capability::CapabilityNamedIam);
    let _ = sdk.wait(stack.template_body(template).send()).unwrap();
    wait_for("the stack", || {
        let stacks = client.describe_stacks().stack_name("small-test-delivery");
        let found = sdk.wait(stacks.send()).unwrap();
        let stack = &found.stacks()[0];
        let status = stack.stack_status().unwrap();
        let reason = stack.stack_status_reason();
        assert!(!status.as_str().contains("ROLLBACK"), "{reason:?}");
        (*status == StackStatus::CreateComplete).then_some(())
    });
}

/// Deletes the deploy pipeline: that of `[delivery]` has the same name.
pub(crate) fn delete_deploy(sandbox: &Sandbox) {
    let sdk = Sdk::of(sandbox);
    let client = aws_sdk_codepipeline::Client::new(&sdk.config);
    let _ = sdk
        .wait(client.delete_pipeline().name("small-deploy").send())
        .unwrap();
}

/// Commits a script, and pushes it to the branch develop.
pub(crate) fn push(sandbox: &Sandbox, script: &str) {
    sandbox.write(SCRIPT, script);
    small_project::commit(sandbox);
    push_to(sandbox, "develop");
}

/// Pushes the current commit to a branch.
pub(crate) fn push_to(sandbox: &Sandbox, branch: &str) {
    let to = format!("HEAD:refs/heads/{branch}");
    let push = ["push", "--quiet", "codecommit", &to];
    let _ = sandbox.program("", "git", &push).success();
}

/// The runs of the project, the newest first.
pub(crate) fn runs(sandbox: &Sandbox) -> Vec<Value> {
    let list = ["runs", "list", "--output", "json"];
    let list = sandbox.mlops(list).success().json();
    list["runs"].as_array().unwrap().clone()
}

/// A run of the project.
pub(crate) fn show(sandbox: &Sandbox, run: &str) -> Value {
    let show = ["runs", "show", run, "--output", "json"];
    sandbox.mlops(show).success().json()
}

/// Waits until an execution of a pipeline other than the known ones waits for its approval. Returns its id.
pub(crate) fn waiting(sandbox: &Sandbox, pipeline: &str, known: &[&str]) -> String {
    wait_for(pipeline, || {
        let run = runs(sandbox).into_iter().find(|run| {
            run["pipeline"] == pipeline && !known.contains(&run["run"].as_str().unwrap())
        })?;
        let id = run["run"].as_str().unwrap();
        let shown = show(sandbox, id);
        assert_eq!(shown["status"], "InProgress", "{shown:#}");
        let stages = shown["stages"].as_array().unwrap();
        let mut actions = stages
            .iter()
            .flat_map(|it| it["actions"].as_array().unwrap());
        let waits = actions.any(|action| action["waits_for_approval"] == true);
        waits.then(|| id.to_owned())
    })
}

/// Waits for a result.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_mins(2), "{what}");
        pause();
    }
}
