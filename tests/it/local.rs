//! The local cloud's server: its lifecycle, its lock, and access control.

use snapbox::str;

use crate::sandbox::Sandbox;

fn endpoint(sandbox: &Sandbox) -> String {
    let status = sandbox
        .mlops(["local", "status", "--output", "json"])
        .success();
    status.json()["endpoint"].as_str().unwrap().to_owned()
}

/// Sends one plain HTTP request; returns the response as text.
fn http(endpoint: &str, request: &str) -> String {
    use std::io::{Read, Write};
    let address = endpoint.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream
        .write_all(request.replace("HOST", address).as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn one_server_serves_a_state_directory() {
    let sandbox = Sandbox::new();
    sandbox
        .mlops(["local", "status"])
        .success()
        .stdout(str![[r#"
not running, state in [DIR]/.mlops/local

"#]]);
    // Not the default port: another test's server could take it while this one is stopped.
    sandbox
        .mlops(["local", "start", "--detach", "--port", "0"])
        .success()
        .stdout(str![[r#"
running at http://127.0.0.1:[PORT] (process [PID]), state in [DIR]/.mlops/local

"#]]);
    let first = endpoint(&sandbox);
    let second = sandbox.mlops(["local", "start", "--port", "0"]).code(1);
    assert!(second.stderr.contains("already runs"), "{}", second.stderr);
    sandbox.mlops(["local", "stop"]).success().stdout(str![[r#"
Stopped the local cloud; its data is kept.

"#]]);
    sandbox.mlops(["local", "start", "--detach"]).success();
    assert_eq!(endpoint(&sandbox), first, "the address stays the same");
}

#[test]
fn a_background_server_is_started_with_its_options() {
    let sandbox = Sandbox::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let start = [
        "local",
        "start",
        "--detach",
        "--require-credentials",
        "--port",
        &port,
    ];
    let taken = sandbox.mlops(start).code(1);
    assert!(
        taken.stderr.contains(&format!("port {port} is in use")),
        "{}",
        taken.stderr
    );
    drop(listener);
    let _ = sandbox.mlops(start).success();
    assert_eq!(endpoint(&sandbox), format!("http://127.0.0.1:{port}"));
    let answer = http(
        &endpoint(&sandbox),
        "POST / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/sts/aws4_request, \
         SignedHeaders=host, Signature=0\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 43\r\n\r\n\
         Action=GetCallerIdentity&Version=2011-06-15",
    );
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let again = sandbox.mlops(["local", "start", "--detach"]).code(1);
    assert!(again.stderr.contains("already runs"), "{}", again.stderr);
}

#[test]
fn only_a_state_directory_is_used_or_removed() {
    let sandbox = Sandbox::new();
    sandbox.write("mine/precious.txt", "x");
    let reset = sandbox
        .mlops(["local", "reset", "--yes", "--state", "mine"])
        .code(2);
    assert!(
        reset.stderr.contains("nothing was removed"),
        "{}",
        reset.stderr
    );
    let start = sandbox
        .mlops(["local", "start", "--port", "0", "--state", "mine"])
        .code(2);
    assert!(start.stderr.contains("other files"), "{}", start.stderr);
    assert!(sandbox.path().join("mine/precious.txt").exists());
}

#[test]
fn a_stale_address_is_not_followed() {
    let sandbox = Sandbox::new();
    // Not the default port, which other tests' servers use as well.
    let start = ["local", "start", "--detach", "--port", "0"];
    let _ = sandbox.mlops(start).success();
    let first = endpoint(&sandbox);
    let _ = sandbox.mlops(["local", "stop"]).success();
    // A different program occupies the port.
    let _other = std::net::TcpListener::bind(first.strip_prefix("http://").unwrap()).unwrap();
    let _ = sandbox.mlops(["local", "start", "--detach"]).success();
    assert_ne!(endpoint(&sandbox), first);
}

#[test]
fn a_port_in_use_is_named() {
    let sandbox = Sandbox::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let run = sandbox.mlops(["local", "start", "--port", &port]).code(1);
    assert!(
        run.stderr.contains(&format!("port {port} is in use")),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("--port 0"), "{}", run.stderr);
}

#[test]
fn a_newer_state_directory_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.mlops(["local", "start", "--detach"]).success();
    sandbox.mlops(["local", "stop"]).success();
    let database = sandbox.path().join(".mlops/local/records.sqlite");
    // `PRAGMA user_version` is the big-endian number at byte 60 of the file.
    let mut bytes = std::fs::read(&database).unwrap();
    bytes[60..64].copy_from_slice(&999_u32.to_be_bytes());
    std::fs::write(&database, bytes).unwrap();
    let run = sandbox.mlops(["local", "start", "--port", "0"]).code(1);
    assert!(run.stderr.contains("newer mlops"), "{}", run.stderr);
    assert!(run.stderr.contains("mlops local reset"), "{}", run.stderr);
    let detached = sandbox.mlops(["local", "start", "--detach"]).code(1);
    assert!(
        detached.stderr.contains("newer mlops"),
        "{}",
        detached.stderr
    );
}

#[test]
fn a_web_page_cannot_drive_it() {
    let sandbox = Sandbox::new();
    sandbox.mlops(["local", "start", "--detach"]).success();
    let endpoint = endpoint(&sandbox);
    let call = |headers: &str| {
        http(
            &endpoint,
            &format!(
                "POST / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n{headers}\
                 Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 43\r\n\r\n\
                 Action=GetCallerIdentity&Version=2011-06-15"
            ),
        )
    };
    let signed = "Authorization: AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/sts/aws4_request, \
                  SignedHeaders=host, Signature=0\r\n";
    let answer = call(signed);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains("<Account>000000000000</Account>"),
        "{answer}"
    );
    for (what, headers) in [
        (
            "a foreign origin",
            format!("{signed}Origin: https://evil.example\r\n"),
        ),
        (
            "a cross-site fetch",
            format!("{signed}Sec-Fetch-Site: cross-site\r\n"),
        ),
        ("no signature", String::new()),
    ] {
        let answer = call(&headers);
        assert!(answer.starts_with("HTTP/1.1 403"), "{what}: {answer}");
    }
    let rebound = http(
        &endpoint,
        &format!("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n{signed}\r\n"),
    );
    assert!(rebound.starts_with("HTTP/1.1 403"), "{rebound}");
}

#[test]
fn the_state_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    sandbox.mlops(["local", "start", "--detach"]).success();
    let mode = |path: &str| {
        let metadata = std::fs::metadata(sandbox.path().join(path)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(".mlops/local"), 0o700);
    assert_eq!(mode(".mlops/local/address.json"), 0o600);
}

#[test]
fn reset_asks_and_removes_everything() {
    let sandbox = Sandbox::new();
    sandbox.mlops(["local", "start", "--detach"]).success();
    let refused = sandbox.mlops(["local", "reset"]).code(2);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert!(sandbox.path().join(".mlops/local").exists());
    sandbox.mlops(["local", "reset", "--yes"]).success();
    assert!(!sandbox.path().join(".mlops/local").exists());
}
