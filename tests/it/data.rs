//! Data sets: pushes, versions, snapshots.

use std::sync::atomic::{AtomicU64, Ordering};

use mlops::aws::Clients;
use mlops::aws::datasets;
use mlops::aws::s3::{self, S3Uri};
use snapbox::str;

use crate::sandbox::Sandbox;

pub(crate) const BUCKET: &str = "data";

/// Returns the address of the sandbox's local cloud, and starts it.
pub(crate) fn endpoint(sandbox: &Sandbox) -> String {
    let address = sandbox.path().join(".mlops/local/address.json");
    let found: serde_json::Value = if let Ok(bytes) = std::fs::read(address) {
        serde_json::from_slice(&bytes).unwrap()
    } else {
        let start = ["local", "start", "--detach", "--output", "json"];
        sandbox.mlops(start).success().json()
    };
    found["endpoint"].as_str().unwrap().to_owned()
}

/// Returns clients of the sandbox's local cloud, which has a versioned bucket.
pub(crate) async fn clients(sandbox: &Sandbox) -> Clients {
    let clients = Clients::of_endpoint(&endpoint(sandbox), "x", "y", None);
    clients
        .s3
        .create_bucket()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    clients
        .s3
        .put_bucket_versioning()
        .bucket(BUCKET)
        .versioning_configuration(
            aws_sdk_s3::types::VersioningConfiguration::builder()
                .status(aws_sdk_s3::types::BucketVersioningStatus::Enabled)
                .build(),
        )
        .send()
        .await
        .unwrap();
    clients
}

/// Returns incompressible bytes that differ for each seed.
pub(crate) fn bytes_of(size: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap() + 8);
    while (bytes.len() as u64) < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(usize::try_from(size).unwrap());
    bytes
}

/// Runs `mlops --local data ARGS`, which must succeed.
pub(crate) fn data(sandbox: &Sandbox, args: &[&str]) -> serde_json::Value {
    let mut all = vec!["--local", "--yes", "data"];
    all.extend(args);
    all.extend(["--bucket", BUCKET, "--output", "json"]);
    sandbox.mlops(all).success().json()
}

/// Pushes a directory to the data set `flights`.
pub(crate) fn push_to(sandbox: &Sandbox, directory: &str) -> serde_json::Value {
    data(sandbox, &["push", directory, "flights"])
}

/// Pulls a version; `args` are the version and the directory.
pub(crate) fn pull(sandbox: &Sandbox, args: &[&str]) -> serde_json::Value {
    let mut all = vec!["pull"];
    all.extend(args);
    data(sandbox, &all)
}

fn push(sandbox: &Sandbox) -> serde_json::Value {
    push_to(sandbox, "d")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_holds_the_bytes_of_its_version() {
    let sandbox = Sandbox::new();
    let clients = clients(&sandbox).await;
    sandbox.write("d/a b.csv", "one");
    sandbox.write("d/sub/c.csv", "kept");
    let first = push(&sandbox);
    sandbox.write("d/a b.csv", "two");
    assert_eq!(push(&sandbox)["uploaded"], 1);

    let dataset = "flights".parse().unwrap();
    let id = first["version"].as_str().unwrap();
    let first = datasets::resolve(&clients.s3, BUCKET, &dataset, id)
        .await
        .unwrap();
    let copied = AtomicU64::new(0);
    let count = |bytes| {
        copied.fetch_add(bytes, Ordering::Relaxed);
    };
    let target = datasets::snapshot(&clients.s3, BUCKET, &first, &count)
        .await
        .unwrap();
    assert_eq!(target.key, format!("snapshots/flights/{}/", first.id));
    assert_eq!(copied.load(Ordering::Relaxed), 7);
    let file = S3Uri::new(BUCKET, format!("{}a b.csv", target.key));
    let bytes = s3::get(&clients.s3, &file, None).await.unwrap().unwrap();
    assert_eq!(bytes.bytes, b"one");

    datasets::snapshot(&clients.s3, BUCKET, &first, &count)
        .await
        .unwrap();
    let written = s3::versions(&clients.s3, &file, None).await.unwrap();
    assert_eq!(written.versions.len(), 1, "a snapshot is never overwritten");

    // A file that does not match the manifest must be reported.
    clients
        .s3
        .put_object()
        .bucket(BUCKET)
        .key(&file.key)
        .body(b"damaged".to_vec().into())
        .send()
        .await
        .unwrap();
    let error = datasets::snapshot(&clients.s3, BUCKET, &first, &count)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_concurrent_pushes_fails() {
    let sandbox = Sandbox::new();
    let clients = clients(&sandbox).await;
    sandbox.write("d/a.csv", "one");
    sandbox.write("e/a.csv", "two");
    let dataset = "flights".parse().unwrap();
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let one = datasets::gather(&sandbox.path().join("d")).unwrap();
    let two = datasets::gather(&sandbox.path().join("e")).unwrap();
    let (one, two) = tokio::join!(
        datasets::push(&clients.s3, BUCKET, &dataset, &one, now, &|_| {}),
        datasets::push(&clients.s3, BUCKET, &dataset, &two, now, &|_| {}),
    );
    let (won, lost) = match (one, two) {
        (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
        other => panic!("{other:?}"),
    };
    assert!(
        lost.to_string()
            .contains("someone else pushed flights first"),
        "{lost}"
    );
    let newest = datasets::latest(&clients.s3, BUCKET, &dataset)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(newest.id, won.version.id);
    let problems = datasets::verify(&clients.s3, BUCKET, &newest, &|_| {})
        .await
        .unwrap();
    assert_eq!(problems, []);
}

#[test]
fn invalid_files_are_rejected_before_anything_is_uploaded() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("empty")).unwrap();
    sandbox
        .mlops(["--local", "data", "push", "empty", "x"])
        .code(2)
        .stderr(str![[r#"
Reading empty
error: [DIR]/empty contains no files
hint: pass a directory that contains files, or a single file

"#]]);
    sandbox.write("outside.csv", "x");
    std::fs::create_dir(sandbox.path().join("d")).unwrap();
    std::os::unix::fs::symlink(
        sandbox.path().join("outside.csv"),
        sandbox.path().join("d/link.csv"),
    )
    .unwrap();
    sandbox
        .mlops(["--local", "data", "push", "d", "x"])
        .code(2)
        .stderr(str![[r#"
Reading d
error: [DIR]/d/link.csv is a link that points outside the directory
hint: copy the file into the directory, or push the target of the link

"#]]);
    sandbox
        .mlops(["--local", "data", "push", "d"])
        .code(2)
        .stderr(str![[r#"
error: no data set given, and no mlops.toml found
hint: pass the name of the data set

"#]]);
}
