//! Releases: what `promote` records, and whether `releases verify` notices changes.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::promote::{project, promote, train};
use crate::sandbox::{Run, Sandbox};
use crate::sdk::Sdk;
use crate::small_project;

const ARTIFACTS: &str = "small-artifacts-000000000000-us-east-1";

/// The artifact bucket, for a client that is not `mlops`.
struct S3(Sdk);

impl S3 {
    fn get(&self, key: &str) -> Vec<u8> {
        self.0.get(ARTIFACTS, key)
    }

    fn put(&self, key: &str, bytes: &[u8]) {
        self.0.put(ARTIFACTS, key, bytes);
    }

    fn delete(&self, key: &str) {
        let delete = self.0.s3().delete_object().bucket(ARTIFACTS).key(key);
        let _ = self.0.wait(delete.send()).unwrap();
    }
}

fn releases(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    let words = ["--local", "releases"].iter().chain(arguments);
    sandbox.mlops(words.chain(&["--output", "json"]))
}

/// Returns the problems that `releases verify` found, by what was checked.
fn problems(report: &Value) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks
        .filter(|check| !check["problems"].as_array().unwrap().is_empty())
        .map(|check| format!("{}: {}", check["what"], check["problems"]))
        .collect()
}

#[test]
fn a_promotion_is_a_release_that_can_be_verified() {
    let sandbox = project();
    let none = releases(&sandbox, &["list"]).success().json();
    assert_eq!(none["releases"].as_array().unwrap().len(), 0, "{none}");
    let _ = releases(&sandbox, &["show"]).code(1);
    let _ = train(&sandbox, &[]);
    let noted = [
        "--local",
        "promote",
        "1",
        "--yes",
        "--note",
        "the first one",
    ];
    let first = sandbox.mlops(noted.iter().chain(&["--output", "json"]));
    let first = first.success().json();
    assert_eq!(first["release"], 1, "{first}");
    assert_eq!(first["changed"], true, "{first}");

    // The document in S3 is what the stack and the endpoint name.
    let s3 = S3(Sdk::of(&sandbox));
    let bytes = s3.get("releases/small/0000000001.json");
    let sha256 = sha256_of(&bytes);
    assert_eq!(first["manifest_sha256"], sha256.as_str());
    let configuration = first["endpoint_configuration"].as_str().unwrap();
    assert_eq!(configuration, format!("small-1-{}", &sha256[..8]));
    let manifest: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(manifest["note"], "the first one", "{manifest:#}");
    assert_eq!(manifest["model"]["version"], 1);
    assert!(
        manifest["model"]["approval"]["by"].is_string(),
        "{manifest:#}"
    );
    assert!(
        manifest["pipeline"]["definition_sha256"].is_string(),
        "{manifest:#}"
    );
    assert!(manifest["image"]["digest"].is_string(), "{manifest:#}");

    let shown = releases(&sandbox, &["show"]).success().json();
    assert_eq!(shown["live"], true, "{shown:#}");
    assert_eq!(shown["manifest"], manifest);
    assert_eq!(shown["events"][0]["outcome"], "live", "{shown:#}");
    let verified = releases(&sandbox, &["verify"]).success().json();
    assert_eq!(verified["matches"], true, "{verified:#}");

    // A second release replaces the first.
    let _ = train(&sandbox, &["Answer=four"]);
    let second = promote(&sandbox, "2").success().json();
    assert_eq!(second["release"], 2, "{second}");
    let listed = releases(&sandbox, &["list"]).success().json();
    let outcomes: Vec<&Value> = listed["releases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|release| &release["outcome"])
        .collect();
    assert_eq!(outcomes, ["live", "replaced"], "{listed:#}");
    let text = sandbox
        .mlops(["--local", "releases", "list"])
        .success()
        .stdout;
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let diff = releases(&sandbox, &["diff", "1", "2"]).success().json();
    let changed: Vec<&Value> = diff["rows"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["changes"] == true)
        .map(|row| &row["what"])
        .collect();
    assert_eq!(changed, ["version", "artifact"], "{diff:#}");
    let old = releases(&sandbox, &["verify", "1"]).success().json();
    assert_eq!(old["matches"], true, "{old:#}");
    let unknown = releases(&sandbox, &["show", "9"]).code(1);
    assert!(
        unknown.stderr.contains("no release 9"),
        "{}",
        unknown.stderr
    );

    tampered(&sandbox, &s3, bytes);
}

/// What was changed behind a release's back is named.
fn tampered(sandbox: &Sandbox, s3: &S3, first: Vec<u8>) {
    let live = releases(sandbox, &["show"]).success().json();
    let artifact = live["manifest"]["artifact"]["uri"].as_str().unwrap();
    let key = artifact
        .strip_prefix(&format!("s3://{ARTIFACTS}/"))
        .unwrap();
    let original = s3.get(key);
    s3.put(key, b"other bytes");
    let changed = releases(sandbox, &["verify"]).code(3).json();
    let found = problems(&changed);
    assert_eq!(found.len(), 2, "artifact and endpoint: {found:?}");
    assert!(
        found[0].starts_with("\"artifact\"") && found[0].contains("was overwritten"),
        "{found:?}"
    );
    s3.delete(key);
    let deleted = releases(sandbox, &["verify"]).code(3).json();
    assert!(problems(&deleted)[0].contains("was deleted"), "{deleted:#}");
    s3.put(key, &original);

    let uri = "releases/small/0000000001.json";
    s3.put(
        uri,
        &String::from_utf8(first)
            .unwrap()
            .replace("first", "worst")
            .into_bytes(),
    );
    let forged = releases(sandbox, &["verify", "1"]).code(3).json();
    let found = problems(&forged);
    assert!(
        found[0].contains("overwritten") && found[0].contains("its outcome has"),
        "{found:?}"
    );
    let back = ["--local", "rollback", "--to", "1", "--yes"];
    let refused = sandbox.mlops(back).code(3);
    assert!(
        refused.stderr.contains("its outcome has"),
        "{}",
        refused.stderr
    );

    // A release that cannot be read does not hide the others.
    for (key, bytes) in [
        ("releases/small/0000000001.outcome.json", &b"{"[..]),
        (uri, &b"no manifest"[..]),
    ] {
        s3.put(key, bytes);
        let listed = releases(sandbox, &["list"]).success().json();
        assert_eq!(listed["damaged"][0]["release"], 1, "{listed:#}");
        assert_eq!(listed["releases"][0]["release"], 2, "{listed:#}");
        // The artifact of release 2 was overwritten above.
        let verified = releases(sandbox, &["verify"]).code(3).json();
        assert_eq!(verified["release"], 2, "{verified:#}");
        assert_eq!(problems(&verified).len(), 2, "{verified:#}");
        let _ = sandbox.mlops(["--local", "status"]).success();
        let _ = releases(sandbox, &["show", "1"]).code(3);
        let unusable = sandbox.mlops(back).code(3);
        assert!(
            unusable.stderr.contains("release 1 cannot be used"),
            "{}",
            unusable.stderr
        );
    }
}

#[test]
fn a_version_that_is_not_better_is_refused() {
    let sandbox = Sandbox::new();
    small_project::project(&sandbox);
    let _ = sandbox.mlops(["train"]).success();
    let gated = |version: &str| {
        let words = ["promote", version, "--if-better", "rmse", "--yes"];
        let others = ["--allow-other-data", "--output", "json"];
        sandbox.mlops(words.iter().chain(&others))
    };
    let undeclared = gated("1").code(2);
    assert!(
        undeclared.stderr.contains("[deploy.metrics]"),
        "{}",
        undeclared.stderr
    );
    let toml = std::fs::read_to_string(sandbox.path().join("mlops.toml")).unwrap();
    sandbox.write(
        "mlops.toml",
        format!("{toml}\n[deploy.metrics]\nrmse = \"lower\"\n"),
    );
    // Nothing is live, so any value is better.
    let _ = gated("1").success();
    let again = gated("1").success().json();
    assert_eq!(again["changed"], false, "{again}");
    let _ = sandbox.mlops(["train"]).success();
    let unknown = ["promote", "2", "--if-better", "rmse", "--yes"];
    let unknown = sandbox.mlops(unknown).code(3);
    assert!(
        unknown.stderr.contains("an unknown version"),
        "{}",
        unknown.stderr
    );
    let same = gated("2").code(3);
    assert!(
        same.stderr.contains("is 4.25, the same as 4.25"),
        "{}",
        same.stderr
    );
    let absent = ["promote", "2", "--if-better", "mae", "--yes"];
    let absent = sandbox.mlops(absent).code(2);
    assert!(absent.stderr.contains("mae"), "{}", absent.stderr);
    sandbox.write("image/program/evaluate", small_project::evaluate("3.5"));
    small_project::commit(&sandbox);
    let _ = sandbox.mlops(["image", "push"]).success();
    let _ = sandbox.mlops(["train"]).success();
    let better = gated("3").success().json();
    assert_eq!(better["version"], 3, "{better}");
    let list = sandbox.mlops(["releases", "list", "--output", "json"]);
    let list = list.success().json();
    assert_eq!(list["releases"].as_array().unwrap().len(), 2, "{list:#}");
}

fn sha256_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
