use serde_json::{Value, json};

use super::*;

/// A pipeline with a source, a build and an approval.
fn pipeline() -> Value {
    json!({
        "name": "p",
        "roleArn": "arn:aws:iam::000000000000:role/p",
        "artifactStore": {"type": "S3", "location": "artifacts"},
        "pipelineType": "V2",
        "variables": [{"name": "size", "defaultValue": "1"}],
        "stages": [
            {"name": "Source", "actions": [{
                "name": "Code",
                "namespace": "Code",
                "actionTypeId": {"category": "Source", "owner": "AWS", "provider": "CodeCommit", "version": "1"},
                "configuration": {"RepositoryName": "r", "BranchName": "main", "PollForSourceChanges": "false"},
                "outputArtifacts": [{"name": "Src"}],
            }]},
            {"name": "Build", "actions": [{
                "name": "Compile",
                "namespace": "Built",
                "actionTypeId": {"category": "Build", "owner": "AWS", "provider": "CodeBuild", "version": "1"},
                "configuration": {
                    "ProjectName": "b",
                    "EnvironmentVariables":
                        "#{Code.CommitId} #{variables.size} #{codepipeline.PipelineExecutionId}",
                },
                "inputArtifacts": [{"name": "Src"}],
                "outputArtifacts": [{"name": "Out"}],
            }, {
                "name": "Approve",
                "runOrder": 2,
                "actionTypeId": {"category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1"},
                "configuration": {"CustomData": "#{Built.Version}"},
                "timeoutInMinutes": 5,
            }]},
        ],
    })
}

fn refused(change: impl FnOnce(&mut Value)) -> ApiError {
    let mut value = pipeline();
    change(&mut value);
    let declaration = serde_json::from_value(value.clone()).unwrap();
    check(&declaration, "us-east-1").expect_err(&value.to_string())
}

#[test]
fn a_valid_pipeline_passes() {
    let declaration = serde_json::from_value(pipeline()).unwrap();
    check(&declaration, "us-east-1").unwrap();
    // A response has what AWS adds.
    let shown = json!(declaration);
    assert_eq!(shown["executionMode"], "SUPERSEDED");
    assert_eq!(shown["stages"][0]["actions"][0]["runOrder"], 1);
    assert_eq!(
        shown["stages"][0]["actions"][0]["inputArtifacts"],
        json!([])
    );
}

/// The code and a part of the message of each wrong structure.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of structures")]
fn wrong_structures_are_refused() {
    type Change = fn(&mut Value);
    let cases: &[(Change, &str, &str)] = &[
        (
            |p| drop(p["stages"].as_array_mut().unwrap().pop()),
            "InvalidStructureException",
            "1 stage(s)",
        ),
        (
            |p| p["stages"][1]["name"] = json!("Source"),
            "InvalidStructureException",
            "two stages named Source",
        ),
        (
            |p| p["stages"][1]["actions"] = json!([]),
            "InvalidStageDeclarationException",
            "has 0 actions",
        ),
        (
            |p| p["stages"][1]["actions"][1]["name"] = json!("Compile"),
            "InvalidStageDeclarationException",
            "two actions named Compile",
        ),
        (
            |p| {
                let approve = p["stages"][1]["actions"][1].clone();
                p["stages"][0]["actions"]
                    .as_array_mut()
                    .unwrap()
                    .push(approve);
            },
            "InvalidStageDeclarationException",
            "source actions only",
        ),
        (
            |p| {
                let mut source = p["stages"][0]["actions"][0].clone();
                source["outputArtifacts"][0]["name"] = json!("Src2");
                source["namespace"] = json!("Code2");
                p["stages"][1]["actions"]
                    .as_array_mut()
                    .unwrap()
                    .push(source);
            },
            "InvalidStageDeclarationException",
            "Only the first stage",
        ),
        (
            |p| p["stages"][1]["actions"][0]["inputArtifacts"] = json!([]),
            "InvalidActionDeclarationException",
            "Action Compile declares 0 input artifacts which is less than the minimum count (1)",
        ),
        (
            |p| p["stages"][1]["actions"][1]["outputArtifacts"] = json!([{"name": "x"}]),
            "InvalidActionDeclarationException",
            "more than the maximum count (0)",
        ),
        (
            |p| p["stages"][1]["actions"][0]["inputArtifacts"][0]["name"] = json!("Out"),
            "InvalidActionDeclarationException",
            "Input artifact Out of the action Compile is not an output",
        ),
        (
            |p| p["stages"][1]["actions"][0]["outputArtifacts"][0]["name"] = json!("Src"),
            "InvalidActionDeclarationException",
            "declared more than once",
        ),
        (
            |p| p["stages"][1]["actions"][0]["namespace"] = json!("Code"),
            "InvalidActionDeclarationException",
            "used by another action",
        ),
        (
            |p| p["stages"][1]["actions"][0]["namespace"] = json!("variables"),
            "InvalidActionDeclarationException",
            "reserved",
        ),
        (
            |p| {
                drop(
                    p["stages"][1]["actions"][0]["configuration"]
                        .as_object_mut()
                        .unwrap()
                        .remove("ProjectName"),
                );
            },
            "InvalidActionDeclarationException",
            "Action configuration for action 'Compile' is missing required configuration 'ProjectName'",
        ),
        (
            |p| p["stages"][1]["actions"][0]["configuration"]["Nothing"] = json!("x"),
            "InvalidActionDeclarationException",
            "contains unknown configuration 'Nothing'",
        ),
        (
            |p| p["stages"][1]["actions"][1]["configuration"]["CustomData"] = json!("#{Nowhere.X}"),
            "InvalidActionDeclarationException",
            "are referencing a namespace that does not exist. StageName=[Build], ActionName=[Approve], \
             ActionConfigurationKey=[CustomData], VariableReferenceText=[Nowhere.X]",
        ),
        (
            |p| p["stages"][1]["actions"][1]["runOrder"] = json!(1),
            "InvalidActionDeclarationException",
            "does not end before",
        ),
        (
            |p| {
                p["stages"][1]["actions"][1]["configuration"]["CustomData"] =
                    json!("#{variables.none}");
            },
            "InvalidActionDeclarationException",
            "a variable that does not exist",
        ),
        (
            |p| p["stages"][1]["actions"][0]["timeoutInMinutes"] = json!(5),
            "InvalidActionDeclarationException",
            "only to the manual approval",
        ),
        (
            |p| p["stages"][0]["actions"][0]["actionTypeId"]["provider"] = json!("Nobody"),
            "InvalidActionDeclarationException",
            "ActionType (Category: 'Source', Provider: 'Nobody', Owner: 'AWS', Version: '1') in action 'Code' is not \
             available in region 'US_EAST_1'",
        ),
        (
            |p| p["pipelineType"] = json!("V1"),
            "InvalidStructureException",
            "Variables can only be used",
        ),
        (
            |p| p["artifactStores"] = json!({"us-east-1": {"type": "S3", "location": "x"}}),
            "InvalidStructureException",
            "Exactly one",
        ),
        (
            |p| p["stages"][0]["onFailure"] = json!({"result": "ROLLBACK"}),
            "InvalidStageDeclarationException",
            "source stage",
        ),
        (
            |p| {
                p["stages"][1]["onFailure"] =
                    json!({"result": "FAIL", "retryConfiguration": {"retryMode": "ALL_ACTIONS"}});
            },
            "InvalidStageDeclarationException",
            "needs the result RETRY",
        ),
        (
            |p| p["variables"] = json!([{"name": "size"}, {"name": "size"}]),
            "InvalidStructureException",
            "two variables",
        ),
    ];
    for (change, code, message) in cases {
        let error = refused(change);
        assert_eq!(error.code, *code, "{error}");
        assert!(error.message.contains(message), "{error}");
    }
}

#[test]
fn what_does_not_run_here_is_refused_by_name() {
    type Change = fn(&mut Value);
    let cases: &[(Change, &str)] = &[
        (
            |p| {
                p["stages"][1]["actions"][0]["actionTypeId"]["provider"] =
                    json!("ECRBuildAndPublish");
            },
            "ECRBuildAndPublish",
        ),
        (
            |p| {
                p["stages"][0]["actions"][0]["configuration"]["PollForSourceChanges"] =
                    json!("true");
            },
            "PollForSourceChanges=true",
        ),
        (
            |p| {
                let configuration = &mut p["stages"][0]["actions"][0]["configuration"];
                configuration
                    .as_object_mut()
                    .unwrap()
                    .remove("PollForSourceChanges");
            },
            "polling for source changes",
        ),
        (
            |p| {
                p["stages"][0]["actions"][0]["configuration"]["OutputArtifactFormat"] =
                    json!("TAR");
            },
            "OutputArtifactFormat=TAR",
        ),
        (
            |p| p["stages"][1]["actions"][0]["configuration"]["BatchEnabled"] = json!("true"),
            "BatchEnabled=true",
        ),
        (
            |p| p["stages"][1]["actions"][0]["region"] = json!("eu-west-1"),
            "actions of other regions",
        ),
    ];
    for (change, message) in cases {
        let error = refused(change);
        assert_eq!(error.code, "NotImplemented", "{error}");
        assert!(error.message.contains(message), "{error}");
    }
}

fn deploy(configuration: Value, outputs: Value) -> ApiResult<()> {
    let mut value = pipeline();
    let mut deploy = json!({
        "name": "Deploy",
        "runOrder": 2,
        "actionTypeId": {"category": "Deploy", "owner": "AWS", "provider": "CloudFormation", "version": "1"},
        "inputArtifacts": [{"name": "Src"}],
    });
    deploy["configuration"] = configuration;
    deploy["outputArtifacts"] = outputs;
    value["stages"][1]["actions"][1] = deploy;
    check(&serde_json::from_value(value).unwrap(), "us-east-1")
}

#[test]
fn modes_of_cloudformation_need_their_properties() {
    let full = json!({"ActionMode": "CREATE_UPDATE", "StackName": "s", "RoleArn": "r", "TemplatePath": "Src::t.yaml"});
    deploy(full.clone(), json!([])).unwrap();
    for (name, value, message) in [
        ("ActionMode", json!("CHANGE_SET_EXECUTE"), "'ChangeSetName'"),
        ("ActionMode", json!("CREATE"), "is CREATE"),
        ("TemplatePath", json!("Out::t.yaml"), "an input artifact"),
        ("TemplatePath", json!("t.yaml"), "ARTIFACT::FILE"),
        ("OutputFileName", json!("o.json"), "both OutputFileName"),
    ] {
        let mut configuration = full.clone();
        configuration[name] = value;
        let error = deploy(configuration, json!([])).unwrap_err();
        assert!(error.message.contains(message), "{error}");
    }
}

#[test]
fn only_builds_use_references_to_commits() {
    let mut value = pipeline();
    value["stages"][0]["actions"][0]["configuration"]["OutputArtifactFormat"] =
        json!("CODEBUILD_CLONE_REF");
    check(&serde_json::from_value(value.clone()).unwrap(), "us-east-1").unwrap();
    let error = refused(|p| {
        *p = value;
        let actions = p["stages"][1]["actions"].as_array_mut().unwrap();
        actions.push(json!({
            "name": "Call",
            "actionTypeId": {"category": "Invoke", "owner": "AWS", "provider": "Lambda", "version": "1"},
            "configuration": {"FunctionName": "f"},
            "inputArtifacts": [{"name": "Src"}],
        }));
    });
    assert_eq!(error.code, "InvalidActionDeclarationException");
    assert!(error.message.contains("Src of the action Call"), "{error}");
}
