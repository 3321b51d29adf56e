//! Unreferenced bytes are removed, and no others (issue 8, 2.5).

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::sandbox::{Sandbox, pause};

struct Cloud {
    sandbox: Sandbox,
    address: String,
    pid: String,
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn signed(service: &str) -> String {
    format!(
        "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, \
         SignedHeaders=host, Signature=0\r\nX-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\n\
         X-Amz-Date: 20260101T000000Z\r\n"
    )
}

impl Cloud {
    fn start() -> Self {
        let mut cloud = Self {
            sandbox: Sandbox::new(),
            address: String::new(),
            pid: String::new(),
        };
        cloud.serve();
        cloud
    }

    fn serve(&mut self) {
        let start = ["local", "start", "--detach", "--port", "0"];
        let _ = self.sandbox.mlops(start).success();
        let status = ["local", "status", "--output", "json"];
        let status = self.sandbox.mlops(status).success().json();
        let endpoint = status["endpoint"].as_str().unwrap();
        endpoint
            .strip_prefix("http://")
            .unwrap()
            .clone_into(&mut self.address);
        self.pid = status["pid"].to_string();
    }

    fn restart(&mut self) {
        let _ = self.sandbox.mlops(["local", "stop"]).success();
        self.serve();
    }

    fn kill(&self) {
        let _ = self
            .sandbox
            .program("", "kill", &["-9", &self.pid])
            .success();
    }

    fn begin(&self, method: &str, path: &str, headers: &str, length: usize) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\
             Content-Length: {length}\r\n\r\n",
            self.address
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> String {
        let mut stream = self.begin(method, path, headers, body.len());
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(
            answer.starts_with("HTTP/1.1 2"),
            "{method} {path}: {answer}"
        );
        answer
    }

    fn s3(&self, method: &str, path: &str, body: &[u8]) -> String {
        self.send(method, path, &signed("s3"), body)
    }

    fn ecr(&self, operation: &str, input: &Value) -> String {
        let headers = format!(
            "{}X-Amz-Target: AmazonEC2ContainerRegistry_V20150921.{operation}\r\n\
             Content-Type: application/x-amz-json-1.1\r\n",
            signed("ecr")
        );
        self.send("POST", "/", &headers, input.to_string().as_bytes())
    }

    /// Pushes an image of one layer; returns the digest of its manifest.
    fn push(&self, config: &[u8], layer: &[u8]) -> String {
        let headers = "Authorization: Basic QVdTOng=\r\nContent-Type: application/octet-stream\r\n";
        for blob in [config, layer] {
            let path = format!("/v2/flights/blobs/uploads/?digest=sha256:{}", sha256(blob));
            self.send("POST", &path, headers, blob);
        }
        let part = |kind: &str, bytes: &[u8]| {
            json!({
                "mediaType": kind, "size": bytes.len(), "digest": format!("sha256:{}", sha256(bytes)),
            })
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": part("application/vnd.oci.image.config.v1+json", config),
            "layers": [part("application/vnd.oci.image.layer.v1.tar", layer)],
        });
        let manifest = manifest.to_string();
        let digest = format!("sha256:{}", sha256(manifest.as_bytes()));
        let headers = "Authorization: Basic QVdTOng=\r\n\
                       Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
        let path = format!("/v2/flights/manifests/{digest}");
        self.send("PUT", &path, headers, manifest.as_bytes());
        digest
    }

    fn files(&self, directory: &str) -> BTreeSet<String> {
        let mut pending: Vec<PathBuf> =
            vec![self.sandbox.path().join(".mlops/local").join(directory)];
        let mut found = BTreeSet::new();
        while let Some(directory) = pending.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    pending.push(entry.path());
                } else {
                    found.insert(entry.file_name().into_string().unwrap());
                }
            }
        }
        found
    }

    /// Waits until exactly these blobs are left.
    fn has_blobs(&self, expected: &[&[u8]]) {
        let expected: BTreeSet<String> = expected.iter().map(|bytes| sha256(bytes)).collect();
        let start = Instant::now();
        while self.files("blobs") != expected {
            assert!(
                start.elapsed() < Duration::from_mins(1),
                "{:?} instead of {expected:?}",
                self.files("blobs")
            );
            pause();
        }
    }
}

#[test]
fn bytes_of_deleted_objects_and_images_are_removed() {
    let mut cloud = Cloud::start();
    cloud.s3("PUT", "/bucket-of-tests", b"");
    cloud.s3("PUT", "/bucket-of-tests/kept", b"kept");
    cloud.s3("PUT", "/bucket-of-tests/gone", b"gone");
    cloud.s3("PUT", "/bucket-of-tests/twice", b"named twice");
    cloud.s3("PUT", "/bucket-of-tests/again", b"named twice");
    for name in ["gone", "twice"] {
        cloud.s3("DELETE", &format!("/bucket-of-tests/{name}"), b"");
    }
    cloud.ecr("CreateRepository", &json!({"repositoryName": "flights"}));
    let first = cloud.push(b"{\"n\":1}", b"shared layer");
    let second = cloud.push(b"{\"n\":2}", b"shared layer");
    let delete =
        |digest: &str| json!({"repositoryName": "flights", "imageIds": [{"imageDigest": digest}]});
    cloud.ecr("BatchDeleteImage", &delete(&first));
    cloud.restart();
    let manifest = cloud.send(
        "GET",
        &format!("/v2/flights/manifests/{second}"),
        "Authorization: Basic QVdTOng=\r\n",
        b"",
    );
    let manifest = manifest.split_once("\r\n\r\n").unwrap().1.as_bytes();
    let kept: [&[u8]; 2] = [b"kept", b"named twice"];
    let image: [&[u8]; 3] = [b"{\"n\":2}", b"shared layer", manifest];
    cloud.has_blobs(&[&kept[..], &image[..]].concat());
    cloud.ecr("BatchDeleteImage", &delete(&second));
    cloud.restart();
    cloud.has_blobs(&kept);
    assert!(
        cloud
            .s3("GET", "/bucket-of-tests/again", b"")
            .ends_with("named twice")
    );
}

#[test]
fn remains_of_a_crash_are_removed_but_resumable_uploads_are_kept() {
    let mut cloud = Cloud::start();
    cloud.s3("PUT", "/bucket-of-tests", b"");
    cloud.ecr("CreateRepository", &json!({"repositoryName": "flights"}));
    let basic = "Authorization: Basic QVdTOng=\r\n";
    let answer = cloud.send("POST", "/v2/flights/blobs/uploads/", basic, b"");
    let location = answer
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .unwrap()
        .to_owned();
    let path = location
        .split_once("/v2/")
        .map(|(_, path)| format!("/v2/{path}"))
        .unwrap();
    cloud.send("PATCH", &path, basic, b"first half, ");
    // More than is buffered before it is written.
    let mut stream = cloud.begin("PUT", "/bucket-of-tests/x", &signed("s3"), 10 << 20);
    stream.write_all(&vec![1; 1 << 20]).unwrap();
    let start = Instant::now();
    while cloud.files("blobs/tmp").len() < 2 {
        assert!(start.elapsed() < Duration::from_mins(1));
        pause();
    }
    cloud.kill();
    cloud.serve();
    assert_eq!(cloud.files("blobs/tmp").len(), 1);
    let whole = b"first half, second half";
    let joint = if path.contains('?') { '&' } else { '?' };
    let end = format!("{path}{joint}digest=sha256:{}", sha256(whole));
    cloud.send("PUT", &end, basic, b"second half");
    cloud.restart();
    cloud.has_blobs(&[whole]);
}
