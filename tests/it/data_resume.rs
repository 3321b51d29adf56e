//! Data sets over interrupted connections: a version is never incomplete, and uploaded parts are
//! not uploaded again.

use std::io::{Read, Write};

use crate::data::{BUCKET, bytes_of, clients, endpoint, pull, push_to};
use crate::gate::{Direction, Fault, Gate};
use crate::sandbox::{Sandbox, pause};

const PART: u64 = 8 << 20;

/// Starts a command against an endpoint.
fn spawn(sandbox: &Sandbox, endpoint: &str, args: &[&str]) -> std::process::Child {
    let mut command = sandbox.command("");
    command
        .args(args)
        .args(["--endpoint-url", endpoint, "--bucket", BUCKET])
        .env("AWS_ACCESS_KEY_ID", "x")
        .env("AWS_SECRET_ACCESS_KEY", "y")
        .env("AWS_REGION", "us-east-1")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    command.spawn().unwrap()
}

fn kill(mut child: std::process::Child) {
    assert!(child.try_wait().unwrap().is_none(), "it still ran");
    child.kill().unwrap();
    child.wait().unwrap();
}

fn verified(sandbox: &Sandbox) -> serde_json::Value {
    let args = ["--local", "data", "verify", "flights", "--bucket", BUCKET];
    let run = sandbox.mlops(args.into_iter().chain(["--output", "json"]));
    run.success().json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_push_keeps_the_old_version_and_the_next_one_resumes() {
    let sandbox = Sandbox::new();
    let _clients = clients(&sandbox).await;
    sandbox.write("d/small.csv", "one");
    let first = push_to(&sandbox, "d");

    let size = 8 * PART + 5;
    sandbox.write("d/big.bin", bytes_of(size));
    sandbox.write("d/small.csv", "other");
    // At most five parts are in flight: once more bytes have passed, a part was acknowledged.
    let gate = Gate::new(
        &endpoint(&sandbox),
        Direction::Requests,
        5 * PART + (1 << 20),
        Fault::Stall,
    );
    let child = spawn(&sandbox, &gate.endpoint, &["data", "push", "d", "flights"]);
    gate.wait();
    kill(child);
    assert_eq!(verified(&sandbox)["version"], first["version"]);

    let second = push_to(&sandbox, "d");
    let resumed = second["resumed_bytes"].as_u64().unwrap();
    assert!(resumed > 0 && resumed.is_multiple_of(PART), "{second}");
    // The small file is one of few, so it is uploaded again without a check.
    assert_eq!(
        second["uploaded_bytes"].as_u64().unwrap(),
        size - resumed + 5,
        "{second}"
    );
    assert_eq!(verified(&sandbox)["version"], second["version"]);
    assert_eq!(pull(&sandbox, &["flights", "out"])["files"], 2);
    assert!(std::fs::read(sandbox.path().join("out/big.bin")).unwrap() == bytes_of(size));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_upload_of_different_bytes_is_not_reused() {
    let sandbox = Sandbox::new();
    let _clients = clients(&sandbox).await;
    let size = 7 * PART;
    sandbox.write("d/big.bin", bytes_of(size));
    let gate = Gate::new(
        &endpoint(&sandbox),
        Direction::Requests,
        5 * PART + (1 << 20),
        Fault::Stall,
    );
    let child = spawn(&sandbox, &gate.endpoint, &["data", "push", "d", "flights"]);
    gate.wait();
    kill(child);
    // Now each part differs in one byte.
    let mut bytes = bytes_of(size);
    for at in bytes.iter_mut().step_by(usize::try_from(PART).unwrap()) {
        *at ^= 1;
    }
    sandbox.write("d/big.bin", &bytes);
    let pushed = push_to(&sandbox, "d");
    assert_eq!(pushed["resumed_bytes"], 0);
    assert_eq!(pushed["uploaded_bytes"], size);
    assert_eq!(verified(&sandbox)["problems"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_of_a_killed_push_are_not_uploaded_again() {
    let sandbox = Sandbox::new();
    let _clients = clients(&sandbox).await;
    for index in 0..200_u64 {
        let mut bytes = bytes_of(64 << 10);
        bytes[..8].copy_from_slice(&index.to_le_bytes());
        sandbox.write(&format!("d/{index:03}.bin"), bytes);
    }
    let gate = Gate::new(
        &endpoint(&sandbox),
        Direction::Requests,
        8 << 20,
        Fault::Stall,
    );
    let child = spawn(&sandbox, &gate.endpoint, &["data", "push", "d", "flights"]);
    gate.wait();
    kill(child);
    let pushed = push_to(&sandbox, "d");
    let resumed = pushed["resumed_bytes"].as_u64().unwrap();
    assert!(resumed > 0, "{pushed}");
    assert_eq!(
        pushed["uploaded_bytes"].as_u64().unwrap() + resumed,
        200 * (64 << 10)
    );
    assert_eq!(verified(&sandbox)["problems"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_once_costs_one_part() {
    let sandbox = Sandbox::new();
    let _clients = clients(&sandbox).await;
    sandbox.write("d/big.bin", bytes_of(3 * PART));
    let gate = Gate::new(&endpoint(&sandbox), Direction::Requests, PART, Fault::Cut);
    let mut child = spawn(&sandbox, &gate.endpoint, &["data", "push", "d", "flights"]);
    gate.wait();
    assert!(child.wait().unwrap().success());
    assert_eq!(verified(&sandbox)["problems"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_changed_in_transit_creates_no_version() {
    let sandbox = Sandbox::new();
    let clients = clients(&sandbox).await;
    for (size, at) in [(2 * PART, 1 << 20), (200 << 10, 100 << 10)] {
        sandbox.write("d/f.bin", bytes_of(size));
        let gate = Gate::new(&endpoint(&sandbox), Direction::Requests, at, Fault::Flip);
        let mut child = spawn(&sandbox, &gate.endpoint, &["data", "push", "d", "flights"]);
        gate.wait();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{size} bytes");
        let found = mlops::aws::datasets::latest(&clients.s3, BUCKET, &"flights".parse().unwrap())
            .await
            .unwrap();
        assert_eq!(found, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_pull_resumes_within_the_file() {
    let sandbox = Sandbox::new();
    let _clients = clients(&sandbox).await;
    let size = 3 * PART;
    sandbox.write("d/big.bin", bytes_of(size));
    push_to(&sandbox, "d");
    let gate = Gate::new(
        &endpoint(&sandbox),
        Direction::Responses,
        PART,
        Fault::Stall,
    );
    let child = spawn(
        &sandbox,
        &gate.endpoint,
        &["data", "pull", "flights", "out"],
    );
    gate.wait();
    let out = sandbox.path().join("out");
    // The command writes the received bytes; the rest never arrives.
    let written = || {
        std::fs::read_dir(&out)
            .into_iter()
            .flatten()
            .any(|entry| entry.unwrap().metadata().unwrap().len() > 0)
    };
    while !written() {
        pause();
    }
    kill(child);
    assert!(!out.join("big.bin").exists());
    let pulled = pull(&sandbox, &["flights", "out"]);
    let resumed = pulled["resumed_bytes"].as_u64().unwrap();
    assert!(resumed > 0, "{pulled}");
    assert_eq!(pulled["fetched_bytes"].as_u64().unwrap(), size - resumed);
    assert!(std::fs::read(out.join("big.bin")).unwrap() == bytes_of(size));
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);

    // A partial file that is not a prefix of the file is discarded.
    std::fs::remove_file(out.join("big.bin")).unwrap();
    let gate = Gate::new(
        &endpoint(&sandbox),
        Direction::Responses,
        PART,
        Fault::Stall,
    );
    let child = spawn(
        &sandbox,
        &gate.endpoint,
        &["data", "pull", "flights", "out"],
    );
    gate.wait();
    while !written() {
        pause();
    }
    kill(child);
    let draft = std::fs::read_dir(&out).unwrap().next().unwrap().unwrap();
    std::fs::write(draft.path(), "not the beginning").unwrap();
    assert_eq!(pull(&sandbox, &["flights", "out"])["resumed_bytes"], 0);
    assert!(std::fs::read(out.join("big.bin")).unwrap() == bytes_of(size));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_requests_the_rest_of_a_broken_response() {
    let sandbox = Sandbox::new();
    let _clients = clients(&sandbox).await;
    sandbox.write("d/big.bin", bytes_of(3 * PART));
    push_to(&sandbox, "d");
    let gate = Gate::new(&endpoint(&sandbox), Direction::Responses, PART, Fault::Cut);
    let mut child = spawn(
        &sandbox,
        &gate.endpoint,
        &["data", "pull", "flights", "out"],
    );
    gate.wait();
    assert!(child.wait().unwrap().success());
    let path = sandbox.path().join("out/big.bin");
    assert!(std::fs::read(path).unwrap() == bytes_of(3 * PART));
}

#[test]
fn expired_credentials_are_exit_4() {
    let sandbox = Sandbox::new();
    sandbox.write("d/a.csv", "x");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 4096]);
            let body = "<Error><Code>ExpiredToken</Code><Message>expired</Message></Error>";
            let _ = write!(
                connection,
                "HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let mut child = spawn(&sandbox, &endpoint, &["data", "push", "d", "flights"]);
    assert_eq!(child.wait().unwrap().code(), Some(4));
}
