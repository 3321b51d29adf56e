//! `mlops image pin` and `mlops image use`, and the image that a branch uses.

use serde_json::{Value, json};

use crate::image::{git, project};
use crate::image_look::{PIPELINE, entry, image, push_another, train};
use crate::sandbox::Sandbox;

/// Pushes two images from develop, and creates the branch `feature/x`; returns the images' digests.
fn with_branch() -> (Sandbox, String, String) {
    let sandbox = project();
    sandbox.write("pipeline.json", PIPELINE);
    let old = push_another(&sandbox, "V = 1\n");
    let new = push_another(&sandbox, "V = 2\n");
    git(&sandbox, &["switch", "--quiet", "--create", "feature/x"]);
    (sandbox, old, new)
}

/// The same, with a committed pin of `feature/x` to the older image.
fn with_pin() -> (Sandbox, String, String) {
    let (sandbox, old, new) = with_branch();
    let _ = image(&sandbox, &["pin", &old, "--commit"]).success();
    (sandbox, old, new)
}

#[test]
fn a_branch_uses_the_newest_image_pushed_from_it() {
    let (sandbox, _, new) = with_branch();
    git(&sandbox, &["switch", "--quiet", "develop"]);
    let started = train(&sandbox, &[]).success();
    let said = format!("image {new} (newest from develop)");
    assert!(started.stderr.contains(&said), "{}", started.stderr);
    let run = started.json();
    assert_eq!(run["image"], new.as_str(), "{run}");
    assert_eq!(run["image_why"], "newest from develop");
    git(&sandbox, &["switch", "--quiet", "feature/x"]);
    let none = train(&sandbox, &[]).code(1);
    for part in [
        "no image was pushed from `feature/x`",
        "image push",
        "image pin REF",
    ] {
        assert!(none.stderr.contains(part), "{part}: {}", none.stderr);
    }
}

#[test]
fn a_pin_takes_effect_once_committed() {
    let (sandbox, old, new) = with_branch();
    let toml = std::fs::read(sandbox.path().join("mlops.toml")).unwrap();
    // In the working tree, it counts for `--working-tree`.
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

    // The requested branch counts, not the current one.
    let run = train(&sandbox, &["--branch", "develop"]).success().json();
    assert_eq!(run["image"], new.as_str(), "{run}");
}

#[test]
fn images_are_shown_with_their_pins() {
    let (sandbox, old, new) = with_pin();
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
}

#[test]
fn a_merge_does_not_pin_the_target_branch() {
    let (sandbox, _, _) = with_pin();
    git(&sandbox, &["switch", "--quiet", "develop"]);
    git(&sandbox, &["merge", "--quiet", "feature/x"]);
    let run = train(&sandbox, &[]).success().json();
    assert_eq!(run["image_why"], "newest from develop", "{run}");
}

#[test]
fn a_pin_is_removed() {
    let (sandbox, _, _) = with_pin();
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
