//! `mlops image push --to` against the local cloud's registry, with and without faults in between.

use std::path::Path;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::faulty_registry::{Action, FaultyRegistry, Request, answer, basic, ecr};
use crate::sandbox::{Run, Sandbox};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const MIB: usize = 1 << 20;

/// Starts a local cloud with the repositories `team/flights` and `other`.
struct Cloud {
    sandbox: Sandbox,
    endpoint: String,
}

impl Cloud {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let start = ["local", "start", "--detach", "--port", "0"];
        sandbox.mlops(start).success();
        let status = sandbox.mlops(["local", "status", "--output", "json"]);
        let endpoint = status.success().json()["endpoint"].clone();
        let endpoint = endpoint.as_str().unwrap().to_owned();
        for name in ["team/flights", "other"] {
            let input = json!({"repositoryName": name}).to_string();
            ecr(&endpoint, "CreateRepository", &input);
        }
        Self { sandbox, endpoint }
    }

    /// Starts a registry whose requests follow a rule, and for which Docker has a login.
    fn registry(
        &self,
        rule: impl Fn(&Request) -> Action + Send + Sync + 'static,
    ) -> FaultyRegistry {
        let registry = FaultyRegistry::new(&self.endpoint, rule);
        let file = self.sandbox.home().join(".docker/config.json");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let config = json!({"auths": {&registry.address: {"auth": basic()}}});
        std::fs::write(file, config.to_string()).unwrap();
        registry
    }

    fn push(&self, layout: &str, registry: &FaultyRegistry, more: &[&str]) -> Run {
        let to = format!("{}/team/flights:v1", registry.address);
        let fixed = ["image", "push", layout, "--to", &to, "--plain-http"];
        let output = ["--output", "json"];
        self.sandbox.mlops(fixed.iter().chain(&output).chain(more))
    }

    /// Writes the layout of an image with these layers; returns its digest.
    fn layout(&self, name: &str, layers: &[Vec<u8>]) -> String {
        self.layout_on(name, layers, "scratch")
    }

    /// Writes the layout of an image that names its base.
    fn layout_on(&self, name: &str, layers: &[Vec<u8>], base: &str) -> String {
        let root = self.sandbox.path().join(name);
        let manifest = manifest_on(&root, layers, base);
        index(&root, std::slice::from_ref(&manifest));
        manifest["digest"].as_str().unwrap().to_owned()
    }
}

/// Returns bytes that differ for each seed.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed * 2 + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend_from_slice(&next());
    }
    bytes.truncate(size);
    bytes
}

/// Writes a blob and returns its descriptor.
fn blob(root: &Path, kind: &str, bytes: &[u8]) -> Value {
    use sha2::Digest;
    let digest = hex::encode(sha2::Sha256::digest(bytes));
    let blobs = root.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(&digest), bytes).unwrap();
    json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len()})
}

fn manifest(root: &Path, layers: &[Vec<u8>]) -> Value {
    manifest_on(root, layers, "scratch")
}

fn manifest_on(root: &Path, layers: &[Vec<u8>], base: &str) -> Value {
    let layers: Vec<Value> = layers.iter().map(|l| blob(root, LAYER, l)).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|l| &l["digest"]).collect::<Vec<_>>()},
    });
    let kind = "application/vnd.oci.image.config.v1+json";
    let config = blob(root, kind, config.to_string().as_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        "annotations": {"org.opencontainers.image.base.name": base},
    });
    blob(root, MANIFEST, manifest.to_string().as_bytes())
}

fn index(root: &Path, manifests: &[Value]) {
    let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
    std::fs::write(root.join("index.json"), index).unwrap();
    std::fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn pass(_: &Request) -> Action {
    Action::Pass
}

/// Returns the image that the tag `v1` points to, if any.
fn tagged(registry: &FaultyRegistry) -> Option<String> {
    use sha2::Digest;
    match registry.ask("GET", "/v2/team/flights/manifests/v1") {
        (200, bytes) => Some(format!(
            "sha256:{}",
            hex::encode(sha2::Sha256::digest(bytes))
        )),
        (404, _) => None,
        (status, bytes) => panic!("{status}: {}", String::from_utf8_lossy(&bytes)),
    }
}

/// Checks that the registry has the tag and every byte of the layers.
#[track_caller]
fn assert_whole(registry: &FaultyRegistry, digest: &str, layers: &[Vec<u8>]) {
    use sha2::Digest;
    assert_eq!(tagged(registry).as_deref(), Some(digest));
    for layer in layers {
        let digest = hex::encode(sha2::Sha256::digest(layer));
        let (status, bytes) =
            registry.ask("GET", &format!("/v2/team/flights/blobs/sha256:{digest}"));
        assert_eq!(status, 200);
        assert!(bytes == *layer, "{digest} has other bytes");
    }
}

#[test]
fn a_push_uploads_only_what_is_missing() {
    let cloud = Cloud::new();
    let registry = cloud.registry(pass);
    let layers = [noise(1, 3 * MIB), noise(2, MIB), noise(3, 1000), Vec::new()];
    let digest = cloud.layout("one", &layers);
    let first = cloud.push("one", &registry, &[]).success().json();
    assert_whole(&registry, &digest, &layers);
    assert_eq!(first["digest"], digest);
    assert_eq!(first["tags"], json!(["v1"]));
    assert_eq!(first["commit"], Value::Null);
    assert_eq!(first["saved"], 0);
    assert!(first["sent"].as_u64() >= first["size"].as_u64(), "{first}");
    let image = format!("{}/team/flights@{digest}", registry.address);
    assert_eq!(first["image"], image);

    let before = registry.seen().len();
    let again = cloud.push("one", &registry, &[]).success().json();
    assert_eq!(
        (&again["sent"], &again["saved"]),
        (&json!(0), &first["size"])
    );
    // The tag is read (twice because of the login), then the manifest.
    assert_eq!(registry.seen().len() - before, 3);
    assert_eq!(again["requests"], 3);

    let mut changed = layers.clone();
    changed[3] = noise(4, 2000);
    let digest = cloud.layout("two", &changed);
    let third = cloud.push("two", &registry, &[]).success().json();
    assert_whole(&registry, &digest, &changed);
    let sent = third["sent"].as_u64().unwrap();
    assert!((2000..2000 + 10_000).contains(&sent), "{third}");

    let people = ["image", "push", "two", "--plain-http", "--to"];
    let to = format!("{}/team/flights:v1", registry.address);
    let people = cloud.sandbox.mlops(people.into_iter().chain([&*to]));
    let people = people.success().stdout;
    assert!(
        people.contains("was there") && people.contains("v1"),
        "{people}"
    );
}

#[test]
fn a_broken_upload_resumes_where_it_broke() {
    let cloud = Cloud::new();
    let sizes = [4 * MIB, 5 * MIB, 6 * MIB];
    let layers: Vec<_> = (10..)
        .zip(sizes)
        .map(|(seed, size)| noise(seed, size))
        .collect();
    // 10 %, 50 % and 99 % of the three layers.
    let registry = cloud.registry(move |asked| {
        let cut = |size: usize, percent: usize| Action::Cut((size * percent / 100) as u64);
        match asked.length() {
            _ if !asked.is_upload(1) => Action::Pass,
            length if length == sizes[0] as u64 => cut(sizes[0], 10),
            length if length == sizes[1] as u64 => cut(sizes[1], 50),
            length if length == sizes[2] as u64 => cut(sizes[2], 99),
            _ => Action::Pass,
        }
    });
    let digest = cloud.layout("one", &layers);
    let pushed = cloud.push("one", &registry, &[]).success().json();
    assert_whole(&registry, &digest, &layers);
    let resumed: Vec<_> = registry
        .seen()
        .into_iter()
        .filter(|asked| asked.method == "PATCH")
        .collect();
    assert!(resumed.len() >= 3, "{resumed:?}");
    for asked in resumed {
        let range = asked.header("content-range").unwrap().to_owned();
        assert!(!range.starts_with("0-"), "{range}");
    }
    // The bytes of the broken connections count, but not every layer twice.
    let (sent, size) = (
        pushed["sent"].as_u64().unwrap(),
        pushed["size"].as_u64().unwrap(),
    );
    assert!(sent > size && sent < size * 3 / 2, "{pushed}");
}

#[test]
fn an_upload_that_the_registry_forgot_restarts() {
    let cloud = Cloud::new();
    let layers = [noise(20, 2 * MIB)];
    let registry = cloud.registry(|asked| {
        if asked.is_upload(MIB as u64) && asked.before == 0 {
            Action::Cut(MIB as u64)
        } else if asked.method == "GET" && asked.path.contains("/blobs/uploads/") {
            answer(
                "404 Not Found",
                "",
                r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#,
            )
        } else {
            Action::Pass
        }
    });
    let digest = cloud.layout("one", &layers);
    cloud.push("one", &registry, &[]).success();
    assert_whole(&registry, &digest, &layers);
    assert_eq!(registry.count("PATCH", "/blobs/uploads/"), 0);
}

/// Starts a registry that issues numbered tokens, and accepts only the newest.
fn token_registry(
    cloud: &Cloud,
    expire: impl Fn(&Request) -> bool + Send + Sync + 'static,
) -> FaultyRegistry {
    let valid = Mutex::new(0);
    let realm = std::sync::Arc::new(Mutex::new(String::new()));
    let own = std::sync::Arc::clone(&realm);
    let registry = cloud.registry(move |asked| {
        let mut valid = valid.lock().unwrap();
        if asked.path.starts_with("/token") {
            let login = asked.header("authorization").unwrap_or_default();
            assert_eq!(login, format!("Basic {}", basic()), "the token's login");
            let scope = "scope=repository%3Ateam%2Fflights%3Apull%2Cpush";
            assert!(asked.path.contains(scope), "{}", asked.path);
            *valid += 1;
            let token = json!({"token": format!("t{valid}"), "expires_in": 300});
            return answer("200 OK", "", &token.to_string());
        }
        if expire(asked) {
            *valid += 1;
        }
        if asked.header("authorization") == Some(&format!("Bearer t{valid}")) {
            return Action::Pass;
        }
        let challenge = format!(
            "www-authenticate: Bearer realm=\"http://{}/token\",service=\"s\",\
             scope=\"repository:team/flights:pull\"\r\n",
            own.lock().unwrap()
        );
        answer(
            "401 Unauthorized",
            &challenge,
            r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#,
        )
    });
    realm.lock().unwrap().clone_from(&registry.address);
    registry
}

#[test]
fn a_token_that_expires_during_a_push_is_renewed() {
    let cloud = Cloud::new();
    let layers = [noise(30, 2 * MIB), noise(31, 2 * MIB), noise(32, MIB)];
    let digest = cloud.layout("one", &layers);
    let registry = token_registry(&cloud, |asked| {
        asked.is_upload(1) && asked.method == "PUT" && asked.before == 1
    });
    cloud.push("one", &registry, &[]).success();
    assert_whole(&registry, &digest, &layers);
    assert_eq!(registry.count("GET", "/token"), 2, "one token, and another");
}

#[test]
fn a_login_that_is_refused_is_exit_4() {
    let cloud = Cloud::new();
    cloud.layout("one", &[noise(33, 100)]);
    let registry = cloud.registry(|_| {
        let basic = "www-authenticate: Basic realm=\"x\"\r\n";
        answer("401 Unauthorized", basic, "")
    });
    let refused = cloud.push("one", &registry, &[]).code(4);
    assert!(
        refused.stderr.contains("docker login"),
        "{}",
        refused.stderr
    );
    let secret = basic();
    assert!(!refused.stderr.contains(&secret), "{}", refused.stderr);
}

#[test]
fn a_busy_registry_is_retried() {
    let cloud = Cloud::new();
    let layers = [noise(40, MIB), noise(41, 1000)];
    let digest = cloud.layout("one", &layers);
    let registry = cloud.registry(|asked| {
        let first = asked.before == 0;
        if asked.method == "HEAD" && asked.path.contains("/manifests/") && first {
            answer("429 Too Many Requests", "retry-after: 1\r\n", "")
        } else if asked.method == "POST" && first {
            answer("503 Service Unavailable", "retry-after: 0\r\n", "")
        } else if asked.is_upload(MIB as u64) && asked.before < 2 {
            answer("500 Internal Server Error", "", "oops")
        } else if asked.method == "PUT" && asked.path.contains("/manifests/") && first {
            answer("502 Bad Gateway", "", "")
        } else {
            Action::Pass
        }
    });
    cloud.push("one", &registry, &[]).success();
    assert_whole(&registry, &digest, &layers);
}

#[test]
fn a_different_manifest_than_the_pushed_one_is_never_tagged() {
    let cloud = Cloud::new();
    let old = cloud.layout("old", &[noise(50, 1000)]);
    let registry = cloud.registry(pass);
    cloud.push("old", &registry, &[]).success();
    cloud.layout("new", &[noise(51, 1000)]);
    let registry = cloud.registry(|asked| {
        if asked.method == "GET" && asked.path.contains("/manifests/sha256:") {
            let kind = format!("content-type: {MANIFEST}\r\n");
            answer("200 OK", &kind, r#"{"schemaVersion":2,"layers":[]}"#)
        } else {
            Action::Pass
        }
    });
    let failed = cloud.push("new", &registry, &[]).code(1);
    assert!(
        failed.stderr.contains("returned sha256:"),
        "{}",
        failed.stderr
    );
    assert_eq!(tagged(&registry), Some(old));
}

#[test]
fn a_damaged_blob_is_reported_and_nothing_is_tagged() {
    let cloud = Cloud::new();
    let layers = [noise(60, 2 * MIB), noise(61, 1000)];
    cloud.layout("one", &layers);
    let layer = blob(&cloud.sandbox.path().join("one"), LAYER, &layers[0]);
    let digest = layer["digest"].as_str().unwrap();
    let file = cloud
        .sandbox
        .path()
        .join("one/blobs/sha256")
        .join(&digest[7..]);
    let mut bytes = layers[0].clone();
    bytes[MIB] ^= 1;
    std::fs::write(file, bytes).unwrap();
    let registry = cloud.registry(pass);
    let failed = cloud.push("one", &registry, &[]).code(1);
    assert!(failed.stderr.contains(&digest[7..]), "{}", failed.stderr);
    assert!(
        failed.stderr.contains("contains sha256:"),
        "{}",
        failed.stderr
    );
    assert_eq!(tagged(&registry), None);
    let blob = format!("/v2/team/flights/blobs/{digest}");
    assert_eq!(registry.ask("HEAD", &blob).0, 404);
}

#[test]
fn a_refusal_leaves_the_old_image() {
    let cloud = Cloud::new();
    let old = cloud.layout("old", &[noise(70, 1000)]);
    let registry = cloud.registry(pass);
    cloud.push("old", &registry, &[]).success();
    cloud.layout("new", &[noise(71, MIB), noise(72, 1000)]);
    let registry = cloud.registry(|asked| {
        if asked.is_upload(MIB as u64) {
            let denied = r#"{"errors":[{"code":"DENIED","message":"quota is used up"}]}"#;
            answer("403 Forbidden", "", denied)
        } else {
            Action::Pass
        }
    });
    let refused = cloud.push("new", &registry, &[]).code(4);
    assert!(
        refused.stderr.contains("quota is used up"),
        "{}",
        refused.stderr
    );
    assert_eq!(tagged(&registry), Some(old.clone()));

    let input = r#"{"repositoryName":"team/flights","imageTagMutability":"IMMUTABLE"}"#;
    ecr(&cloud.endpoint, "PutImageTagMutability", input);
    let registry = cloud.registry(pass);
    let refused = cloud.push("new", &registry, &[]).code(1);
    assert!(refused.stderr.contains("TAG_INVALID"), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("pushed only once"),
        "{}",
        refused.stderr
    );
    assert_eq!(tagged(&registry), Some(old));
}

#[test]
fn two_pushes_of_one_image_both_succeed() {
    let cloud = Cloud::new();
    let input = r#"{"repositoryName":"team/flights","imageTagMutability":"IMMUTABLE"}"#;
    ecr(&cloud.endpoint, "PutImageTagMutability", input);
    let layers: Vec<_> = (80..84).map(|seed| noise(seed, MIB)).collect();
    let digest = cloud.layout("one", &layers);
    let registry = cloud.registry(pass);
    std::thread::scope(|scope| {
        let pushes = [0, 1].map(|_| scope.spawn(|| cloud.push("one", &registry, &[])));
        for push in pushes {
            let report = push.join().unwrap().success().json();
            assert_eq!(report["digest"], digest);
        }
    });
    assert_whole(&registry, &digest, &layers);
}

#[test]
fn layers_are_mounted_from_another_repository() {
    let cloud = Cloud::new();
    let registry = cloud.registry(pass);
    let base = [noise(90, MIB), noise(91, MIB), noise(92, MIB)];
    cloud.layout("base", &base);
    let to = format!("{}/other:base", registry.address);
    let push = ["image", "push", "base", "--plain-http", "--to", &to];
    cloud.sandbox.mlops(push).success();

    let layers = [base[0].clone(), base[1].clone(), noise(93, 1000)];
    let digest = cloud.layout("one", &layers);
    let from = ["--mount-from", "other"];
    let pushed = cloud.push("one", &registry, &from).success().json();
    assert_whole(&registry, &digest, &layers);
    assert_eq!(pushed["mounted"], 2 * MIB, "{pushed}");
    assert!(pushed["sent"].as_u64().unwrap() < 10_000, "{pushed}");

    // The base is in the same registry, as its annotation states.
    let digest = cloud.layout_on("based", &layers[..2], &to);
    let push = [
        "image",
        "push",
        "based",
        "--plain-http",
        "--output",
        "json",
        "--to",
    ];
    let third = format!("{}/third:v1", registry.address);
    let input = json!({"repositoryName": "third"}).to_string();
    ecr(&cloud.endpoint, "CreateRepository", &input);
    let push = cloud.sandbox.mlops(push.into_iter().chain([&*third]));
    let pushed = push.success().json();
    assert_eq!(pushed["digest"], digest);
    assert_eq!(pushed["base"], to);
    assert_eq!(pushed["mounted"], 2 * MIB, "{pushed}");

    // Of several repositories, the one with the layer is named.
    let layers = [base[2].clone(), noise(94, 1000)];
    let digest = cloud.layout("two", &layers);
    let from = ["--mount-from", "none", "--mount-from", "other"];
    let pushed = cloud.push("two", &registry, &from).success().json();
    assert_whole(&registry, &digest, &layers);
    assert_eq!(pushed["mounted"], MIB, "{pushed}");
}

#[test]
fn an_index_is_pushed_with_its_images() {
    let cloud = Cloud::new();
    let registry = cloud.registry(pass);
    let root = cloud.sandbox.path().join("many");
    let shared = noise(100, MIB);
    let mut images = [
        manifest(&root, &[shared.clone(), noise(101, 1000)]),
        manifest(&root, &[shared.clone(), noise(102, 1000)]),
    ];
    for (image, architecture) in images.iter_mut().zip(["amd64", "arm64"]) {
        image["platform"] = json!({"os": "linux", "architecture": architecture});
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let bytes = json!({"schemaVersion": 2, "mediaType": kind, "manifests": images}).to_string();
    index(&root, &[blob(&root, kind, bytes.as_bytes())]);
    let pushed = cloud.push("many", &registry, &[]).success().json();
    assert_whole(&registry, pushed["digest"].as_str().unwrap(), &[shared]);
    for image in &images {
        let path = format!(
            "/v2/team/flights/manifests/{}",
            image["digest"].as_str().unwrap()
        );
        assert_eq!(registry.ask("GET", &path).0, 200);
    }
    let (bytes, size) = (
        pushed["sent"].as_u64().unwrap(),
        pushed["size"].as_u64().unwrap(),
    );
    assert!(bytes < size + 10_000, "the shared layer once: {pushed}");
}

#[test]
fn an_invalid_destination_is_rejected_first() {
    let sandbox = Sandbox::new();
    let to = |to: &str, more: &[&str]| {
        let fixed = ["image", "push", "missing", "--to", to];
        sandbox.mlops(fixed.iter().chain(more))
    };
    for (text, says) in [
        ("127.0.0.1:1/x", "the tag is missing"),
        ("127.0.0.1:1/X:1", "lower-case"),
        ("http://127.0.0.1:1/x:1", "without a scheme"),
        (
            &format!("127.0.0.1:1/x@sha256:{}", "a".repeat(64)),
            "computes the digest",
        ),
    ] {
        let refused = to(text, &[]).code(2);
        assert!(refused.stderr.contains(says), "{text}: {}", refused.stderr);
    }
    let alone = sandbox
        .mlops(["image", "push", "x", "--plain-http"])
        .code(2);
    assert!(alone.stderr.contains("--to"), "{}", alone.stderr);
    let none = sandbox
        .mlops(["image", "push", "--to", "127.0.0.1:1/x:1"])
        .code(2);
    assert!(none.stderr.contains("SOURCE"), "{}", none.stderr);
}

#[test]
fn a_registry_without_tls_is_recognized() {
    let cloud = Cloud::new();
    cloud.layout("one", &[noise(110, 100)]);
    let to = format!(
        "{}/team/flights:v1",
        cloud.endpoint.strip_prefix("http://").unwrap()
    );
    let failed = cloud
        .sandbox
        .mlops(["image", "push", "one", "--to", &to])
        .code(1);
    assert!(failed.stderr.contains("--plain-http"), "{}", failed.stderr);
}
