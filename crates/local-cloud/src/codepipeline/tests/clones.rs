//! Sources that pass a reference to their commit.

use std::time::Duration;

use serde_json::json;

use super::{Fixture, build, pipeline, source};
use crate::cloud::caller::Caller;
use crate::codepipeline::records::execution;
use crate::s3::objects;

#[tokio::test]
async fn a_build_clones_what_the_source_refers_to() {
    let fixture = Fixture::new().await;
    let cloud = fixture.at.cloud();
    let spec = "{version: 0.2, env: {exported-variables: [SUBJECTS]}, phases: {build: {commands: [\
                'SUBJECTS=\"$(git log --format=%s | tr \"\\n\" \"|\")\"']}}}";
    fixture.project(spec).await;
    let mut code = source();
    code["configuration"]["OutputArtifactFormat"] = json!("CODEBUILD_CLONE_REF");
    let stages = vec![("Source", vec![code]), ("Build", vec![build()])];
    let created = fixture.call(
        "codepipeline",
        "CreatePipeline",
        json!({"pipeline": pipeline("QUEUED", stages)}),
    );
    created.await.unwrap();
    for _ in 0..1000 {
        if fixture.executions().await[0].1 != "InProgress" {
            break;
        }
        crate::clock::sleep(Duration::from_millis(20)).await;
    }
    let [(id, status)] = &fixture.executions().await[..] else {
        panic!()
    };
    let actions = fixture.actions(id).await;
    assert_eq!(status, "Succeeded", "{actions:#?}");
    let subjects = &actions[1]["output"]["outputVariables"]["SUBJECTS"];
    assert_eq!(*subjects, "Change release.json|Change template.yaml|");
    let artifact = execution(&cloud, "p", id).unwrap().artifacts["SourceArtifact"].clone();
    let reference = artifact.clone.unwrap();
    assert_eq!(
        (&*reference.repository, &*reference.branch),
        ("code", "main")
    );
    let object = objects::head(&cloud, &Caller::Root, &artifact.bucket, &artifact.key);
    assert!(object.unwrap().size < 1000);
}
