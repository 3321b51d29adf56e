//! `mlops image` against the local cloud.

use crate::sandbox::Sandbox;

/// Creates a project on the branch `develop`, with the architecture in a local cloud.
pub(crate) fn project() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox
        .mlops(["--local", "init", "--name", "flights", "--yes"])
        .success();
    git(
        &sandbox,
        &["switch", "--quiet", "--force-create", "develop"],
    );
    commit(&sandbox);
    sandbox
}

pub(crate) fn git(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=A", "-c", "user.email=a@example.com"];
    let arguments: Vec<&str> = identity.iter().chain(arguments).copied().collect();
    let run = sandbox.program("", "git", &arguments).success();
    run.stdout.trim().to_owned()
}

pub(crate) fn commit(sandbox: &Sandbox) {
    git(sandbox, &["add", "--all"]);
    git(
        sandbox,
        &["commit", "--quiet", "--allow-empty", "--message", "x"],
    );
}

pub(crate) fn push(sandbox: &Sandbox, more: &[&str]) -> serde_json::Value {
    let arguments = ["--local", "--output", "json", "image", "push"];
    sandbox.mlops(arguments.iter().chain(more)).success().json()
}

#[test]
fn an_image_is_pushed_once() {
    let sandbox = project();
    let head = git(&sandbox, &["rev-parse", "HEAD"]);
    let first = push(&sandbox, &[]);
    assert_eq!(first["tags"], serde_json::json!([head, "develop"]));
    assert_eq!(first["base"], "none");
    assert_eq!(first["dirty"], false);
    assert!(first["sent"].as_u64().unwrap() > 0, "{first}");
    let image = first["image"].as_str().unwrap();
    assert!(image.ends_with(&format!("/flights@{}", first["digest"].as_str().unwrap())));

    let again = push(&sandbox, &[]);
    assert_eq!(again["digest"], first["digest"]);
    assert_eq!(again["sent"], 0, "{again}");

    git(&sandbox, &["switch", "--quiet", "--create", "feature/x"]);
    std::fs::write(sandbox.path().join("image/program/new.py"), "X = 1\n").unwrap();
    commit(&sandbox);
    let feature = push(&sandbox, &[]);
    assert_eq!(feature["tags"][1], "feature-x");
    assert_ne!(feature["digest"], first["digest"]);

    let listed = sandbox
        .mlops(["--local", "--output", "json", "image", "list"])
        .success()
        .json();
    let digests: Vec<_> = listed["images"]
        .as_array()
        .unwrap()
        .iter()
        // `init` has pushed the analyzer's image.
        .filter(|image| !image["tags"].to_string().contains("analyzer-"))
        .map(|image| &image["digest"])
        .collect();
    assert_eq!(digests, [&feature["digest"], &first["digest"]]);
    let people = sandbox.mlops(["--local", "image", "list"]).success();
    assert!(people.stdout.contains("feature-x"), "{}", people.stdout);
}

#[test]
fn uncommitted_files_get_no_commits_tag() {
    let sandbox = project();
    sandbox.write("image/program/train", "#!/usr/bin/env python3\nprint(1)\n");
    let refused = sandbox.mlops(["--local", "image", "push"]).code(1);
    assert!(
        refused.stderr.contains("not committed"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("--allow-dirty"),
        "{}",
        refused.stderr
    );
    let pushed = push(&sandbox, &["--allow-dirty"]);
    assert_eq!(pushed["dirty"], true);
    assert_eq!(pushed["tags"], serde_json::json!(["develop"]));
}

#[test]
fn a_commits_image_is_pushed_once() {
    let sandbox = project();
    let first = push(&sandbox, &[]);
    // The same commit, but a different image: a layout with an image without files.
    let layout = sandbox.path().join("layout");
    let blobs = layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let write = |bytes: &[u8]| {
        use sha2::Digest;
        let digest = hex::encode(sha2::Sha256::digest(bytes));
        std::fs::write(blobs.join(&digest), bytes).unwrap();
        digest
    };
    let config = write(b"{}");
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{config}","size":2}},"layers":[]}}"#
    );
    let digest = write(manifest.as_bytes());
    let size = manifest.len();
    sandbox.write("layout/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    sandbox.write(
        "layout/index.json",
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{digest}","size":{size}}}]}}"#
        ),
    );
    let refused = sandbox
        .mlops(["--local", "image", "push", "layout"])
        .code(1);
    assert!(refused.stderr.contains("TAG_INVALID"), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("pushed only once"),
        "{}",
        refused.stderr
    );

    // The commit's tag could move but the branch's cannot, so neither is moved.
    let commit = first["tags"][0].as_str().unwrap();
    let status = sandbox.mlops(["local", "status", "--output", "json"]);
    let endpoint = status.success().json()["endpoint"].clone();
    let filter =
        serde_json::json!({"filterType": "WILDCARD", "filter": format!("{}*", &commit[..8])});
    let input = serde_json::json!({
        "repositoryName": first["repository"],
        "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": [filter],
    });
    let operation = "PutImageTagMutability";
    crate::faulty_registry::ecr(endpoint.as_str().unwrap(), operation, &input.to_string());
    let push = ["--local", "image", "push", "layout"];
    let refused = sandbox.mlops(push).code(1);
    assert!(refused.stderr.contains("develop"), "{}", refused.stderr);
    let list = ["--local", "--output", "json", "image", "list"];
    let listed = sandbox.mlops(list).success().json();
    let images = listed["images"].as_array().unwrap();
    let tagged = |tag: &str| {
        let has =
            |image: &&serde_json::Value| image["tags"].as_array().unwrap().contains(&tag.into());
        images.iter().find(has).map(|image| image["digest"].clone())
    };
    assert_eq!(tagged(commit), Some(first["digest"].clone()));
    assert_eq!(tagged("develop"), Some(first["digest"].clone()));
}

#[test]
fn a_missing_project_or_repository_is_reported() {
    let sandbox = Sandbox::new();
    let none = sandbox.mlops(["--local", "image", "push"]).code(2);
    assert!(none.stderr.contains("mlops.toml"), "{}", none.stderr);
    sandbox.write(
        "mlops.toml",
        "name = \"flights\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n",
    );
    let none = sandbox.mlops(["--local", "image", "push"]).code(2);
    assert!(
        none.stderr.contains("not in a git repository"),
        "{}",
        none.stderr
    );
    git(&sandbox, &["init", "--quiet", "--initial-branch=develop"]);
    let none = sandbox.mlops(["--local", "image", "push"]).code(2);
    assert!(none.stderr.contains("no commit yet"), "{}", none.stderr);
    commit(&sandbox);
    let none = sandbox.mlops(["--local", "image", "push"]).code(1);
    assert!(none.stderr.contains("image/program"), "{}", none.stderr);
    sandbox.write("image/program/train", "x");
    commit(&sandbox);
    let none = sandbox.mlops(["--local", "image", "push"]).code(1);
    assert!(
        none.stderr.contains("mlops --local init"),
        "{}",
        none.stderr
    );
}
