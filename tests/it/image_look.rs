//! Inspecting and pinning images, against the local cloud.

use mlops::aws::Clients;
use serde_json::{Value, json};

use crate::data;
use crate::image::{commit, git, project, push};
use crate::promote;
use crate::sandbox::{Run, Sandbox};

/// A pipeline that takes an image and ends immediately.
pub(crate) const PIPELINE: &str = r#"{
  "Version": "2020-12-01",
  "Parameters": [{"Name": "ImageUri", "Type": "String"}],
  "Steps": [{"Name": "End", "Type": "Fail", "Arguments": {"ErrorMessage": "the end"}}]
}
"#;

pub(crate) fn image(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    let first = ["--local", "--output", "json", "image"];
    sandbox.mlops(first.iter().chain(arguments))
}

pub(crate) fn train(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    let first = ["--local", "--output", "json", "train", "--detach"];
    sandbox.mlops(first.iter().chain(arguments))
}

/// Pushes an image with a different program; returns its digest.
pub(crate) fn push_another(sandbox: &Sandbox, text: &str) -> String {
    sandbox.write("image/program/version.py", text);
    commit(sandbox);
    push(sandbox, &[])["digest"].as_str().unwrap().to_owned()
}

/// Returns the image with that digest from a list.
pub(crate) fn entry<'a>(listed: &'a Value, digest: &str) -> &'a Value {
    let mut images = listed["images"].as_array().unwrap().iter();
    images.find(|image| image["digest"] == digest).unwrap()
}

#[test]
fn invalid_pins_are_rejected() {
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

    // The digest of another image, which is not in the repository.
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

    // An invalid pin is rejected before any remote call.
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
fn an_image_is_shown_with_its_contents() {
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
fn production_uses_the_promoted_image() {
    let sandbox = promote::project();
    git(&sandbox, &["branch", "main"]);
    let nothing = train(&sandbox, &["--branch", "main"]).code(1);
    assert!(
        nothing.stderr.contains("no version has been promoted yet"),
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
    assert_eq!(used["endpoints"], json!(["small"]), "{used}");
    assert_eq!(entry(&listed, &newer)["used_by"]["endpoints"], json!([]));
    let people = sandbox.mlops(["--local", "image", "list"]).success();
    assert!(people.stdout.contains("v1"), "{}", people.stdout);

    // It is unknown what the endpoint serves; the stage is not used instead.
    let clients = Clients::of_endpoint(&data::endpoint(&sandbox), "x", "y", None);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listed = clients.sagemaker.list_endpoint_configs().send().await;
        for config in listed.unwrap().endpoint_configs() {
            let name = config.endpoint_config_name().unwrap();
            let delete = clients.sagemaker.delete_endpoint_config();
            delete.endpoint_config_name(name).send().await.unwrap();
        }
    });
    let unknown = train(&sandbox, &["--branch", "main"]).code(1);
    assert!(
        unknown.stderr.contains("small serves no known version"),
        "{}",
        unknown.stderr
    );
}

/// Returns findings in ECR's format.
fn findings(severities: &[&str]) -> String {
    let list: Vec<Value> = severities
        .iter()
        .enumerate()
        .map(|(number, severity)| {
            json!({
                "name": format!("CVE-2026-{number}"),
                "severity": severity,
                "attributes": [
                    {"key": "package_name", "value": "openssl"},
                    {"key": "package_version", "value": "3.0"},
                ],
            })
        })
        .collect();
    json!({"findings": list}).to_string()
}

#[test]
fn a_scan_is_never_clean_without_data() {
    let sandbox = project();
    let _ = push_another(&sandbox, "V = 1\n");
    // Nothing is known: neither a table nor a success.
    for arguments in [
        &["scan"][..],
        &["scan", "develop", "--fail-on", "critical", "--wait"],
    ] {
        let unknown = image(&sandbox, arguments).code(1);
        assert_eq!(unknown.stdout, "");
        assert!(
            unknown.stderr.contains("FINDINGS_UNAVAILABLE"),
            "{}",
            unknown.stderr
        );
        assert!(
            unknown.stderr.contains("mlops local inject scan"),
            "{}",
            unknown.stderr
        );
    }
}

#[test]
fn a_scan_is_a_gate() {
    let sandbox = project();
    let digest = push_another(&sandbox, "V = 1\n");
    sandbox.write(
        "findings.json",
        findings(&["MEDIUM", "HIGH", "UNDEFINED", "HIGH"]),
    );
    let scan = ["local", "inject", "scan", "--repository", "flights"];
    let inject = |digest: &str| {
        sandbox.mlops(
            scan.into_iter()
                .chain(["--digest", digest, "findings.json"]),
        )
    };
    // What is known of every image is known of this one, until it has findings of its own.
    sandbox.write("none.json", findings(&[]));
    let loaded = sandbox
        .mlops(scan.into_iter().chain(["none.json"]))
        .success();
    assert!(
        loaded.stdout.contains("every image of flights"),
        "{}",
        loaded.stdout
    );
    let found = image(&sandbox, &["scan", "--fail-on", "low"])
        .success()
        .json();
    assert_eq!(found["counts"], json!({}));
    let loaded = inject(&digest).success();
    assert!(
        loaded.stdout.contains("2 HIGH, 1 MEDIUM"),
        "{}",
        loaded.stdout
    );
    assert!(inject("sha256:12").code(2).stderr.contains("not a digest"));

    let found = image(&sandbox, &["scan"]).success().json();
    assert_eq!(found["status"], "COMPLETE", "{found}");
    assert_eq!(
        found["counts"],
        json!({"high": 2, "medium": 1, "undefined": 1})
    );
    let names: Vec<_> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| &f["name"])
        .collect();
    assert_eq!(
        names,
        ["CVE-2026-1", "CVE-2026-3", "CVE-2026-0", "CVE-2026-2"]
    );
    assert_eq!(found["findings"][0]["package"], "openssl 3.0");
    for (limit, code, bad) in [("critical", 0, 0), ("high", 3, 2), ("low", 3, 3)] {
        let gated = image(&sandbox, &["scan", "develop", "--fail-on", limit]).code(code);
        assert_eq!(gated.json()["too_bad"], bad, "{limit}");
    }
    let people = sandbox
        .mlops(["--local", "image", "scan", "--fail-on", "high"])
        .code(3);
    assert!(
        people.stdout.contains("2 high, 1 medium"),
        "{}",
        people.stdout
    );
    let shown = image(&sandbox, &["show", "develop"]).success().json();
    assert_eq!(shown["scan"], "COMPLETE");
}

/// Pushes three images and pins the first to the branch `feature/x`; returns the sandbox, and the digests
/// of the pinned image, of one that is not in use, and of the newest.
fn with_images() -> (Sandbox, String, String, String) {
    let sandbox = project();
    let pinned = push_another(&sandbox, "V = 1\n");
    git(&sandbox, &["tag", "pinned"]);
    let free = push_another(&sandbox, "V = 2\n");
    let newest = push_another(&sandbox, "V = 3\n");
    git(&sandbox, &["switch", "--quiet", "--create", "feature/x"]);
    let _ = image(&sandbox, &["pin", &pinned, "--commit"]).success();
    git(&sandbox, &["switch", "--quiet", "develop"]);
    (sandbox, pinned, free, newest)
}

/// Returns the digests of the project's images, sorted, without the analyzer's.
fn digests(sandbox: &Sandbox) -> Vec<String> {
    let listed = image(sandbox, &["list"]).success().json();
    let mut images = listed["images"].as_array().unwrap().iter();
    let mut digests: Vec<String> = images
        .by_ref()
        .filter(|image| image["used_by"]["analyzer"] == false)
        .map(|image| image["digest"].as_str().unwrap().to_owned())
        .collect();
    digests.sort();
    digests
}

#[test]
fn images_in_use_are_not_removed() {
    let (sandbox, _, free, _) = with_images();
    let pinned_commit = git(&sandbox, &["rev-parse", "pinned"]);
    let before = digests(&sandbox);
    assert_eq!(before.len(), 3);

    let refused = image(&sandbox, &["rm", &free, &pinned_commit, "develop", "--yes"]).code(3);
    for part in ["nothing was removed", "pin of feature/x", "branch develop"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert!(!refused.stderr.contains(&free[7..19]), "{}", refused.stderr);
    let _ = image(&sandbox, &["rm", "nothing", "--yes"]).code(2);
    let _ = image(&sandbox, &["rm"]).code(2);
    assert_eq!(digests(&sandbox), before, "nothing was removed");
}

#[test]
fn a_plan_of_a_removal_removes_nothing() {
    let (sandbox, _, free, _) = with_images();
    let before = digests(&sandbox);
    let unasked = image(&sandbox, &["rm", &free]).code(2);
    assert!(
        unasked.stderr.contains(&free[7..19]),
        "the plan: {}",
        unasked.stderr
    );
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    let dry = image(&sandbox, &["rm", "--older-than", "0", "--dry-run"])
        .success()
        .json();
    assert_eq!(dry["done"], false);
    assert_eq!(dry["removed"][0]["digest"], free.as_str(), "{dry}");
    assert_eq!(dry["removed"].as_array().unwrap().len(), 1, "{dry}");
    let mut kept = dry["kept"].as_array().unwrap().iter();
    assert_eq!(kept.len(), 3, "{dry}");
    assert!(
        kept.any(|kept| kept["needed_by"] == json!(["analyzer"])),
        "{dry}"
    );
    let none = image(&sandbox, &["rm", "--older-than", "1", "--yes"])
        .success()
        .json();
    assert_eq!(
        (&none["removed"], &none["done"]),
        (&json!([]), &json!(false))
    );
    assert_eq!(digests(&sandbox), before, "nothing was removed");
}

#[test]
fn images_that_are_not_in_use_are_removed() {
    let (sandbox, pinned, free, newest) = with_images();
    let removed = image(&sandbox, &["rm", &free[7..15], "--yes"])
        .success()
        .json();
    assert_eq!(
        (&removed["done"], &removed["removed"][0]["digest"]),
        (&json!(true), &json!(free))
    );
    let mut left = vec![pinned.clone(), newest];
    left.sort();
    assert_eq!(digests(&sandbox), left);
    // The pin was removed, so the image is no longer needed.
    git(
        &sandbox,
        &["branch", "--quiet", "--delete", "--force", "feature/x"],
    );
    let _ = image(&sandbox, &["rm", &pinned, "--yes"]).success();
    assert_eq!(digests(&sandbox).len(), 1);
}

#[test]
fn a_lifecycle_policy_can_be_previewed() {
    let sandbox = project();
    let old = push_another(&sandbox, "V = 1\n");
    let new = push_another(&sandbox, "V = 2\n");
    let rule = json!({
        "rulePriority": 5,
        "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
        "action": {"type": "expire"},
    });
    sandbox.write("policy.json", json!({"rules": [rule]}).to_string());
    let preview = ["list", "--lifecycle-preview", "policy.json"];
    let seen = image(&sandbox, &preview).success().json();
    assert_eq!(seen["total"], 3, "{seen}");
    assert_eq!(seen["expiring"].as_array().unwrap().len(), 2, "{seen}");
    assert_eq!(seen["expiring"][1]["digest"], old.as_str());
    assert_eq!(seen["expiring"][1]["rule"], 5);
    assert_eq!(seen["expiring"][1]["needed_by"], json!([]));
    // ECR does not know the users of an image, so the preview adds them.
    assert_eq!(
        seen["expiring"][0]["needed_by"],
        json!(["analyzer"]),
        "{seen}"
    );
    git(&sandbox, &["switch", "--quiet", "--create", "feature/x"]);
    let _ = image(&sandbox, &["pin", &old, "--commit"]).success();
    let seen = image(&sandbox, &preview).success().json();
    assert_eq!(
        seen["expiring"][1]["needed_by"],
        json!(["pin of feature/x"])
    );
    let people = sandbox
        .mlops(["--local", "image"].into_iter().chain(preview))
        .success();
    assert!(
        people.stdout.contains("would expire 2"),
        "{}",
        people.stdout
    );
    assert!(people.stdout.contains(&old[7..19]) && !people.stdout.contains(&new[7..19]));

    // The policy of the stack's repository expires none of them.
    let own = image(&sandbox, &["list", "--lifecycle-preview"])
        .success()
        .json();
    assert_eq!(own["expiring"], json!([]), "{own}");
    sandbox.write("policy.json", "rules");
    let _ = image(&sandbox, &preview).code(2);
}

/// Writes an OCI layout whose image is an index of one small image per architecture; returns the
/// digests of the index and of its images.
fn index_layout(sandbox: &Sandbox, architectures: &[&str]) -> (String, Vec<String>) {
    let blob = |value: &Value| {
        use sha2::Digest;
        let bytes = value.to_string();
        let hex = hex::encode(sha2::Sha256::digest(&bytes));
        sandbox.write(&format!("layout/blobs/sha256/{hex}"), &bytes);
        (format!("sha256:{hex}"), bytes.len())
    };
    let oci = |kind: &str| format!("application/vnd.oci.image.{kind}.v1+json");
    let mut entries = Vec::new();
    for architecture in architectures {
        let (digest, size) = blob(&json!({
            "architecture": architecture, "os": "linux",
            "config": {"Labels": {"org.opencontainers.image.base.name": "base:1"}},
            "rootfs": {"type": "layers", "diff_ids": []},
        }));
        let (digest, size) = blob(&json!({
            "schemaVersion": 2, "mediaType": oci("manifest"), "layers": [],
            "config": {"mediaType": oci("config"), "digest": digest, "size": size},
        }));
        entries.push(json!({
            "mediaType": oci("manifest"), "digest": digest, "size": size,
            "platform": {"os": "linux", "architecture": architecture},
        }));
    }
    let (digest, size) =
        blob(&json!({"schemaVersion": 2, "mediaType": oci("index"), "manifests": entries}));
    let root = json!({"mediaType": oci("index"), "digest": digest, "size": size});
    let index = json!({"schemaVersion": 2, "manifests": [root]});
    sandbox.write("layout/index.json", index.to_string());
    sandbox.write("layout/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    let children = entries
        .iter()
        .map(|entry| entry["digest"].as_str().unwrap().to_owned());
    (digest, children.collect())
}

#[test]
fn an_index_is_removed_with_its_images() {
    let sandbox = project();
    sandbox.write(".git/info/exclude", "layout\n");
    let (index, children) = index_layout(&sandbox, &["amd64", "arm64"]);
    let pushed = push(&sandbox, &["layout"]);
    assert_eq!(pushed["digest"], index.as_str());
    let shown = image(&sandbox, &["show", &index]).success().json();
    let platforms: Vec<_> = shown["platforms"].as_array().unwrap().iter().collect();
    assert_eq!(platforms.len(), 2, "{shown}");
    assert_eq!(platforms[1]["platform"], "linux/arm64");
    assert_eq!(platforms[1]["digest"], children[1].as_str());
    assert_eq!(platforms[1]["base"], "base:1");
    let scan = image(&sandbox, &["scan", &index]).code(2);
    assert!(scan.stderr.contains(&children[0]), "{}", scan.stderr);

    // The branch's tag is on the index, so its images are needed, too, both by name and by filter.
    let listed = image(&sandbox, &["list"]).success().json();
    assert_eq!(entry(&listed, &children[0])["part_of"], json!([index]));
    let refused = image(&sandbox, &["rm", &children[0], "--yes"]).code(3);
    assert!(
        refused.stderr.contains("branch develop"),
        "{}",
        refused.stderr
    );
    let none = image(&sandbox, &["rm", "--untagged", "--yes"])
        .success()
        .json();
    assert_eq!((&none["removed"], &none["kept"]), (&json!([]), &json!([])));

    // A different image takes over the tag.
    let other = push_another(&sandbox, "V = 1\n");
    let refused = image(&sandbox, &["rm", &children[0], "--yes"]).code(3);
    assert!(refused.stderr.contains("index"), "{}", refused.stderr);
    let removed = image(&sandbox, &["rm", &index, "--yes"]).success().json();
    assert_eq!(removed["removed"].as_array().unwrap().len(), 3, "{removed}");
    let left = image(&sandbox, &["list"]).success().json();
    let mut left = left["images"].as_array().unwrap().iter();
    // `init` pushed the analyzer's image.
    assert_eq!(left.len(), 2);
    assert!(left.any(|image| image["digest"] == other.as_str()));
}
