//! `mlops image build`: the contents of an image, and its reproducibility.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::sandbox::Sandbox;

/// Prints the origin of its package, and runs the package's program.
const TRAIN: &str = r#"#!/usr/bin/env python3
import os, pathlib, subprocess, small
base = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
told = subprocess.run(["small-tool"], capture_output=True, text=True, check=True).stdout
(base / "output/failure").write_text(f"{small.__file__} {told}")
assert small.__file__.endswith("/mlops/python/small/__init__.py")
assert told == "a small tool\n"
(base / "model/weights.txt").write_text("1.0")
"#;

const PIPELINE: &str = r#"{
  "Version": "2020-12-01",
  "Parameters": [
    {"Name": "ImageUri", "Type": "String"},
    {"Name": "RoleArn", "Type": "String"},
    {"Name": "ArtifactBucket", "Type": "String"}
  ],
  "Steps": [
    {"Name": "Train", "Type": "Training", "Arguments": {
      "AlgorithmSpecification": {"TrainingImage": {"Get": "Parameters.ImageUri"}, "TrainingInputMode": "File"},
      "RoleArn": {"Get": "Parameters.RoleArn"},
      "OutputDataConfig": {"S3OutputPath": {"Std:Join": {"On": "", "Values": ["s3://", {"Get": "Parameters.ArtifactBucket"}, "/models"]}}},
      "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
      "StoppingCondition": {"MaxRuntimeInSeconds": 600}}}
  ]
}
"#;

/// Returns a wheel of a package `small` with a program; the bytes are always the same.
fn wheel() -> Vec<u8> {
    let options = zip::write::SimpleFileOptions::default()
        .last_modified_time(zip::DateTime::default())
        .compression_method(zip::CompressionMethod::Stored);
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let info = "small-1.0.dist-info";
    for (name, text) in [
        (
            "small/__init__.py".to_owned(),
            "def tool():\n    print(\"a small tool\")\n",
        ),
        (
            format!("{info}/METADATA"),
            "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n",
        ),
        (
            format!("{info}/WHEEL"),
            "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        ),
        (
            format!("{info}/entry_points.txt"),
            "[console_scripts]\nsmall-tool = small:tool\n",
        ),
        (
            format!("{info}/RECORD"),
            "small/__init__.py,,\nsmall-1.0.dist-info/METADATA,,\nsmall-1.0.dist-info/WHEEL,,\nsmall-1.0.dist-info/entry_points.txt,,\nsmall-1.0.dist-info/RECORD,,\n",
        ),
    ] {
        archive.start_file(name, options).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// Creates a project whose packages are next to its requirements.txt, with a separate cache.
fn project() -> Sandbox {
    let mut sandbox = Sandbox::new();
    let cache = sandbox.home().join("cache");
    sandbox
        .set("MLOPS_CACHE_DIR", cache.to_str().unwrap())
        .set("GIT_AUTHOR_DATE", "2026-01-02T03:04:05Z")
        .set("GIT_COMMITTER_DATE", "2026-01-02T03:04:05Z");
    sandbox.write(
        "mlops.toml",
        "name = \"small\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n[image]\nbuilder = \"layers\"\n",
    );
    sandbox.write(".gitignore", ".mlops/\n");
    sandbox.write("pipeline.json", PIPELINE);
    sandbox.write("image/program/train", TRAIN);
    executable(&sandbox.path().join("image/program/train"));
    sandbox.write("image/wheels/small-1.0-py3-none-any.whl", wheel());
    requirements(&sandbox, true);
    git(&sandbox, &["init", "--quiet", "--initial-branch=develop"]);
    commit(&sandbox);
    sandbox
}

fn requirements(sandbox: &Sandbox, hashed: bool) {
    let hash = if hashed {
        format!(" --hash=sha256:{}", hex::encode(Sha256::digest(wheel())))
    } else {
        String::new()
    };
    sandbox.write(
        "image/requirements.txt",
        format!("--no-index\n--find-links wheels\nsmall==1.0{hash}\n"),
    );
}

fn executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;

    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn git(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=A", "-c", "user.email=a@example.com"];
    let arguments: Vec<&str> = identity.iter().chain(arguments).copied().collect();
    let run = sandbox.program("", "git", &arguments).success();
    run.stdout.trim().to_owned()
}

fn commit(sandbox: &Sandbox) {
    git(sandbox, &["add", "--all"]);
    git(
        sandbox,
        &["commit", "--quiet", "--allow-empty", "--message", "x"],
    );
}

fn build(sandbox: &Sandbox, more: &[&str]) -> Value {
    let arguments = ["--output", "json", "image", "build"];
    sandbox.mlops(arguments.iter().chain(more)).success().json()
}

/// Returns the manifest of a layout directory, and its image's configuration.
fn layout(directory: &Path) -> (Value, Value) {
    let read = |path: std::path::PathBuf| -> Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let blob = |digest: &Value| {
        let hex = digest.as_str().unwrap().trim_start_matches("sha256:");
        read(directory.join("blobs/sha256").join(hex))
    };
    let index = read(directory.join("index.json"));
    let manifest = blob(&index["manifests"][0]["digest"]);
    let config = blob(&manifest["config"]["digest"]);
    (manifest, config)
}

fn layers(directory: &Path) -> Vec<Value> {
    let (manifest, _) = layout(directory);
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["digest"].clone()).collect()
}

#[test]
fn the_same_inputs_give_the_same_image_anywhere() {
    let (one, other) = (project(), project());
    // A different directory, another day, and a module compiled by Python.
    for file in ["image/program/train", "image/requirements.txt"] {
        let file = std::fs::File::options()
            .append(true)
            .open(other.path().join(file))
            .unwrap();
        let later = std::time::SystemTime::now() + std::time::Duration::from_hours(24);
        file.set_modified(later).unwrap();
    }
    other.write("image/program/__pycache__/x.pyc", "x");
    other.write(".gitignore", ".mlops/\n");
    let here = build(&one, &["--into", "here"]);
    assert_eq!(here["reproducible"], false, "which Python? {here}");
    let first = build(&one, &["--python", "3.12"]);
    assert_eq!(first["reproducible"], true, "{first}");
    assert_eq!(first["packages"], 1);
    assert_eq!(first["cached"], false);
    assert_eq!(first["base"], "scratch");
    let label = git(&one, &["rev-parse", "HEAD"]);
    let (manifest, config) = layout(&one.path().join(".mlops/image"));
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
    assert_eq!(
        config["config"]["Labels"]["org.opencontainers.image.revision"],
        *label
    );
    let variables = config["config"]["Env"].as_array().unwrap();
    let has = |text: &str| {
        let mut texts = variables.iter().filter_map(Value::as_str);
        texts.any(|found| found.starts_with(text))
    };
    assert!(has(
        "PATH=/opt/program:/opt/mlops/python/bin:/usr/local/sbin:"
    ));
    assert!(has("PYTHONPATH=/opt/mlops/python"));
    assert_eq!(config["config"]["WorkingDir"], "/opt/program");

    let second = build(
        &other,
        &["--python", "3.12", "--allow-dirty", "--into", "elsewhere"],
    );
    let elsewhere = layers(&other.path().join("elsewhere"));
    assert_eq!(elsewhere, layers(&one.path().join(".mlops/image")));
    assert_eq!(second["dirty"], true, "{second}");
    // The digest differs by the label alone; the image of a clean tree has no such label.
    std::fs::remove_dir_all(other.path().join("image/program/__pycache__")).unwrap();
    let clean = build(&other, &["--python", "3.12", "--into", "elsewhere"]);
    assert_eq!(clean["digest"], first["digest"]);
    assert_eq!(clean["cached"], true);
}

#[test]
fn the_label_is_a_commit_only_for_a_clean_tree() {
    let sandbox = project();
    build(&sandbox, &[]);
    sandbox.write(".gitignore", ".mlops/\n*.env\n");
    commit(&sandbox);
    sandbox.write("image/program/secret.env", "x\n");
    let ignored = sandbox.mlops(["image", "build"]).code(1);
    assert!(ignored.stderr.contains("secret.env"), "{}", ignored.stderr);
    std::fs::remove_file(sandbox.path().join("image/program/secret.env")).unwrap();
    let settings = std::fs::read_to_string(sandbox.path().join("mlops.toml")).unwrap();
    sandbox.write("mlops.toml", format!("{settings}python = \"3.10\"\n"));
    let other = sandbox.mlops(["image", "build"]).code(1);
    assert!(other.stderr.contains("mlops.toml"), "{}", other.stderr);
    // Files that are not part of an image may change.
    sandbox.write("mlops.toml", format!("# A comment.\n{settings}"));
    build(&sandbox, &[]);
}

#[test]
fn a_wheel_with_the_same_name_but_different_bytes_is_a_different_layer() {
    let sandbox = project();
    requirements(&sandbox, false);
    commit(&sandbox);
    build(&sandbox, &["--into", "one"]);
    let mut other = zip::ZipWriter::new_append(std::io::Cursor::new(wheel())).unwrap();
    let options = zip::write::SimpleFileOptions::default();
    other.start_file("small/more.py", options).unwrap();
    other.write_all(b"X = 1\n").unwrap();
    let other = other.finish().unwrap().into_inner();
    sandbox.write("image/wheels/small-1.0-py3-none-any.whl", other);
    commit(&sandbox);
    let built = build(&sandbox, &["--into", "two"]);
    assert_eq!(built["cached"], false, "{built}");
    let of = |name: &str| layers(&sandbox.path().join(name));
    assert_ne!(of("one")[0], of("two")[0]);
    sandbox.write("image/requirements.txt", "--no-binary small\nsmall==1.0\n");
    let source = sandbox.mlops(["image", "build", "--allow-dirty"]).code(2);
    assert!(
        source.stderr.contains("only contain wheels"),
        "{}",
        source.stderr
    );
}

#[test]
fn a_change_of_the_program_moves_kilobytes_and_the_image_runs() {
    let sandbox = project();
    let _ = sandbox.mlops(["--local", "init"]).success();
    let push = || {
        let pushed = sandbox.mlops(["--local", "--output", "json", "image", "push"]);
        pushed.success().json()
    };
    let before = push();
    assert_eq!(before["base"], "scratch");
    build(&sandbox, &["--into", "before"]);
    let changed = format!("{TRAIN}# changed\n");
    sandbox.write("image/program/train", changed);
    commit(&sandbox);
    let after = push();
    assert_ne!(after["digest"], before["digest"]);
    let sent = after["sent"].as_u64().unwrap();
    assert!(sent < 10_000, "{after}");
    let built = build(&sandbox, &["--into", "after"]);
    assert_eq!(built["cached"], true, "{built}");
    assert_eq!(built["digest"], after["digest"]);
    let (old, new) = (
        layers(&sandbox.path().join("before")),
        layers(&sandbox.path().join("after")),
    );
    assert_eq!(old[0], new[0], "the packages");
    assert_ne!(old[1], new[1], "the program");

    // The program imports the package from the image; nothing is installed.
    let _ = sandbox.mlops(["--local", "train"]).success();
    let venvs = sandbox.home().join("cache/venvs");
    let logs: Vec<_> = std::fs::read_dir(venvs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    for log in logs {
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "", "{log:?}");
    }

    // Packages for a different Python version are not imported. requirements.txt would be installed
    // instead, which fails here because its wheels are not in the image.
    let settings = std::fs::read_to_string(sandbox.path().join("mlops.toml")).unwrap();
    sandbox.write("mlops.toml", format!("{settings}python = \"3.99\"\n"));
    commit(&sandbox);
    push();
    let run = sandbox.mlops(["--local", "train"]).code(1);
    assert!(
        run.stderr
            .contains("install the packages of requirements.txt"),
        "{}",
        run.stderr
    );
}

#[test]
fn an_image_is_built_on_another() {
    let sandbox = project();
    build(&sandbox, &["--into", "below"]);
    let below = layers(&sandbox.path().join("below"));
    sandbox.write("image/program/more", "x\n");
    commit(&sandbox);

    let none = sandbox
        .mlops(["image", "build", "--base", "oci:nothing"])
        .code(1);
    assert!(none.stderr.contains("OCI layout"), "{}", none.stderr);
    let unknown = sandbox
        .mlops(["image", "build", "--base", "oci:below"])
        .code(2);
    assert!(unknown.stderr.contains("--python"), "{}", unknown.stderr);
    let foreign = [
        "image",
        "build",
        "--base",
        "oci:below",
        "--platform",
        "linux/arm64",
    ];
    let foreign = sandbox.mlops(foreign).code(2);
    assert!(foreign.stderr.contains("linux/amd64"), "{}", foreign.stderr);

    let built = build(&sandbox, &["--base", "oci:below", "--python", "3.12"]);
    let above = layers(&sandbox.path().join(".mlops/image"));
    assert_eq!(above[..2], below[..]);
    assert_eq!(above.len(), 4);
    let (manifest, config) = layout(&sandbox.path().join(".mlops/image"));
    assert_eq!(
        manifest["annotations"]["org.opencontainers.image.base.digest"],
        built["base_digest"]
    );
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 4);
    assert_eq!(config["config"]["Labels"]["mlops.python"], "3.12");
}

#[test]
fn a_base_is_pulled_once() {
    let sandbox = project();
    let _ = sandbox.mlops(["--local", "init"]).success();
    let pushed = sandbox.mlops(["--local", "--output", "json", "image", "push"]);
    let image = pushed.success().json()["image"]
        .as_str()
        .unwrap()
        .to_owned();
    sandbox.write("image/program/more", "x\n");
    commit(&sandbox);
    let arguments = ["--base", &image, "--python", "3.12"];
    let first = ["--local", "--output", "json", "image", "build"];
    let first = sandbox.mlops(first.iter().chain(&arguments));
    let first = first.success().json();
    let (name, digest) = image.split_once('@').unwrap();
    assert_eq!(first["base_digest"], digest);
    assert_eq!(first["base"], format!("{name}@{digest}"));
    assert_eq!(layers(&sandbox.path().join(".mlops/image")).len(), 4);

    // An image given by digest is found in the cache; a tag must be resolved.
    let _ = sandbox.mlops(["--local", "local", "stop"]).success();
    let again = build(&sandbox, &arguments);
    assert_eq!(again["digest"], first["digest"]);
    let tagged = format!("{name}:develop");
    let gone = ["image", "build", "--python", "3.12", "--base", &tagged];
    let gone = sandbox.mlops(gone).code(1);
    assert!(gone.stderr.contains("cannot build on"), "{}", gone.stderr);
}

#[test]
fn unreproducible_inputs_are_reported_or_rejected() {
    let sandbox = project();
    let refused = |arguments: &[&str], code: i32, text: &str| {
        let run = sandbox
            .mlops(["image", "build"].iter().chain(arguments))
            .code(code);
        assert!(run.stderr.contains(text), "{text}: {}", run.stderr);
    };
    requirements(&sandbox, false);
    refused(&[], 1, "--allow-dirty");
    commit(&sandbox);
    let built = build(&sandbox, &["--python", "3.12"]);
    assert_eq!(built["reproducible"], false);
    assert_eq!(built["because"], json!(["requirements.txt has no hashes"]));

    let lines = "--no-index\n--find-links wheels\n";
    sandbox.write("image/requirements.txt", format!("{lines}small\n"));
    commit(&sandbox);
    refused(&[], 2, "--allow-unpinned");
    let built = build(&sandbox, &["--allow-unpinned"]);
    let because = built["because"].to_string();
    assert!(because.contains("does not pin small"), "{because}");
    let again = build(&sandbox, &["--allow-unpinned"]);
    assert_eq!(again["cached"], false, "it is resolved anew: {again}");

    sandbox.write("image/requirements.txt", format!("{lines}absent==1.0\n"));
    commit(&sandbox);
    refused(&[], 1, "absent==1.0");
    refused(&[], 1, "needs a wheel");
    sandbox.write(
        "image/requirements.txt",
        format!("{lines}small==1.0 --hash=sha256:{}\n", "0".repeat(64)),
    );
    commit(&sandbox);
    refused(&[], 1, "THESE PACKAGES DO NOT MATCH THE HASHES");
    sandbox.write("image/requirements.txt", "-e .\n");
    commit(&sandbox);
    refused(&[], 2, "only contain wheels");
    sandbox.write("mine/notes", "x");
    refused(&["--into", "mine"], 2, "something other");
}

#[test]
fn an_account_gets_no_image_without_a_system() {
    let sandbox = project();
    let elsewhere = ["--endpoint-url", "https://192.0.2.1"];
    for builder in ["layers", "program"] {
        sandbox.write(
            "mlops.toml",
            format!("name = \"small\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n[image]\nbuilder = \"{builder}\"\n"),
        );
        commit(&sandbox);
        let refused = elsewhere.iter().chain(&["image", "push"]);
        let refused = sandbox.mlops(refused).code(2);
        assert!(
            refused.stderr.contains("no base system"),
            "{}",
            refused.stderr
        );
        assert!(refused.stderr.contains("base ="), "{}", refused.stderr);
    }
}

/// Writes a program that imitates an engine.
fn engine(sandbox: &mut Sandbox, name: &str, script: &str) {
    let place = format!("bin/{name}");
    sandbox.write(&place, format!("#!/bin/sh\n{script}"));
    executable(&sandbox.path().join(&place));
    let path = std::env::var_os("PATH").unwrap().into_string().unwrap();
    let own = sandbox.path().join("bin");
    sandbox.set("PATH", &format!("{}:{path}", own.display()));
}

#[test]
fn an_available_engine_builds_the_dockerfile() {
    let mut sandbox = project();
    sandbox.write(
        "image/Dockerfile",
        "FROM scratch\nCOPY program/ /opt/program/\n",
    );
    sandbox.write(".gitignore", ".mlops/\nbin/\nready/\n");
    commit(&sandbox);
    engine(
        &mut sandbox,
        "docker",
        "echo 'Cannot connect to the daemon' >&2\nexit 1\n",
    );
    let silent = sandbox
        .mlops(["image", "build", "--builder", "docker"])
        .code(1);
    assert!(
        silent.stderr.contains("does not respond"),
        "{}",
        silent.stderr
    );
    let idle = sandbox
        .mlops(["image", "build", "--builder", "docker", "--base", "scratch"])
        .code(2);
    assert!(idle.stderr.contains("--base requires"), "{}", idle.stderr);

    // An engine that writes a complete image to the requested place, and reports it.
    build(&sandbox, &["--into", "ready"]);
    engine(
        &mut sandbox,
        "docker",
        "[ \"$1\" = version ] && exit 0\n\
         echo \"step: $*\" >&2\n\
         for word; do case $word in type=oci,*) to=${word##*dest=};; esac; done\n\
         cp -r ../ready/. \"$to\"\n",
    );
    let built = sandbox.mlops(["--output", "json", "image", "build", "--builder", "docker"]);
    let built = built.success();
    assert!(
        built
            .stderr
            .contains("--label org.opencontainers.image.revision="),
        "what the engine says is heard: {}",
        built.stderr
    );
    let built = built.json();
    assert_eq!(built["builder"], "docker");
    assert_eq!(built["reproducible"], false);
    assert!(sandbox.path().join(".mlops/image/index.json").exists());
    // The build fails, and the previous output is kept.
    engine(
        &mut sandbox,
        "docker",
        "[ \"$1\" = version ] && exit 0\necho no space left >&2\nexit 1\n",
    );
    let failed = sandbox
        .mlops(["image", "build", "--builder", "docker"])
        .code(1);
    assert!(failed.stderr.contains("no space left"), "{}", failed.stderr);
    assert!(sandbox.path().join(".mlops/image/index.json").exists());
    std::fs::remove_file(sandbox.path().join("image/Dockerfile")).unwrap();
    let none = ["image", "build", "--builder", "docker", "--allow-dirty"];
    let none = sandbox.mlops(none).code(1);
    assert!(none.stderr.contains("Dockerfile"), "{}", none.stderr);
}
