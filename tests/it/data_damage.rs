//! Issue 8, 2.1: data whose bytes were damaged in the local cloud is named, and a push repairs it.

use std::path::PathBuf;

use sha2::{Digest, Sha256};
use snapbox::str;

use crate::data::{BUCKET, bytes_of, clients, push_to};
use crate::sandbox::Sandbox;

/// Returns the path of the blob with these bytes in the sandbox's state directory.
fn blob(sandbox: &Sandbox, bytes: &[u8]) -> PathBuf {
    let name = hex::encode(Sha256::digest(bytes));
    let blobs = sandbox.path().join(".mlops/local/blobs");
    blobs.join(&name[..2]).join(name)
}

fn flip(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn data(sandbox: &Sandbox, command: &str, exit: i32) -> serde_json::Value {
    let args = ["--local", "data", command, "flights", "--bucket", BUCKET];
    sandbox
        .mlops(args.into_iter().chain(["--output", "json"]))
        .code(exit)
        .json()
}

#[tokio::test(flavor = "multi_thread")]
async fn issue_8_2_1_verify_names_damage_and_push_repairs_it() {
    let sandbox = Sandbox::new();
    let _clients = clients(&sandbox).await;
    let big = bytes_of(9 << 20);
    for (path, bytes) in [("a.csv", &b"one"[..]), ("b.csv", b"two"), ("big.bin", &big)] {
        sandbox.write(&format!("d/{path}"), bytes);
    }
    for index in 0..40 {
        sandbox.write(&format!("d/more/{index}"), format!("file {index}"));
    }
    let first = push_to(&sandbox, "d");
    assert_eq!(first["uploaded"], 43);
    assert_eq!(push_to(&sandbox, "d")["unchanged"], true);

    flip(&blob(&sandbox, b"two"));
    std::fs::File::options()
        .write(true)
        .open(blob(&sandbox, &big))
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    for command in ["verify", "pull"] {
        let found = data(&sandbox, command, 3);
        let problems = found["problems"].as_array().unwrap();
        let paths: Vec<_> = problems.iter().map(|problem| &problem["path"]).collect();
        assert_eq!(paths, ["b.csv", "big.bin"], "{command}");
        for problem in problems {
            let text = problem["problem"].as_str().unwrap();
            assert!(text.contains("is damaged"), "{text}");
        }
    }
    // Nothing changed on this machine, so only the damaged file is uploaded.
    let repaired = push_to(&sandbox, "d");
    assert_eq!(repaired["uploaded"], 2, "{repaired}");
    assert_eq!(repaired["uploaded_bytes"], (9 << 20) + 3);
    let verified = data(&sandbox, "verify", 0);
    assert_eq!(verified["problems"], serde_json::json!([]));
    assert_eq!(verified["version"], repaired["version"]);
    assert_eq!(push_to(&sandbox, "d")["unchanged"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_is_reported_and_replaced() {
    let sandbox = Sandbox::new();
    let clients = clients(&sandbox).await;
    sandbox.write("d/a.csv", "one");
    sandbox.write("d/big.bin", bytes_of(9 << 20));
    let first = push_to(&sandbox, "d");
    let manifest = clients
        .s3
        .get_object()
        .bucket(BUCKET)
        .key("datasets/flights/manifest.json")
        .send()
        .await
        .unwrap();
    let manifest = manifest.body.collect().await.unwrap().to_vec();
    flip(&blob(&sandbox, &manifest));
    let args = ["--local", "data", "verify", "flights", "--bucket", BUCKET];
    sandbox.mlops(args).code(3).stderr(str![[r#"
s3 is busy or did not answer: attempt 2 of 3
s3 is busy or did not answer: attempt 3 of 3
error: s3://data/datasets/flights/manifest.json is damaged: its content differs from what was uploaded
hint: push the data set again to create an intact version

"#]]);

    let second = push_to(&sandbox, "d");
    assert_ne!(second["version"], first["version"]);
    assert_eq!(
        data(&sandbox, "verify", 0)["problems"],
        serde_json::json!([])
    );
    let versions = data(&sandbox, "versions", 0);
    assert_eq!(versions["versions"].as_array().unwrap().len(), 2);
}
