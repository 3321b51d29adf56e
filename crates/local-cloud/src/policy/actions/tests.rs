use serde_json::json;

use super::*;
use crate::services::SERVICES;

fn find(named: Named<'_>) -> Option<String> {
    match named {
        Named::Key("alias/a" | "k") => Some("arn:aws:kms:r:1:key/k".to_owned()),
        Named::Role("r") => Some("arn:aws:iam::1:role/team/r".to_owned()),
        Named::ChangeSet(_) => Some("arn:aws:cloudformation:r:1:stack/s/id".to_owned()),
        _ => None,
    }
}

/// The calls of `SERVICE:OPERATION`.
fn needed(name: &str, input: &Value) -> Vec<Call> {
    let (service, operation) = name.split_once(':').unwrap();
    let place = Place {
        region: "r",
        account: "1",
        find: &find,
    };
    calls(service, operation, input, &place).unwrap()
}

/// `ACTION RESOURCE` of each call.
fn texts(name: &str, input: &Value) -> Vec<String> {
    let calls = needed(name, input).into_iter();
    calls
        .map(|call| format!("{} {}", call.action, call.resource))
        .collect()
}

#[test]
fn every_operation_has_an_entry_and_every_entry_an_operation() {
    let mut names = Vec::new();
    for service in SERVICES {
        for operation in service.operation_names() {
            names.push(format!("{}:{operation}", service.name));
        }
    }
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !TABLE.contains_key(*name))
        .collect();
    assert!(
        missing.is_empty(),
        "run tools/iam_actions.py for {missing:?}"
    );
    let obsolete: Vec<_> = TABLE.keys().filter(|name| !names.contains(name)).collect();
    assert!(
        obsolete.is_empty(),
        "run tools/iam_actions.py for {obsolete:?}"
    );
    let text = include_str!("../actions.json");
    assert_eq!(
        TABLE.len(),
        text.lines().count() - 3,
        "a line cannot be read"
    );
    let place = Place {
        region: "r",
        account: "1",
        find: &find,
    };
    let service = "s3";
    let unknown = calls(service, "Fly", &json!({}), &place).unwrap_err();
    assert_eq!(unknown.code, "NotImplemented");
}

#[test]
fn resources_come_from_the_members_of_a_request() {
    let arn = "arn:aws:sagemaker:r:1:model-package/g/1";
    for (name, input, expected) in [
        (
            "s3:GetObject",
            json!({"Bucket": "b", "Key": "k/x"}),
            vec!["s3:GetObject arn:aws:s3:::b/k/x"],
        ),
        (
            "s3:GetObject",
            json!({"Bucket": "b", "Key": "arn:aws:s3:::other/k", "VersionId": "v"}),
            vec!["s3:GetObjectVersion arn:aws:s3:::b/arn:aws:s3:::other/k"],
        ),
        ("s3:ListBuckets", json!({}), vec!["s3:ListAllMyBuckets *"]),
        (
            "s3:CopyObject",
            json!({"Bucket": "b", "Key": "k", "CopySource": "/a/x%20y?versionId=v", "Tagging": "t=1"}),
            vec![
                "s3:GetObjectVersion arn:aws:s3:::a/x y",
                "s3:PutObject arn:aws:s3:::b/k",
                "s3:PutObjectTagging arn:aws:s3:::b/k",
            ],
        ),
        (
            "s3:DeleteObjects",
            json!({"Bucket": "b", "Delete": {"Objects": [{"Key": "x"}, {"Key": "y"}]}}),
            vec![
                "s3:DeleteObject arn:aws:s3:::b/x",
                "s3:DeleteObject arn:aws:s3:::b/y",
            ],
        ),
        (
            "sagemaker:CreateTrainingJob",
            json!({"TrainingJobName": "t", "RoleArn": "arn:aws:iam::1:role/x", "Tags": [{"Key": "a", "Value": "b"}]}),
            vec![
                "sagemaker:CreateTrainingJob arn:aws:sagemaker:r:1:training-job/t",
                "iam:PassRole arn:aws:iam::1:role/x",
                "sagemaker:AddTags arn:aws:sagemaker:r:1:training-job/t",
            ],
        ),
        (
            "sagemaker:UpdateModelPackage",
            json!({"ModelPackageArn": arn}),
            vec!["sagemaker:UpdateModelPackage arn:aws:sagemaker:r:1:model-package/g/1"],
        ),
        (
            "sagemaker:CreateModelPackage",
            json!({"ModelPackageGroupName": "arn:aws:sagemaker:r:1:model-package-group/g"}),
            vec!["sagemaker:CreateModelPackage arn:aws:sagemaker:r:1:model-package/g/*"],
        ),
        (
            "sagemaker-runtime:InvokeEndpoint",
            json!({"EndpointName": "e"}),
            vec!["sagemaker:InvokeEndpoint arn:aws:sagemaker:r:1:endpoint/e"],
        ),
        (
            "codebuild:StopBuild",
            json!({"id": "app:0-1"}),
            vec!["codebuild:StopBuild arn:aws:codebuild:r:1:project/app"],
        ),
        (
            "codebuild:BatchGetBuilds",
            json!({"ids": ["app:0-1", "arn:aws:codebuild:r:1:build/b:2"]}),
            vec![
                "codebuild:BatchGetBuilds arn:aws:codebuild:r:1:project/app",
                "codebuild:BatchGetBuilds arn:aws:codebuild:r:1:project/b",
            ],
        ),
        (
            "codebuild:DescribeTestCases",
            json!({"reportArn": "arn:aws:codebuild:r:1:report/g:5"}),
            vec!["codebuild:DescribeTestCases arn:aws:codebuild:r:1:report-group/g"],
        ),
        (
            "codebuild:StartBuild",
            json!({"projectName": "arn:aws:codebuild:r:1:project/app", "serviceRoleOverride": "arn:aws:iam::1:role/r"}),
            vec![
                "codebuild:StartBuild arn:aws:codebuild:r:1:project/app",
                "iam:PassRole arn:aws:iam::1:role/r",
            ],
        ),
        (
            "kms:UpdateAlias",
            json!({"AliasName": "alias/a", "TargetKeyId": "other"}),
            vec![
                "kms:UpdateAlias arn:aws:kms:r:1:alias/a",
                "kms:UpdateAlias arn:aws:kms:r:1:key/k",
                "kms:UpdateAlias arn:aws:kms:r:1:key/other",
            ],
        ),
        (
            "iam:DeleteRole",
            json!({"RoleName": "r"}),
            vec!["iam:DeleteRole arn:aws:iam::1:role/team/r"],
        ),
        (
            "iam:CreateRole",
            json!({"RoleName": "n", "Path": "/team/"}),
            vec!["iam:CreateRole arn:aws:iam::1:role/team/n"],
        ),
        (
            "iam:CreateRole",
            json!({"RoleName": "n"}),
            vec!["iam:CreateRole arn:aws:iam::1:role/n"],
        ),
        (
            "iam:CreateRole",
            json!({"RoleName": "n", "Tags": ""}),
            vec!["iam:CreateRole arn:aws:iam::1:role/n"],
        ),
        (
            "logs:PutLogEvents",
            json!({"logGroupName": "/g", "logStreamName": "s"}),
            vec!["logs:PutLogEvents arn:aws:logs:r:1:log-group:/g:log-stream:s"],
        ),
        (
            "logs:FilterLogEvents",
            json!({"logGroupIdentifier": "arn:aws:logs:r:1:log-group:/g:*"}),
            vec!["logs:FilterLogEvents arn:aws:logs:r:1:log-group:/g:log-stream:"],
        ),
        (
            "ssm:GetParameters",
            json!({"Names": ["/a/b:3", "c"]}),
            vec![
                "ssm:GetParameters arn:aws:ssm:r:1:parameter/a/b",
                "ssm:GetParameters arn:aws:ssm:r:1:parameter/c",
            ],
        ),
        (
            "lambda:Invoke",
            json!({"FunctionName": "arn:aws:lambda:r:1:function:f"}),
            vec!["lambda:InvokeFunction arn:aws:lambda:r:1:function:f"],
        ),
        (
            "ssm:GetParameters",
            json!({"Names": ["arn:aws:ssm:r:1:parameter/a:1", "arn:aws:ssm:r:1:parametera", "arn:aws:ssm:x:1:parameter/a"]}),
            vec![
                "ssm:GetParameters arn:aws:ssm:r:1:parameter/a",
                "ssm:GetParameters arn:aws:ssm:r:1:parameter/a",
                "ssm:GetParameters arn:aws:ssm:r:1:parameter/arn:aws:ssm:x:1:parameter/a",
            ],
        ),
        (
            "lambda:Invoke",
            json!({"FunctionName": "my-function:$LATEST"}),
            vec!["lambda:InvokeFunction arn:aws:lambda:r:1:function:my-function"],
        ),
        (
            "lambda:Invoke",
            json!({"FunctionName": "1:function:f:$LATEST"}),
            vec!["lambda:InvokeFunction arn:aws:lambda:r:1:function:f"],
        ),
        (
            "lambda:Invoke",
            json!({"FunctionName": "function:f"}),
            vec!["lambda:InvokeFunction arn:aws:lambda:r:1:function:f"],
        ),
        (
            "cloudformation:DescribeStacks",
            json!({"StackName": "arn:aws:cloudformation:x:y:stack/prod/id"}),
            vec![
                "cloudformation:DescribeStacks arn:aws:cloudformation:r:1:stack/arn:aws:cloudformation:x:y:stack/prod/id/*",
            ],
        ),
        (
            "cloudformation:DescribeStacks",
            json!({"StackName": "arn:aws:cloudformation:r:1:stack/prod/id"}),
            vec!["cloudformation:DescribeStacks arn:aws:cloudformation:r:1:stack/prod/id"],
        ),
        (
            "sts:AssumeRole",
            json!({"RoleArn": "arn:aws:iam::1:role/x", "Tags": [{"Key": "a", "Value": "b"}]}),
            vec![
                "sts:AssumeRole arn:aws:iam::1:role/x",
                "sts:TagSession arn:aws:iam::1:role/x",
            ],
        ),
        (
            "sts:AssumeRole",
            json!({"RoleArn": "arn:aws:iam::1:role/x", "Tags": []}),
            vec!["sts:AssumeRole arn:aws:iam::1:role/x"],
        ),
        (
            "ecr:DescribeRepositories",
            json!({}),
            vec!["ecr:DescribeRepositories arn:aws:ecr:r:1:repository/*"],
        ),
        (
            "cloudformation:CreateStack",
            json!({"StackName": "s", "RoleARN": "arn:aws:iam::1:role/x"}),
            vec![
                "cloudformation:CreateStack arn:aws:cloudformation:r:1:stack/s/*",
                "iam:PassRole arn:aws:iam::1:role/x",
            ],
        ),
        (
            "cloudformation:ExecuteChangeSet",
            json!({"ChangeSetName": "arn:aws:cloudformation:r:1:changeSet/c/id"}),
            vec!["cloudformation:ExecuteChangeSet arn:aws:cloudformation:r:1:stack/s/id"],
        ),
        (
            "cloudformation:GetTemplateSummary",
            json!({}),
            vec!["cloudformation:GetTemplateSummary *"],
        ),
        (
            "ec2:CreateSubnet",
            json!({"VpcId": "vpc-1", "TagSpecification": [{"Tag": [{"Key": "a", "Value": "b"}]}]}),
            vec![
                "ec2:CreateSubnet arn:aws:ec2:r:1:subnet/*",
                "ec2:CreateSubnet arn:aws:ec2:r:1:vpc/vpc-1",
                "ec2:CreateTags arn:aws:ec2:r:1:subnet/*",
            ],
        ),
        (
            "ec2:CreateTags",
            json!({"ResourceId": ["igw-1"], "Tag": [{"Key": "a", "Value": "b"}]}),
            vec!["ec2:CreateTags arn:aws:ec2:r:1:internet-gateway/igw-1"],
        ),
        ("sts:GetCallerIdentity", json!({}), vec![]),
    ] {
        assert_eq!(texts(name, &input), expected, "{name}");
    }
}

#[test]
fn a_request_cannot_need_any_number_of_calls() {
    let place = Place {
        region: "r",
        account: "1",
        find: &find,
    };
    let calls = |names: usize, tags: usize| {
        let names: Vec<_> = (0..names).map(|number| format!("n{number}")).collect();
        let tags: Vec<_> = (0..tags)
            .map(|number| json!({"Key": format!("k{number}"), "Value": "v"}))
            .collect();
        let input = json!({"Names": names, "Tags": tags});
        calls("ssm", "GetParameters", &input, &place)
    };
    assert_eq!(calls(1000, 50).unwrap().len(), 1000);
    for (names, tags) in [(30_000, 0), (1, 30_000)] {
        assert_eq!(calls(names, tags).unwrap_err().code, "ValidationException");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of requests")]
fn condition_keys_come_from_the_members_of_a_request() {
    use crate::policy::context::Values;
    let one = |text: &str| Some(Values::One(text.to_owned()));
    let many = |texts: &[&str]| {
        let texts = texts.iter().map(|text| (*text).to_owned());
        Some(Values::Many(texts.collect()))
    };
    let tags = json!({"RoleName": "n", "PermissionsBoundary": "arn:b",
        "Tags": [{"Key": "team", "Value": "blue"}]});
    let job = json!({"TrainingJobName": "t", "RoleArn": "arn:aws:iam::1:role/x",
        "ResourceConfig": {"InstanceType": "ml.m5.large", "VolumeKmsKeyId": "alias/a"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60}, "EnableNetworkIsolation": true});
    for (name, input, call, key, expected) in [
        (
            "iam:CreateRole",
            &tags,
            0,
            "aws:RequestTag/team",
            one("blue"),
        ),
        ("iam:CreateRole", &tags, 0, "aws:TagKeys", many(&["team"])),
        (
            "iam:CreateRole",
            &tags,
            0,
            "iam:PermissionsBoundary",
            one("arn:b"),
        ),
        (
            "sagemaker:CreateTrainingJob",
            &job,
            0,
            "sagemaker:InstanceTypes",
            many(&["ml.m5.large"]),
        ),
        (
            "sagemaker:CreateTrainingJob",
            &job,
            0,
            "sagemaker:MaxRuntimeInSeconds",
            one("60"),
        ),
        (
            "sagemaker:CreateTrainingJob",
            &job,
            0,
            "sagemaker:NetworkIsolation",
            one("true"),
        ),
        (
            "sagemaker:CreateTrainingJob",
            &job,
            0,
            "sagemaker:VolumeKmsKeyArn",
            one("arn:aws:kms:r:1:key/k"),
        ),
        (
            "sagemaker:CreateTrainingJob",
            &job,
            0,
            "sagemaker:VpcSubnets",
            None,
        ),
        (
            "sagemaker:CreateTrainingJob",
            &job,
            1,
            "iam:PassedToService",
            one("sagemaker.amazonaws.com"),
        ),
        (
            "sagemaker:UpdateModelPackage",
            &json!({"ModelPackageArn": "arn:x", "ModelApprovalStatus": "Approved"}),
            0,
            "sagemaker:ModelApprovalStatus",
            one("Approved"),
        ),
        (
            "s3:ListObjectsV2",
            &json!({"Bucket": "b", "Prefix": "p/"}),
            0,
            "s3:prefix",
            one("p/"),
        ),
        (
            "s3:PutObject",
            &json!({"Bucket": "b", "Key": "k", "SSEKMSKeyId": "id", "Tagging": "a=b"}),
            0,
            "s3:x-amz-server-side-encryption-aws-kms-key-id",
            one("id"),
        ),
        (
            "s3:PutObject",
            &json!({"Bucket": "b", "Key": "k", "Tagging": "a=b"}),
            0,
            "s3:RequestObjectTag/a",
            one("b"),
        ),
        (
            "codecommit:PutFile",
            &json!({"repositoryName": "x", "branchName": "main"}),
            0,
            "codecommit:References",
            one("refs/heads/main"),
        ),
        (
            "ecr:CreateRepository",
            &json!({"repositoryName": "x", "tags": [{"Key": "a", "Value": "b"}]}),
            0,
            "aws:RequestTag/a",
            one("b"),
        ),
        (
            "logs:CreateLogGroup",
            &json!({"logGroupName": "x", "tags": {"a": "b"}}),
            0,
            "aws:RequestTag/a",
            one("b"),
        ),
        (
            "kms:UntagResource",
            &json!({"KeyId": "k", "TagKeys": ["a"]}),
            0,
            "aws:TagKeys",
            many(&["a"]),
        ),
        (
            "kms:DescribeKey",
            &json!({"KeyId": "alias/a"}),
            0,
            "kms:RequestAlias",
            one("alias/a"),
        ),
    ] {
        let calls = needed(name, input);
        let found = calls[call].context.get(key);
        assert_eq!(found, expected.as_ref(), "{name} {key}");
    }
}

/// Conditions on these keys limit which rules and targets a role can put.
#[test]
fn requests_of_eventbridge_have_their_condition_keys() {
    let list = |name: &str, input: &Value, key: &str| match needed(name, input)[0].context.get(key)
    {
        Some(crate::policy::context::Values::Many(values)) => values.clone(),
        None => Vec::new(),
        Some(other) => panic!("{other:?}"),
    };
    let targets =
        json!({"Rule": "r", "Targets": [{"Id": "a", "Arn": "arn:a"}, {"Id": "b", "Arn": "arn:b"}]});
    let arns = list("events:PutTargets", &targets, "events:TargetArn");
    assert_eq!(arns, ["arn:a", "arn:b"]);
    let entries = json!({"Entries": [{"Source": "a", "DetailType": "t"}, {"Source": "b", "DetailType": "u"}]});
    let sources = list("events:PutEvents", &entries, "events:source");
    assert_eq!(sources, ["a", "b"]);
    let types = list("events:PutEvents", &entries, "events:detail-type");
    assert_eq!(types, ["t", "u"]);
    for (pattern, expected) in [
        (
            json!({"source": ["aws.s3", "b"], "detail-type": ["t"]}),
            vec!["aws.s3", "b"],
        ),
        (
            json!({"source": [{"prefix": "aws."}]}),
            vec![r#"{"prefix":"aws."}"#],
        ),
        (json!({"detail": {"source": ["x"]}}), vec![]),
        (
            json!({"$or": [{"source": ["a"]}, {"detail-type": ["t"]}]}),
            vec!["a", ""],
        ),
    ] {
        let input = json!({"Name": "r", "EventPattern": pattern.to_string()});
        let sources = list("events:PutRule", &input, "events:source");
        assert_eq!(sources, expected, "{pattern}");
    }
}
