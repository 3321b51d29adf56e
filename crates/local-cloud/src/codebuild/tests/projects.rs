//! Projects: what is stored, and what is refused.

use super::*;

const SPEC: &str = "version: 0.2\nphases: {}\n";

#[tokio::test]
async fn a_project_is_created_updated_and_deleted() {
    let cloud = cloud().await;
    let mut input = project("app", SPEC);
    input["tags"] = json!([{"key": "team", "value": "ml"}]);
    let created = create(&cloud, input.clone()).await;
    assert_eq!(
        created["arn"],
        "arn:aws:codebuild:us-east-1:000000000000:project/app"
    );
    assert_eq!(created["timeoutInMinutes"], 60);
    assert_eq!(created["queuedTimeoutInMinutes"], 480);
    assert_eq!(created["encryptionKey"], "alias/aws/s3");
    assert_eq!(created["cache"], json!({"type": "NO_CACHE"}));
    let error = refused(&cloud, "CreateProject", input).await;
    assert_eq!(error.code, "ResourceAlreadyExistsException");
    let update = json!({"name": "app", "timeoutInMinutes": 5, "description": "x", "concurrentBuildLimit": 2});
    let updated = cloud
        .call("codebuild", "UpdateProject", update)
        .await
        .unwrap();
    assert_eq!(updated["project"]["timeoutInMinutes"], 5);
    assert_eq!(
        updated["project"]["tags"],
        json!([{"key": "team", "value": "ml"}])
    );
    let update = json!({"name": "app", "concurrentBuildLimit": -1, "tags": []});
    cloud
        .call("codebuild", "UpdateProject", update)
        .await
        .unwrap();
    let cloud = cloud.crash();
    let names =
        json!({"names": ["app", "arn:aws:codebuild:us-east-1:000000000000:project/app", "b"]});
    let found = cloud
        .call("codebuild", "BatchGetProjects", names)
        .await
        .unwrap();
    assert_eq!(found["projects"].as_array().unwrap().len(), 2);
    assert_eq!(found["projectsNotFound"], json!(["b"]));
    assert_eq!(found["projects"][0]["concurrentBuildLimit"], Value::Null);
    assert_eq!(found["projects"][0]["tags"], json!([]));
    create(&cloud, project("other", SPEC)).await;
    let listed = cloud
        .call(
            "codebuild",
            "ListProjects",
            json!({"sortOrder": "DESCENDING"}),
        )
        .await
        .unwrap();
    assert_eq!(listed["projects"], json!(["other", "app"]));
    for _ in 0..2 {
        cloud
            .call("codebuild", "DeleteProject", json!({"name": "app"}))
            .await
            .unwrap();
    }
    let error = refused(&cloud, "UpdateProject", json!({"name": "app"})).await;
    assert_eq!(error.code, "ResourceNotFoundException");
}

/// Sets a member at a JSON pointer whose parent exists.
fn with(pointer: &str, value: Value) -> Value {
    let mut input = project("app", SPEC);
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    input.pointer_mut(parent).unwrap()[name] = value;
    input
}

#[tokio::test]
async fn what_the_local_cloud_does_not_have_is_refused_by_name() {
    let cloud = cloud().await;
    for (pointer, value, part) in [
        (
            "/source",
            json!({"type": "GITHUB", "location": "https://github.com/a/b"}),
            "GITHUB",
        ),
        (
            "/source/gitSubmodulesConfig",
            json!({"fetchSubmodules": true}),
            "gitSubmodulesConfig",
        ),
        (
            "/source/buildspec",
            json!("version: 0.2\nrun-as: x\nphases: {}\n"),
            "run-as",
        ),
        (
            "/environment/type",
            json!("WINDOWS_SERVER_2022_CONTAINER"),
            "WINDOWS_SERVER_2022_CONTAINER",
        ),
        (
            "/environment/type",
            json!("LINUX_LAMBDA_CONTAINER"),
            "LINUX_LAMBDA_CONTAINER",
        ),
        ("/environment/privilegedMode", json!(true), "privilegedMode"),
        ("/environment/image", json!("python:3.12"), "python:3.12"),
        (
            "/environment/computeType",
            json!("BUILD_LAMBDA_1GB"),
            "BUILD_LAMBDA_1GB",
        ),
        ("/environment/fleet", json!({"fleetArn": "x"}), "fleet"),
        (
            "/environment/environmentVariables",
            json!([{"name": "A", "value": "x", "type": "SECRETS_MANAGER"}]),
            "SECRETS_MANAGER",
        ),
        ("/cache", json!({"type": "S3", "location": "b/k"}), "cache"),
        (
            "/cache",
            json!({"type": "LOCAL", "modes": ["LOCAL_DOCKER_LAYER_CACHE"]}),
            "Docker",
        ),
        (
            "/logsConfig",
            json!({"s3Logs": {"status": "ENABLED"}}),
            "s3Logs",
        ),
        ("/badgeEnabled", json!(true), "badgeEnabled"),
        (
            "/buildBatchConfig",
            json!({"serviceRole": "x"}),
            "buildBatchConfig",
        ),
        (
            "/fileSystemLocations",
            json!([{"type": "EFS"}]),
            "fileSystemLocations",
        ),
    ] {
        let error = refused(&cloud, "CreateProject", with(pointer, value)).await;
        assert_eq!(error.code, "NotImplemented", "{pointer}: {error}");
        assert!(error.message.contains(part), "{pointer}: {error}");
    }
    for operation in [
        "StartBuildBatch",
        "CreateWebhook",
        "CreateFleet",
        "StartSandbox",
        "ListBuildBatches",
    ] {
        let error = refused(&cloud, operation, json!({})).await;
        assert_eq!(error.code, "NotImplemented");
        assert!(error.message.contains(operation), "{error}");
    }
}

#[tokio::test]
async fn mistakes_are_invalid_input() {
    let cloud = cloud().await;
    let variable = |name: &str| json!([{"name": name, "value": "x"}]);
    for (pointer, value, part) in [
        ("/name", json!("x"), "name"),
        ("/name", json!("a b"), "name"),
        ("/timeoutInMinutes", json!(4), "timeoutInMinutes"),
        ("/timeoutInMinutes", json!(2161), "timeoutInMinutes"),
        (
            "/queuedTimeoutInMinutes",
            json!(481),
            "queuedTimeoutInMinutes",
        ),
        ("/concurrentBuildLimit", json!(0), "concurrentBuildLimit"),
        ("/source/buildspec", json!(""), "buildspec"),
        (
            "/source",
            json!({"type": "CODECOMMIT", "location": "app"}),
            "location",
        ),
        (
            "/source",
            json!({"type": "S3", "location": "bucket"}),
            "location",
        ),
        (
            "/artifacts",
            json!({"type": "CODEPIPELINE"}),
            "CODEPIPELINE",
        ),
        ("/artifacts", json!({"type": "S3"}), "location"),
        ("/environment/environmentVariables", variable("A-B"), "A-B"),
        (
            "/environment/environmentVariables",
            variable("CODEBUILD_X"),
            "reserved",
        ),
        ("/cache", json!({"type": "LOCAL"}), "modes"),
        (
            "/serviceRole",
            json!("arn:aws:iam::000000000000:role/absent"),
            "sts:AssumeRole",
        ),
        (
            "/vpcConfig",
            json!({"vpcId": "vpc-1", "subnets": ["subnet-1"]}),
            "vpc config",
        ),
        (
            "/secondarySources",
            json!([{"type": "S3", "location": "b/k"}]),
            "sourceIdentifier",
        ),
        (
            "/secondaryArtifacts",
            json!([{"type": "S3", "location": "b"}]),
            "artifactIdentifier",
        ),
    ] {
        let error = refused(&cloud, "CreateProject", with(pointer, value)).await;
        assert_eq!(error.code, "InvalidInputException", "{pointer}: {error}");
        assert!(error.message.contains(part), "{pointer}: {error}");
    }
    let listed = cloud
        .call("codebuild", "ListProjects", json!({}))
        .await
        .unwrap();
    assert_eq!(listed["projects"], json!([]));
}

#[tokio::test]
async fn a_role_that_does_not_trust_codebuild_is_refused() {
    let cloud = cloud().await;
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole",
        }],
    });
    let input = json!({"RoleName": "other", "AssumeRolePolicyDocument": trust.to_string()});
    cloud.call("iam", "CreateRole", input).await.unwrap();
    let role = "arn:aws:iam::000000000000:role/other";
    let error = refused(&cloud, "CreateProject", with("/serviceRole", json!(role))).await;
    assert_eq!(
        error.message,
        format!("CodeBuild is not authorized to perform: sts:AssumeRole on {role}")
    );
}
