//! Inputs of pipelines that are references to commits.

use super::outputs::{artifact, commit, put, with_bucket, zip};
use super::*;

#[tokio::test]
async fn a_clone_reference_is_cloned_at_its_commit() {
    let cloud = cloud().await;
    let input = json!({"repositoryName": "app"});
    cloud
        .call("codecommit", "CreateRepository", input)
        .await
        .unwrap();
    let spec = r#"
version: 0.2
phases:
  build:
    commands:
      - echo "=$(git rev-parse HEAD) $(git rev-parse --abbrev-ref HEAD) $(git log --oneline | wc -l)"
      - echo "=$CODEBUILD_RESOLVED_SOURCE_VERSION $(git -C "$CODEBUILD_SRC_DIR_Other" rev-parse HEAD)"
"#;
    let first = commit(&cloud, "main", "buildspec.yml", spec, None).await;
    let second = commit(&cloud, "main", "word", "one", Some(&first)).await;
    let create_branch = json!({"repositoryName": "app", "branchName": "side", "commitId": first});
    cloud
        .call("codecommit", "CreateBranch", create_branch)
        .await
        .unwrap();
    let side = commit(&cloud, "side", "word", "side", Some(&first)).await;
    let mut input = project("app", "");
    input["source"] = json!({"type": "CODEPIPELINE"});
    input["artifacts"] = json!({"type": "CODEPIPELINE"});
    create(&cloud, input).await;
    let reference = |name: &str, commit: &str, branch: &str| PipelineArtifact {
        clone: Some(CloneReference {
            repository: "app".to_owned(),
            commit: commit.to_owned(),
            branch: branch.to_owned(),
        }),
        ..artifact(name, "unread")
    };
    let build = |commit: &str, branch: &str| PipelineBuild {
        project: "app".to_owned(),
        pipeline: "line".to_owned(),
        execution: "e-1".to_owned(),
        inputs: vec![
            reference("Source", commit, branch),
            reference("Other", &second, "main"),
        ],
        primary: None,
        revision: Some(commit.to_owned()),
        outputs: Vec::new(),
        buildspec: None,
        variables: Vec::new(),
        encryption_key: None,
        token: None,
    };
    for (commit, branch, expected, count) in [
        (&second, "main", "main", 2),
        // The branch has moved on.
        (&first, "main", "main", 1),
        (&side, "side", "side", 2),
        // The branch does not contain the commit, or does not exist any more.
        (&side, "main", "HEAD", 2),
        (&second, "gone", "HEAD", 2),
        (&second, "--bad", "HEAD", 2),
    ] {
        let id = start_for_pipeline(&cloud.cloud(), build(commit, branch))
            .await
            .unwrap();
        let found = ended(&cloud, &id).await;
        assert_eq!(phases(&found), SUCCEEDED, "{:#?}", log(&cloud, &found));
        let lines = printed(&cloud, &found, "=");
        assert_eq!(lines[0], format!("{commit} {expected} {count}"), "{branch}");
        assert_eq!(lines[1], format!("{commit} {second}"));
    }
    let absent = "0".repeat(40);
    for (commit, expected) in [(absent.as_str(), "no commit"), ("main", "no commit main")] {
        let id = start_for_pipeline(&cloud.cloud(), build(commit, "main"))
            .await
            .unwrap();
        let found = context(&ended(&cloud, &id).await, "DOWNLOAD_SOURCE");
        assert!(found.contains(expected), "{found}");
    }
    permit(&cloud, &["logs:*", "s3:*"]).await;
    let id = start_for_pipeline(&cloud.cloud(), build(&second, "main"))
        .await
        .unwrap();
    let found = context(&ended(&cloud, &id).await, "DOWNLOAD_SOURCE");
    assert!(found.contains("codecommit:GitPull"), "{found}");
}

#[tokio::test]
async fn an_action_overrides_the_buildspec_of_the_project() {
    let cloud = with_bucket().await;
    let files = [
        ("buildspec.yml", "version: 0.2\nphases: {}\n"),
        ("other.yml", OTHER),
    ];
    put(&cloud, "p/source", &zip(&files));
    let mut input = project("app", "");
    input["source"] = json!({"type": "CODEPIPELINE"});
    input["artifacts"] = json!({"type": "CODEPIPELINE"});
    create(&cloud, input).await;
    for (buildspec, expected) in [
        (None, Vec::new()),
        (Some("other.yml"), vec!["other"]),
        (Some(INLINE), vec!["inline"]),
    ] {
        let build = PipelineBuild {
            project: "app".to_owned(),
            pipeline: "line".to_owned(),
            execution: "e-1".to_owned(),
            inputs: vec![artifact("Source", "p/source")],
            primary: None,
            revision: None,
            outputs: Vec::new(),
            buildspec: buildspec.map(str::to_owned),
            variables: Vec::new(),
            encryption_key: None,
            token: None,
        };
        let id = start_for_pipeline(&cloud.cloud(), build).await.unwrap();
        let found = ended(&cloud, &id).await;
        assert_eq!(phases(&found), SUCCEEDED, "{:#?}", log(&cloud, &found));
        assert_eq!(printed(&cloud, &found, "="), expected);
    }
}

const OTHER: &str = "version: 0.2\nphases: {build: {commands: ['echo =other']}}\n";
const INLINE: &str = "version: 0.2\nphases: {build: {commands: ['echo =inline']}}\n";
