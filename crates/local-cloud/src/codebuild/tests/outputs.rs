//! Sources and outputs: S3, CodeCommit, pipelines, reports, the cache.

use std::io::{Cursor, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::*;
use crate::cloud::caller::Caller;
use crate::s3::{buckets, objects};

pub(super) fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in files {
        let options = SimpleFileOptions::default().unix_permissions(0o755);
        writer.start_file(*name, options).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The files of a zip: name and text.
fn unzipped(bytes: &[u8]) -> Vec<(String, String)> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let count = archive.len();
    let mut read = |index| {
        let mut entry = archive.by_index(index).unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (entry.name().unwrap().into_owned(), text)
    };
    (0..count).map(&mut read).collect()
}

pub(super) fn put(cloud: &TestCloud, key: &str, bytes: &[u8]) {
    let cloud = cloud.cloud();
    objects::put(&cloud, &Caller::Root, "data", key, bytes, "x").unwrap();
}

fn read(cloud: &TestCloud, key: &str) -> Vec<u8> {
    objects::read(&cloud.cloud(), &Caller::Root, "data", key).unwrap()
}

fn keys(cloud: &TestCloud, prefix: &str) -> Vec<String> {
    let found = objects::list(&cloud.cloud(), &Caller::Root, "data", prefix).unwrap();
    found.into_iter().map(|object| object.key).collect()
}

/// A cloud with a bucket.
pub(super) async fn with_bucket() -> TestCloud {
    let cloud = cloud().await;
    buckets::create(&cloud.cloud(), "data").unwrap();
    cloud
}

const BUILDSPEC: &str = r#"
version: 0.2
phases:
  build:
    commands:
      - ./run.sh
      - test -z "$CODEBUILD_SRC_DIR_more" || cat "$CODEBUILD_SRC_DIR_more/a.txt" >dist/more.txt
artifacts:
  files: ['**/*', absent.txt]
  base-directory: dist
  name: app-$WORD-$(cat dist/one.txt)
  secondary-artifacts:
    flat:
      files: [dist/**/*]
      discard-paths: yes
      exclude-paths: ['**/two.txt']
"#;

const RUN: &str = "#!/bin/sh\nmkdir -p dist/deep\nprintf 1 >dist/one.txt\nprintf 2 >dist/deep/two.txt\n\
    ln -s one.txt dist/link\necho \"=$CODEBUILD_SOURCE_REPO_URL\"\n";

#[tokio::test]
async fn a_zip_in_s3_is_built_and_its_output_uploaded() {
    let cloud = with_bucket().await;
    put(
        &cloud,
        "src.zip",
        &zip(&[("buildspec.yml", BUILDSPEC), ("run.sh", RUN)]),
    );
    put(&cloud, "folder/a.txt", b"more");
    let mut input = project("app", "");
    input["source"] = json!({"type": "S3", "location": "data/src.zip"});
    input["secondarySources"] =
        json!([{"type": "S3", "location": "data/folder/", "sourceIdentifier": "more"}]);
    input["environment"]["environmentVariables"] = json!([{"name": "WORD", "value": "w"}]);
    input["artifacts"] = json!({
        "type": "S3", "location": "data", "path": "out", "packaging": "ZIP", "overrideArtifactName": true,
    });
    input["secondaryArtifacts"] = json!([{
        "type": "S3", "location": "data", "path": "second", "namespaceType": "BUILD_ID", "name": "/",
        "artifactIdentifier": "flat",
    }]);
    let build = run(&cloud, input).await;
    assert_eq!(phases(&build), SUCCEEDED, "{:#?}", log(&cloud, &build));
    assert_eq!(printed(&cloud, &build, "="), ["s3://data/src.zip"]);
    let bytes = read(&cloud, "out/app-w-1");
    let text = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    assert_eq!(
        unzipped(&bytes),
        [
            text("deep/two.txt", "2"),
            text("more.txt", "more"),
            text("one.txt", "1")
        ]
    );
    let artifacts = &build["artifacts"];
    assert_eq!(artifacts["location"], "arn:aws:s3:::data/out/app-w-1");
    assert_eq!(artifacts["sha256sum"], hex::encode(Sha256::digest(&bytes)));
    assert_eq!(artifacts["md5sum"].as_str().unwrap().len(), 32);
    let uuid = build["id"].as_str().unwrap().split_once(':').unwrap().1;
    assert_eq!(
        keys(&cloud, "second/"),
        [
            format!("second/{uuid}/more.txt"),
            format!("second/{uuid}/one.txt")
        ]
    );
    assert_eq!(
        build["secondaryArtifacts"][0]["location"],
        format!("arn:aws:s3:::data/second/{uuid}")
    );
    let lines = log(&cloud, &build);
    assert!(
        lines.contains(&"> Skipping invalid file path absent.txt".to_owned()),
        "{lines:#?}"
    );
}

#[tokio::test]
async fn a_missing_source_or_output_fails_its_phase() {
    let cloud = with_bucket().await;
    let spec = "version: 0.2\nphases: {}\nartifacts:\n  files: [imagedefinitions.json]\n";
    let mut input = project("app", spec);
    input["artifacts"] = json!({"type": "S3", "location": "data"});
    create(&cloud, input).await;
    let build = ended(&cloud, &start(&cloud, json!({"projectName": "app"})).await).await;
    assert_eq!(
        context(&build, "UPLOAD_ARTIFACTS"),
        "CLIENT_ERROR: no matching artifact paths found"
    );
    assert_eq!(build["buildStatus"], "FAILED");
    for (source, expected) in [
        ("data/absent.zip", "CLIENT_ERROR"),
        ("absent/absent.zip", "CLIENT_ERROR"),
        (
            "data/nothing/",
            "CLIENT_ERROR: s3://data/nothing/ has no objects",
        ),
    ] {
        let input = json!({
            "projectName": "app", "sourceTypeOverride": "S3", "sourceLocationOverride": source,
            "buildspecOverride": "",
        });
        let build = ended(&cloud, &start(&cloud, input).await).await;
        let found = context(&build, "DOWNLOAD_SOURCE");
        assert!(found.starts_with(expected), "{source}: {found}");
    }
    put(&cloud, "empty.zip", &zip(&[("a", "b")]));
    let input = json!({
        "projectName": "app", "sourceTypeOverride": "S3", "sourceLocationOverride": "data/empty.zip",
        "buildspecOverride": "",
    });
    let build = ended(&cloud, &start(&cloud, input.clone()).await).await;
    let found = context(&build, "DOWNLOAD_SOURCE");
    assert!(
        found.starts_with("YAML_FILE_ERROR: stat ") && found.ends_with("no such file or directory"),
        "{found}"
    );
    permit(&cloud, &["logs:*", "s3:PutObject"]).await;
    let build = ended(&cloud, &start(&cloud, input).await).await;
    let found = context(&build, "DOWNLOAD_SOURCE");
    assert!(
        found.starts_with("ACCESS_DENIED: ") && found.contains("s3:GetObject"),
        "{found}"
    );
}

pub(super) async fn commit(
    cloud: &TestCloud,
    branch: &str,
    path: &str,
    text: &str,
    parent: Option<&str>,
) -> String {
    let mut input = json!({
        "repositoryName": "app", "branchName": branch, "filePath": path, "fileContent": STANDARD.encode(text),
    });
    if let Some(parent) = parent {
        input["parentCommitId"] = parent.into();
    }
    let answer = cloud.call("codecommit", "PutFile", input).await.unwrap();
    answer["commitId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_branch_or_a_commit_of_a_repository_is_built() {
    let cloud = cloud().await;
    let input = json!({"repositoryName": "app"});
    let created = cloud
        .call("codecommit", "CreateRepository", input)
        .await
        .unwrap();
    let url = created["repositoryMetadata"]["cloneUrlHttp"].clone();
    let spec = r#"
version: 0.2
phases:
  build:
    commands:
      - echo "=$(cat word) $(git log --oneline | wc -l) $CODEBUILD_RESOLVED_SOURCE_VERSION $CODEBUILD_SOURCE_VERSION"
      - echo "=$(git rev-parse HEAD) $(git config remote.origin.url)"
"#;
    let first = commit(&cloud, "main", "buildspec.yml", spec, None).await;
    let second = commit(&cloud, "main", "word", "one", Some(&first)).await;
    let third = commit(&cloud, "main", "word", "two", Some(&second)).await;
    let mut input = project("app", "");
    input["source"] = json!({"type": "CODECOMMIT", "location": url});
    create(&cloud, input).await;
    let url = url.as_str().unwrap();
    for (version, depth, word, commit, count) in [
        (None, None, "two", &third, 3),
        (Some("main"), Some(1), "two", &third, 1),
        (Some(second.as_str()), None, "one", &second, 2),
        (Some(second.as_str()), Some(1), "one", &second, 1),
        (Some("refs/heads/main"), None, "two", &third, 3),
    ] {
        let mut input = json!({"projectName": "app"});
        if let Some(version) = version {
            input["sourceVersion"] = version.into();
        }
        if let Some(depth) = depth {
            input["gitCloneDepthOverride"] = json!(depth);
        }
        let build = ended(&cloud, &start(&cloud, input).await).await;
        assert_eq!(
            build["buildStatus"],
            "SUCCEEDED",
            "{:#?}",
            log(&cloud, &build)
        );
        assert_eq!(build["resolvedSourceVersion"], commit.as_str());
        let shown = version.unwrap_or_default();
        let expected = format!("{word} {count} {commit} {shown}");
        let lines = printed(&cloud, &build, "=");
        assert_eq!(lines[0].trim_end(), expected.trim_end(), "{version:?}");
        assert_eq!(lines[1], format!("{commit} {url}"));
    }
    let input = json!({"projectName": "app", "sourceVersion": "absent"});
    let build = ended(&cloud, &start(&cloud, input).await).await;
    assert!(context(&build, "DOWNLOAD_SOURCE").contains("The branch absent does not exist"));
    permit(&cloud, &["logs:*"]).await;
    let build = ended(&cloud, &start(&cloud, json!({"projectName": "app"})).await).await;
    let found = context(&build, "DOWNLOAD_SOURCE");
    assert!(found.contains("codecommit:GitPull"), "{found}");
}

pub(super) fn artifact(name: &str, key: &str) -> PipelineArtifact {
    PipelineArtifact {
        name: name.to_owned(),
        bucket: "data".to_owned(),
        key: key.to_owned(),
        clone: None,
    }
}

#[tokio::test]
async fn a_pipeline_starts_a_build_with_its_artifacts() {
    let cloud = with_bucket().await;
    let spec = r#"
version: 0.2
env: {exported-variables: [OUT]}
phases:
  build:
    commands:
      - OUT="$(cat a.txt)+$(cat "$CODEBUILD_SRC_DIR_Second/b.txt")+$FROM_ACTION$STORED"
      - echo "=$CODEBUILD_INITIATOR $CODEBUILD_RESOLVED_SOURCE_VERSION"
      - printf "$OUT" >result.txt
artifacts:
  files: [result.txt]
"#;
    put(
        &cloud,
        "p/first",
        &zip(&[("buildspec.yml", spec), ("a.txt", "A")]),
    );
    put(&cloud, "p/second", &zip(&[("b.txt", "B")]));
    let mut input = project("app", "");
    input["source"] = json!({"type": "CODEPIPELINE"});
    input["artifacts"] = json!({"type": "CODEPIPELINE"});
    create(&cloud, input).await;
    let error = refused(&cloud, "StartBuild", json!({"projectName": "app"})).await;
    assert_eq!(error.code, "InvalidInputException");
    let parameter = json!({"Name": "/word", "Value": "D", "Type": "String"});
    cloud.call("ssm", "PutParameter", parameter).await.unwrap();
    let build = PipelineBuild {
        project: "app".to_owned(),
        pipeline: "line".to_owned(),
        execution: "e-1".to_owned(),
        inputs: vec![artifact("Second", "p/second"), artifact("First", "p/first")],
        primary: Some("First".to_owned()),
        revision: Some("abc".to_owned()),
        outputs: vec![artifact("Built", "p/built")],
        buildspec: None,
        variables: vec![
            (
                "FROM_ACTION".to_owned(),
                "C".to_owned(),
                VariableType::Plaintext,
            ),
            (
                "STORED".to_owned(),
                "/word".to_owned(),
                VariableType::ParameterStore,
            ),
        ],
        encryption_key: None,
        token: Some("token".to_owned()),
    };
    let id = start_for_pipeline(&cloud.cloud(), build.clone())
        .await
        .unwrap();
    let again = start_for_pipeline(&cloud.cloud(), build.clone()).await;
    assert_eq!(again.unwrap(), id);
    let found = ended(&cloud, &id).await;
    assert_eq!(phases(&found), SUCCEEDED, "{:#?}", log(&cloud, &found));
    assert_eq!(found["initiator"], "codepipeline/line");
    assert_eq!(found["sourceVersion"], "arn:aws:s3:::data/p/first");
    assert_eq!(
        found["exportedEnvironmentVariables"],
        json!([{"name": "OUT", "value": "A+B+CD"}])
    );
    assert_eq!(printed(&cloud, &found, "="), ["codepipeline/line abc"]);
    assert_eq!(
        unzipped(&read(&cloud, "p/built")),
        [("result.txt".to_owned(), "A+B+CD".to_owned())]
    );
    assert_eq!(found["artifacts"]["location"], "arn:aws:s3:::data/p/built");
    let several = PipelineBuild {
        outputs: vec![artifact("One", "p/1"), artifact("Two", "p/2")],
        token: None,
        ..build.clone()
    };
    let id = start_for_pipeline(&cloud.cloud(), several).await.unwrap();
    let found = context(&ended(&cloud, &id).await, "UPLOAD_ARTIFACTS");
    assert!(
        found.contains("no definition for secondary artifact One"),
        "{found}"
    );
    let absent = PipelineBuild {
        project: "absent".to_owned(),
        ..build.clone()
    };
    let error = start_for_pipeline(&cloud.cloud(), absent)
        .await
        .unwrap_err();
    assert_eq!(error.code, "ResourceNotFoundException");
    // The role of the pipeline needs codebuild:StartBuild.
    let session = crate::sts::for_service(&cloud.cloud(), ROLE, "line", PRINCIPAL).unwrap();
    let (role, handle) = (session.caller(), cloud.cloud());
    let error = role
        .scope(start_for_pipeline(&handle, build))
        .await
        .unwrap_err();
    assert!(error.message.contains("codebuild:StartBuild"), "{error}");
    create(&cloud, project("plain", "version: 0.2\nphases: {}\n")).await;
}

#[tokio::test]
async fn reports_of_junit_files_are_stored() {
    let cloud = cloud().await;
    let spec = r#"
version: 0.2
phases:
  build:
    commands:
      - mkdir -p out
      - |
        cat >out/unit.xml <<'END'
        <testsuite name="s"><testcase classname="c" name="good" time="0.5"/>
        <testcase name="bad"><failure message="no"/></testcase></testsuite>
        END
      - echo nonsense >out/broken.xml
reports:
  unit:
    files: [unit.xml]
    base-directory: out
  broken:
    files: ['**/broken.xml']
  none:
    files: [absent.xml]
"#;
    let build = run(&cloud, project("app", spec)).await;
    assert_eq!(
        build["buildStatus"],
        "SUCCEEDED",
        "{:#?}",
        log(&cloud, &build)
    );
    let arns = build["reportArns"].as_array().unwrap().clone();
    assert_eq!(arns.len(), 2);
    let found = cloud
        .call("codebuild", "BatchGetReports", json!({"reportArns": arns}))
        .await
        .unwrap();
    let report = &found["reports"][0];
    assert_eq!(report["status"], "FAILED");
    assert_eq!(report["executionId"], build["arn"]);
    assert_eq!(report["testSummary"]["total"], 2);
    assert_eq!(report["testSummary"]["statusCounts"]["FAILED"], 1);
    assert_eq!(report["testSummary"]["durationInNanoSeconds"], 500_000_000);
    assert_eq!(found["reports"][1]["status"], "INCOMPLETE");
    let group = json!({"reportGroupArns": [report["reportGroupArn"]]});
    let groups = cloud
        .call("codebuild", "BatchGetReportGroups", group)
        .await
        .unwrap();
    assert_eq!(groups["reportGroups"][0]["name"], "app-unit");
    let list = json!({"reportGroupArn": report["reportGroupArn"]});
    let listed = cloud
        .call("codebuild", "ListReportsForReportGroup", list.clone())
        .await
        .unwrap();
    assert_eq!(listed["reports"], json!([arns[0]]));
    let tests = json!({"reportArn": arns[0], "filter": {"status": "FAILED"}});
    let tests = cloud
        .call("codebuild", "DescribeTestCases", tests)
        .await
        .unwrap();
    assert_eq!(tests["testCases"][0]["name"], "bad");
    assert_eq!(tests["testCases"][0]["testRawDataPath"], "unit.xml");
    assert_eq!(tests["testCases"].as_array().unwrap().len(), 1);
    let all = cloud
        .call("codebuild", "ListReportGroups", json!({}))
        .await
        .unwrap();
    assert_eq!(all["reportGroups"].as_array().unwrap().len(), 2);
    let delete = json!({"arn": report["reportGroupArn"]});
    let error = refused(&cloud, "DeleteReportGroup", delete.clone()).await;
    assert_eq!(error.code, "InvalidInputException");
    let delete = json!({"arn": delete["arn"], "deleteReports": true});
    cloud
        .call("codebuild", "DeleteReportGroup", delete)
        .await
        .unwrap();
    let error = refused(&cloud, "ListReportsForReportGroup", list).await;
    assert_eq!(error.code, "ResourceNotFoundException");
    permit(&cloud, &["logs:*"]).await;
    let build = ended(&cloud, &start(&cloud, json!({"projectName": "app"})).await).await;
    let found = context(&build, "UPLOAD_ARTIFACTS");
    assert!(found.contains("codebuild:CreateReportGroup"), "{found}");
}

#[tokio::test]
async fn the_local_cache_is_restored() {
    let cloud = cloud().await;
    let spec = r#"
version: 0.2
phases:
  build:
    commands:
      - echo "=$(cat ~/.cache/tool/file 2>/dev/null || echo none) $(cat deps/a 2>/dev/null || echo none)"
      - mkdir -p ~/.cache/tool deps
      - echo "$CODEBUILD_BUILD_NUMBER" >~/.cache/tool/file
      - echo dep >deps/a
cache:
  paths:
    - '/root/.cache/**/*'
    - deps/**/*
"#;
    let mut input = project("app", spec);
    input["cache"] = json!({"type": "LOCAL", "modes": ["LOCAL_CUSTOM_CACHE"]});
    create(&cloud, input).await;
    let mut found = Vec::new();
    for _ in 0..3 {
        let build = ended(&cloud, &start(&cloud, json!({"projectName": "app"})).await).await;
        assert_eq!(
            build["buildStatus"],
            "SUCCEEDED",
            "{:#?}",
            log(&cloud, &build)
        );
        found.extend(printed(&cloud, &build, "="));
    }
    assert_eq!(found, ["none none", "1 dep", "2 dep"]);
    let without = json!({"projectName": "app", "cacheOverride": {"type": "NO_CACHE"}});
    let build = ended(&cloud, &start(&cloud, without).await).await;
    assert_eq!(printed(&cloud, &build, "="), ["none none"]);
    cloud
        .call("codebuild", "DeleteProject", json!({"name": "app"}))
        .await
        .unwrap();
    assert_eq!(
        std::fs::read_dir(cloud.path().join("build-caches"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn artifacts_are_encrypted_with_the_key_of_the_project() {
    let cloud = with_bucket().await;
    let key = cloud.call("kms", "CreateKey", json!({})).await.unwrap();
    let arn = key["KeyMetadata"]["Arn"].clone();
    let spec =
        "version: 0.2\nphases:\n  build:\n    commands: [echo x >a]\nartifacts: {files: [a]}\n";
    let mut input = project("app", spec);
    input["artifacts"] = json!({"type": "S3", "location": "data", "name": "n"});
    input["encryptionKey"] = arn.clone();
    let build = run(&cloud, input).await;
    // The role may not use the key.
    let found = context(&build, "UPLOAD_ARTIFACTS");
    assert!(
        found.starts_with("ACCESS_DENIED: ") && found.contains("kms:GenerateDataKey"),
        "{found}"
    );
    permit(&cloud, &["logs:*", "s3:*", "kms:*"]).await;
    let build = ended(&cloud, &start(&cloud, json!({"projectName": "app"})).await).await;
    assert_eq!(build["buildStatus"], "SUCCEEDED", "{build:#}");
    assert_eq!(keys(&cloud, ""), ["n/a"]);
}
