//! Users of images to remove, unknown users, and a registry whose files are damaged.

use mlops::aws::Clients;
use serde_json::json;

use crate::data;
use crate::image::{commit, git, project};
use crate::image_look::{entry, image, push_another, train};
use crate::promote;
use crate::sandbox::pause;

#[test]
fn the_image_of_a_run_in_progress_is_not_removed() {
    let sandbox = promote::project();
    sandbox.write(
        "image/program/train",
        "#!/usr/bin/env python3\nimport time\ntime.sleep(300)\n",
    );
    let used = push_another(&sandbox, "V = 1\n");
    let run = train(&sandbox, &[]).success().json()["run"].clone();
    let run = run.as_str().unwrap();
    let _newest = push_another(&sandbox, "V = 2\n");

    let refused = image(&sandbox, &["rm", &used, "--yes"]).code(3);
    let said = format!("is needed: run {run}\"");
    assert!(refused.stderr.contains(&said), "{}", refused.stderr);
    let listed = image(&sandbox, &["list"]).success().json();
    assert_eq!(entry(&listed, &used)["used_by"]["runs"], json!([run]));
    let shown = image(&sandbox, &["show", &used]).success().json();
    assert_eq!(shown["used_by"]["runs"], json!([run]));

    let _ = sandbox.mlops(["--local", "runs", "stop", run]).success();
    let shown = ["--local", "--output", "json", "runs", "show", run];
    while sandbox.mlops(shown).json()["status"] != "Stopped" {
        pause();
    }
    let _ = image(&sandbox, &["rm", &used, "--yes"]).success();
}

#[test]
fn nothing_is_removed_while_pins_are_unknown() {
    let sandbox = project();
    let free = push_another(&sandbox, "V = 1\n");
    let _newest = push_another(&sandbox, "V = 2\n");
    git(&sandbox, &["switch", "--quiet", "--create", "feature/y"]);
    sandbox.write("image.pin.toml", "digest = 1\n");
    commit(&sandbox);
    git(&sandbox, &["switch", "--quiet", "develop"]);
    let refused = image(&sandbox, &["rm", &free, "--yes"]).code(1);
    for part in ["cannot determine which images are pinned", "`feature/y`"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    // A list reports the problem and continues.
    let listed = image(&sandbox, &["list"]).success();
    assert!(listed.stderr.contains("`feature/y`"), "{}", listed.stderr);
    assert_eq!(listed.json()["users_known"], true);

    std::fs::rename(
        sandbox.path().join(".git"),
        sandbox.path().join("elsewhere"),
    )
    .unwrap();
    let refused = image(&sandbox, &["rm", &free, "--yes"]).code(1);
    assert!(
        refused.stderr.contains("not in a git repository"),
        "{}",
        refused.stderr
    );
    let listed = image(&sandbox, &["list"]).success().json();
    assert_eq!(entry(&listed, &free)["digest"], free.as_str());
}

#[test]
fn a_removal_that_is_staged_is_committed() {
    let sandbox = project();
    let _image = push_another(&sandbox, "V = 1\n");
    let _ = image(&sandbox, &["pin", "develop", "--commit"]).success();
    git(&sandbox, &["rm", "--quiet", "image.pin.toml"]);
    let followed = image(&sandbox, &["use", "newest", "--commit"]);
    assert_eq!(followed.success().json()["committed"], true);
    assert_eq!(git(&sandbox, &["status", "--porcelain"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_manifest_upload_is_stored() {
    let sandbox = project();
    let digest = push_another(&sandbox, "V = 1\n");
    let hex = &digest[7..];
    let blobs = sandbox.path().join(".mlops/local/blobs");
    let file = blobs.join(&hex[..2]).join(hex);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, vec![b'x'; bytes.len()]).unwrap();
    let clients = Clients::of_endpoint(&data::endpoint(&sandbox), "x", "y", None);
    clients
        .ecr
        .put_image()
        .repository_name("flights")
        .image_manifest(String::from_utf8(bytes.clone()).unwrap())
        .image_tag("again")
        .send()
        .await
        .unwrap();
    assert!(std::fs::read(&file).unwrap() == bytes);
}
