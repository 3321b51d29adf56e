//! Looking at images, and which one a branch works with, against the local cloud.

use serde_json::{Value, json};

use crate::image::{commit, git, project, push};
use crate::promote;
use crate::sandbox::{Run, Sandbox};

/// A pipeline that takes an image and ends at once.
const PIPELINE: &str = r#"{
  "Version": "2020-12-01",
  "Parameters": [{"Name": "ImageUri", "Type": "String"}],
  "Steps": [{"Name": "End", "Type": "Fail", "Arguments": {"ErrorMessage": "the end"}}]
}
"#;

fn image(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    let first = ["--local", "--output", "json", "image"];
    sandbox.mlops(first.iter().chain(arguments))
}

fn train(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    let first = ["--local", "--output", "json", "train", "--detach"];
    sandbox.mlops(first.iter().chain(arguments))
}

/// Pushes an image with another program; its digest.
fn push_another(sandbox: &Sandbox, text: &str) -> String {
    sandbox.write("image/program/version.py", text);
    commit(sandbox);
    push(sandbox, &[])["digest"].as_str().unwrap().to_owned()
}

/// The image of that digest in a list.
fn entry<'a>(listed: &'a Value, digest: &str) -> &'a Value {
    let mut images = listed["images"].as_array().unwrap().iter();
    images.find(|image| image["digest"] == digest).unwrap()
}

#[test]
fn a_branch_has_its_pin_until_it_follows_again() {
    let sandbox = project();
    sandbox.write("pipeline.json", PIPELINE);
    let old = push_another(&sandbox, "V = 1\n");
    let new = push_another(&sandbox, "V = 2\n");
    let run = train(&sandbox, &[]).success().json();
    assert_eq!(run["image"], new.as_str(), "{run}");
    assert_eq!(run["image_why"], "newest from develop");

    git(&sandbox, &["switch", "--quiet", "--create", "feature/x"]);
    let none = train(&sandbox, &[]).code(1);
    for part in [
        "no image was pushed from `feature/x`",
        "image push",
        "image pin REF",
    ] {
        assert!(none.stderr.contains(part), "{part}: {}", none.stderr);
    }

    // A pin counts once it is committed, or for a look at the working tree.
    let toml = std::fs::read(sandbox.path().join("mlops.toml")).unwrap();
    let pinned = image(&sandbox, &["pin", &old[7..15]]).success().json();
    assert_eq!(pinned["digest"], old.as_str(), "{pinned}");
    assert_eq!(
        (&pinned["changed"], &pinned["committed"]),
        (&json!(true), &json!(false))
    );
    let _ = train(&sandbox, &[]).code(1);
    let run = train(&sandbox, &["--working-tree"]).success().json();
    assert_eq!(run["image"], old.as_str(), "{run}");
    let pinned = image(&sandbox, &["pin", &old, "--commit"]).success().json();
    assert_eq!(
        (&pinned["changed"], &pinned["committed"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(git(&sandbox, &["status", "--porcelain"]), "");
    let run = train(&sandbox, &[]).success().json();
    assert_eq!(run["image"], old.as_str(), "{run}");
    assert_eq!(run["image_why"], "pinned in feature/x");
    assert_eq!(
        std::fs::read(sandbox.path().join("mlops.toml")).unwrap(),
        toml
    );

    // The branch that is asked for counts, not the one that is checked out.
    let run = train(&sandbox, &["--branch", "develop"]).success().json();
    assert_eq!(run["image"], new.as_str(), "{run}");

    let shown = image(&sandbox, &["show"]).success().json();
    assert_eq!(shown["digest"], old.as_str(), "{shown}");
    assert_eq!(shown["why"], "pinned in feature/x");
    let listed = image(&sandbox, &["list"]).success().json();
    assert_eq!(
        entry(&listed, &old)["used_by"]["pins"],
        json!(["feature/x"])
    );
    assert_eq!(entry(&listed, &new)["used_by"]["pins"], json!([]));
    assert_eq!(
        entry(&listed, &new)["used_by"]["branches"],
        json!(["develop"])
    );

    // A merge does not pin the branch that it comes to.
    git(&sandbox, &["switch", "--quiet", "develop"]);
    git(&sandbox, &["merge", "--quiet", "feature/x"]);
    let run = train(&sandbox, &[]).success().json();
    assert_eq!(run["image_why"], "newest from develop", "{run}");

    git(&sandbox, &["switch", "--quiet", "feature/x"]);
    let followed = image(&sandbox, &["use", "newest", "--commit"])
        .success()
        .json();
    assert_eq!(followed["digest"], Value::Null);
    assert_eq!(
        (&followed["changed"], &followed["committed"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(git(&sandbox, &["status", "--porcelain"]), "");
    let _ = train(&sandbox, &[]).code(1);
    let again = image(&sandbox, &["use", "newest", "--commit"])
        .success()
        .json();
    assert_eq!(again["changed"], false);
}

#[test]
fn pins_that_say_nothing_are_refused() {
    let sandbox = project();
    sandbox.write("pipeline.json", PIPELINE);
    let digest = push_another(&sandbox, "V = 1\n");
    for bad in ["none", "abc", "sha256:0000"] {
        let refused = image(&sandbox, &["pin", bad]).code(2);
        assert!(
            refused.stderr.contains(&format!("no image `{bad}`")),
            "{}",
            refused.stderr
        );
    }
    assert!(!sandbox.path().join("image.pin.toml").exists());

    // Another's digest: it is not in the repository.
    let _ = image(&sandbox, &["pin", "develop", "--commit"]).success();
    let path = sandbox.path().join("image.pin.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let gone = format!("sha256:{}", "0".repeat(64));
    std::fs::write(&path, text.replace(&digest, &gone)).unwrap();
    commit(&sandbox);
    let refused = train(&sandbox, &[]).code(1);
    assert!(refused.stderr.contains(&gone), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("image use newest"),
        "{}",
        refused.stderr
    );

    // No pin at all: refused before anything remote.
    std::fs::write(&path, "digest = 1\n").unwrap();
    commit(&sandbox);
    let refused = train(&sandbox, &[]).code(2);
    assert!(
        refused.stderr.contains("image.pin.toml"),
        "{}",
        refused.stderr
    );

    git(&sandbox, &["switch", "--quiet", "--detach"]);
    let refused = image(&sandbox, &["pin", "develop"]).code(2);
    assert!(refused.stderr.contains("no branch"), "{}", refused.stderr);
}

#[test]
fn an_image_shows_what_it_is_made_of() {
    let sandbox = project();
    let digest = push_another(&sandbox, "V = 1\n");
    let head = git(&sandbox, &["rev-parse", "HEAD"]);
    let shown = image(&sandbox, &["show", "develop"]).success().json();
    assert_eq!(shown["digest"], digest.as_str());
    assert_eq!(shown["commit"], head.as_str());
    assert_eq!(shown["why"], Value::Null);
    let platform = &shown["platforms"][0];
    assert_eq!(platform["digest"], digest.as_str());
    assert_eq!(platform["platform"], format!("linux/{}", architecture()));
    let layers = platform["layers"].as_array().unwrap();
    assert!(!layers.is_empty() && layers.iter().all(|layer| layer["size"].as_u64() > Some(0)));
    assert!(platform["labels"].is_object());
    for reference in [&digest, &digest[7..13], &head] {
        let again = image(&sandbox, &["show", reference]).success().json();
        assert_eq!(again["digest"], digest.as_str());
    }
    let people = sandbox
        .mlops(["--local", "image", "show", "develop"])
        .success();
    for part in [
        digest.as_str(),
        "platform",
        "branch develop",
        "LAYER",
        "scan       none",
    ] {
        assert!(people.stdout.contains(part), "{part}: {}", people.stdout);
    }
    let people = sandbox.mlops(["--local", "image", "list"]).success();
    assert!(people.stdout.contains(&head[..7]), "{}", people.stdout);
    assert!(
        people.stdout.lines().all(|line| line.chars().count() <= 80),
        "{}",
        people.stdout
    );
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}

#[test]
fn production_has_what_was_promoted() {
    let sandbox = promote::project();
    git(&sandbox, &["branch", "main"]);
    let nothing = train(&sandbox, &["--branch", "main"]).code(1);
    assert!(
        nothing.stderr.contains("nothing was yet"),
        "{}",
        nothing.stderr
    );

    let listed = image(&sandbox, &["list"]).success().json();
    let promoted = listed["images"][0]["digest"].as_str().unwrap().to_owned();
    let _ = sandbox.mlops(["--local", "train"]).success();
    let _ = promote::promote(&sandbox, "1").success();
    let newer = push_another(&sandbox, "V = 2\n");
    let run = train(&sandbox, &["--branch", "main"]).success().json();
    assert_eq!(run["image"], promoted.as_str(), "{run}");
    assert_eq!(run["image_why"], "promoted as version 1");
    let run = train(&sandbox, &[]).success().json();
    assert_eq!(run["image"], newer.as_str(), "{run}");

    let listed = image(&sandbox, &["list"]).success().json();
    let used = &entry(&listed, &promoted)["used_by"];
    let models = used["models"].as_array().unwrap();
    let first = json!({"version": 1, "status": "Approved"});
    assert!(models.contains(&first), "{used}");
    assert_eq!(used["endpoints"], json!(["tiny"]), "{used}");
    assert_eq!(entry(&listed, &newer)["used_by"]["endpoints"], json!([]));
    let people = sandbox.mlops(["--local", "image", "list"]).success();
    assert!(people.stdout.contains("v1"), "{}", people.stdout);
}
