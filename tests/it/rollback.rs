//! `mlops rollback`: returns to an earlier release, whatever happened to its version since.

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::ImageIdentifier;
use serde_json::Value;

use crate::promote::{project, promote, train};
use crate::promote_twice::{Point, hold};
use crate::repositories::wait_until;
use crate::sandbox::{Run, Sandbox};
use crate::sdk::Sdk;

fn rollback(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    let words = ["--local", "rollback"].iter().chain(arguments);
    sandbox.mlops(words.chain(&["--output", "json"]))
}

/// Returns each release's outcome, newest first.
fn outcomes(sandbox: &Sandbox) -> Vec<String> {
    let list = sandbox.mlops(["--local", "releases", "list", "--output", "json"]);
    let list = list.success().json();
    let releases = list["releases"].as_array().unwrap().iter();
    releases
        .map(|release| release["outcome"].as_str().unwrap().to_owned())
        .collect()
}

fn status(sandbox: &Sandbox) -> Value {
    let status = sandbox.mlops(["--local", "status", "--output", "json"]);
    status.success().json()
}

/// Creates a project with two versions, both promoted.
fn two_releases() -> Sandbox {
    let sandbox = project();
    for (version, answer) in [("1", "one"), ("2", "two")] {
        let _ = train(&sandbox, &[&format!("Answer={answer}")]);
        let _ = promote(&sandbox, version).success();
    }
    sandbox
}

#[test]
fn a_release_is_rolled_back_whatever_happened_to_its_version() {
    let sandbox = two_releases();
    let back = rollback(&sandbox, &["--note", "wrong answers"])
        .success()
        .json();
    assert_eq!(back["version"], 1, "{back}");
    assert_eq!(back["release"], 3, "{back}");
    assert_eq!(back["restores"], 1, "{back}");
    assert_eq!(back["rolled_back"], 2, "{back}");
    assert_eq!(back["from_package"], true, "{back}");
    assert_eq!(back["sample"]["answer"], "one", "{back}");
    assert_eq!(outcomes(&sandbox), ["live", "rolled-back", "replaced"]);
    assert_eq!(status(&sandbox)["live"], 1);

    // Nothing suggests the version that was rolled back.
    let next = status(&sandbox)["next"].as_str().unwrap().to_owned();
    assert!(!next.contains("promote"), "{next}");
    let nothing = sandbox.mlops(["--local", "promote"]).code(1);
    assert!(
        nothing.stderr.contains("2 (release 2 was rolled back)"),
        "{}",
        nothing.stderr
    );
    assert!(!nothing.stderr.contains("promote 2"), "{}", nothing.stderr);

    // A version that was rejected since is deployed from its image, after a question.
    let reject = ["--local", "models", "reject", "2"];
    let _ = sandbox.mlops(reject).success();
    let unasked = rollback(&sandbox, &["--to", "2"]).code(2);
    assert!(
        unasked.stderr.contains("is Rejected in the registry"),
        "{}",
        unasked.stderr
    );
    assert_eq!(outcomes(&sandbox).len(), 3, "nothing was changed");
    let again = rollback(&sandbox, &["--to", "2", "--yes"]).success().json();
    assert_eq!(again["from_package"], false, "{again}");
    assert_eq!(again["sample"]["answer"], "two", "{again}");
    assert_eq!(status(&sandbox)["live"], 2);
    let verified = sandbox.mlops(["--local", "releases", "verify"]);
    let _ = verified.success();

    // Without its image, a release is refused before anything is changed.
    let show = sandbox.mlops(["--local", "releases", "show", "1", "--output", "json"]);
    let digest = show.success().json()["manifest"]["image"]["digest"].clone();
    let digest = digest.as_str().unwrap().to_owned();
    delete_image(&sandbox, &digest);
    let gone = rollback(&sandbox, &["--to", "1", "--yes"]).code(1);
    assert!(
        gone.stderr.contains(&digest) && gone.stderr.contains("nothing was changed"),
        "{}",
        gone.stderr
    );
    assert_eq!(outcomes(&sandbox).len(), 4);
    let verified = sandbox.mlops(["--local", "releases", "verify"]).code(3);
    assert!(
        verified.stdout.contains("was deleted from small"),
        "{}",
        verified.stdout
    );
}

#[test]
fn a_rollback_that_was_killed_is_completed_by_the_same_command() {
    let sandbox = two_releases();
    let (mut killed, _holding) = hold(&sandbox, &["rollback"], Point::After("ExecuteChangeSet"));
    killed.kill().unwrap();
    killed.wait().unwrap();
    // Nothing suggests the version that is being rolled back.
    wait_until("version 1 is live", || status(&sandbox)["live"] == 1);
    let next = status(&sandbox)["next"].as_str().unwrap().to_owned();
    assert!(!next.contains("promote"), "{next}");
    let nothing = sandbox.mlops(["--local", "promote", "--yes"]).code(1);
    assert!(
        nothing.stderr.contains("2 (release 2 was rolled back)"),
        "{}",
        nothing.stderr
    );
    let back = rollback(&sandbox, &["--yes"]).success().json();
    assert_eq!(back["release"], 3, "{back}");
    assert_eq!(back["restores"], 1, "{back}");
    assert_eq!(outcomes(&sandbox), ["live", "rolled-back", "replaced"]);
}

/// Deletes an image, as another client.
fn delete_image(sandbox: &Sandbox, digest: &str) {
    let sdk = Sdk::of(sandbox);
    let delete = Client::new(&sdk.config)
        .batch_delete_image()
        .repository_name("small")
        .image_ids(ImageIdentifier::builder().image_digest(digest).build())
        .send();
    let deleted = sdk.wait(delete).unwrap();
    assert!(deleted.failures().is_empty(), "{deleted:?}");
}
