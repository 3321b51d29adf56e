//! Issue 8, 2.5: promotions that are interrupted by another promotion or by a `kill -9` of the
//! client. A proxy holds the client's requests back, so that the order of events is deterministic.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::promote::{project, train};
use crate::sandbox::Sandbox;

/// Where to hold a client: at its first request for an operation, before the server receives the
/// request or before the client receives the response.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Point {
    Before(&'static str),
    After(&'static str),
}

/// A proxy in front of the local cloud that holds one request.
pub(crate) struct HoldingProxy {
    url: String,
    reached: Receiver<()>,
    released: Arc<(Mutex<bool>, Condvar)>,
}

impl HoldingProxy {
    fn new(upstream: &str, point: Point) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (reach, reached) = channel();
        let released: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let (upstream, release) = (upstream.to_owned(), Arc::clone(&released));
        let first = Arc::new(Mutex::new(true));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (upstream, reach, release, first) = (
                    upstream.clone(),
                    reach.clone(),
                    Arc::clone(&release),
                    Arc::clone(&first),
                );
                std::thread::spawn(move || {
                    relay(client, &upstream, point, &first, &reach, &release);
                });
            }
        });
        Self {
            url,
            reached,
            released,
        }
    }

    /// Waits until the client is held.
    fn wait(&self) {
        self.reached
            .recv_timeout(Duration::from_mins(4))
            .expect("the client gets that far");
    }

    fn release(&self) {
        *self.released.0.lock().unwrap() = true;
        self.released.1.notify_all();
    }
}

/// Forwards one request; its response ends with the connection.
fn relay(
    mut client: TcpStream,
    upstream: &str,
    point: Point,
    first: &Mutex<bool>,
    reach: &Sender<()>,
    release: &(Mutex<bool>, Condvar),
) -> Option<()> {
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 16384];
    let end = loop {
        let read = client.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let length = head.lines().find_map(|line| {
        let line = line.to_lowercase();
        line.strip_prefix("content-length:")?.trim().parse().ok()
    });
    while bytes.len() < end + length.unwrap_or(0) {
        let read = client.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    }
    let body = bytes.split_off(end);
    let mut forwarded = String::new();
    for line in head.trim_end().lines() {
        let name = line.split(':').next().unwrap_or_default().to_lowercase();
        if name != "host" && name != "connection" {
            forwarded.push_str(line);
            forwarded.push_str("\r\n");
        }
    }
    forwarded.push_str(&format!("Host: {upstream}\r\nConnection: close\r\n\r\n"));

    let (Point::Before(operation) | Point::After(operation)) = point;
    let target = format!(".{operation}\r\n");
    let action = format!("Action={operation}&");
    let is_it = head.contains(&target) || String::from_utf8_lossy(&body).contains(&action);
    let holds = is_it && std::mem::take(&mut *first.lock().unwrap());
    let hold = || {
        let _ = reach.send(());
        let mut released = release.0.lock().unwrap();
        while !*released {
            released = release.1.wait(released).unwrap();
        }
    };
    if holds && matches!(point, Point::Before(_)) {
        hold();
    }
    let mut server = TcpStream::connect(upstream).ok()?;
    server.write_all(forwarded.as_bytes()).ok()?;
    server.write_all(&body).ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).ok()?;
    if holds && matches!(point, Point::After(_)) {
        hold();
    }
    client.write_all(&answer).ok()
}

/// Returns the address of the sandbox's local cloud.
fn address(sandbox: &Sandbox) -> String {
    let status = sandbox.mlops(["--local", "local", "status", "--output", "json"]);
    let endpoint = status.success().json()["endpoint"].clone();
    let endpoint = endpoint.as_str().unwrap().to_owned();
    endpoint.strip_prefix("http://").unwrap().to_owned()
}

fn promote(sandbox: &Sandbox, version: u32, place: &[&str]) -> Child {
    start(sandbox, &["promote", &version.to_string()], place)
}

/// Starts a command that asks.
fn start(sandbox: &Sandbox, words: &[&str], place: &[&str]) -> Child {
    let mut command: Command = sandbox.command("");
    command
        .args(place)
        .args(words)
        .args(["--yes", "--output", "json"])
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// A promotion that is held at a point.
fn held(sandbox: &Sandbox, version: u32, point: Point) -> (Child, HoldingProxy) {
    hold(sandbox, &["promote", &version.to_string()], point)
}

/// A command that is held at a point.
pub(crate) fn hold(sandbox: &Sandbox, words: &[&str], point: Point) -> (Child, HoldingProxy) {
    let holding = HoldingProxy::new(&address(sandbox), point);
    let child = start(sandbox, words, &["--endpoint-url", &holding.url]);
    holding.wait();
    (child, holding)
}

/// The output of a command, and whether it succeeded.
fn output_of(child: Child) -> (bool, String, String) {
    let output = child.wait_with_output().unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn status(sandbox: &Sandbox) -> Value {
    let status = sandbox.mlops(["--local", "status", "--output", "json"]);
    status.success().json()
}

/// Returns the approval status of a version.
fn approval(sandbox: &Sandbox, version: u32) -> String {
    let status = status(sandbox);
    let models = status["models"].as_array().unwrap();
    let found = models.iter().find(|model| model["version"] == version);
    found.unwrap()["status"].as_str().unwrap().to_owned()
}

/// One promotion is held after its reservation while another starts: one of them wins, and the
/// other changes nothing.
fn of_two_one_wins(sandbox: &Sandbox, first: u32, second: u32) -> u32 {
    let (one, holding) = held(sandbox, first, Point::Before("ExecuteChangeSet"));
    let mut two = promote(sandbox, second, &["--local"]);
    // It waits for the other promotion, or has already ended.
    let mut said = String::new();
    let mut lines = BufReader::new(two.stderr.take().unwrap());
    while !said.contains("waiting for it") && lines.read_line(&mut said).unwrap() > 0 {}
    holding.release();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    said.push_str(&rest);
    let two_won = two.wait().unwrap().success();
    let (one_won, _, one_said) = output_of(one);
    assert_ne!(one_won, two_won, "{one_said}\n----\n{said}");
    let (winner, loser, lost) = if one_won {
        (first, second, said)
    } else {
        (second, first, one_said)
    };
    assert!(
        lost.contains("another deployment of small-endpoint")
            && lost.contains("nothing was changed"),
        "{lost}"
    );
    assert!(lost.contains("hints") && lost.contains("retry"), "{lost}");
    assert!(!lost.contains("ChangeSet"), "{lost}");
    assert_eq!(approval(sandbox, loser), "PendingManualApproval");
    assert_eq!(approval(sandbox, winner), "Approved");
    assert_eq!(status(sandbox)["live"], winner);
    loser
}

#[test]
fn issue_8_2_5_of_two_concurrent_promotions_one_wins_and_the_other_changes_nothing() {
    let sandbox = project();
    for answer in ["one", "two", "three"] {
        let _ = train(&sandbox, &[&format!("Answer={answer}")]);
    }
    // A new stack, then an existing one.
    let loser = of_two_one_wins(&sandbox, 1, 2);
    let loser = of_two_one_wins(&sandbox, loser, 3);

    // Two promotions with the same target both succeed.
    let (one, holding) = held(&sandbox, loser, Point::Before("ExecuteChangeSet"));
    let (two, ..) = output_of(promote(&sandbox, loser, &["--local"]));
    holding.release();
    let (one, out, said) = output_of(one);
    assert!(one && two, "{out}{said}");
    assert_eq!(status(&sandbox)["live"], loser);
}

/// A different checkout, with other settings, takes over a version that was approved here.
#[test]
fn the_approval_of_a_version_promoted_elsewhere_is_kept() {
    let sandbox = project();
    let _ = train(&sandbox, &["Answer=one"]);
    let (one, holding) = held(&sandbox, 1, Point::Before("ExecuteChangeSet"));
    let settings = std::fs::read_to_string(sandbox.path().join("mlops.toml")).unwrap();
    assert!(!settings.contains("capture_percent"), "{settings}");
    let others = match settings.split_once("[deploy]\n") {
        Some((before, after)) => format!("{before}[deploy]\ncapture_percent = 50\n{after}"),
        None => format!("{settings}\n[deploy]\ncapture_percent = 50\n"),
    };
    sandbox.write("mlops.toml", others);
    let (two_won, _, said) = output_of(promote(&sandbox, 1, &["--local"]));
    assert!(two_won && said.contains("abandoned"), "{said}");
    holding.release();
    let (one_won, _, said) = output_of(one);
    assert!(!one_won && said.contains("started first"), "{said}");
    assert_eq!(status(&sandbox)["live"], 1);
    assert_eq!(approval(&sandbox, 1), "Approved");
}

#[test]
fn issue_8_2_5_the_next_promotion_completes_that_of_a_killed_client() {
    let sandbox = project();
    for answer in ["one", "two", "three", "four"] {
        let _ = train(&sandbox, &[&format!("Answer={answer}")]);
    }
    for (version, point) in [
        (1, Point::After("CreateChangeSet")),
        (2, Point::Before("ExecuteChangeSet")),
        (3, Point::After("ExecuteChangeSet")),
    ] {
        let (mut killed, _holding) = held(&sandbox, version, point);
        killed.kill().unwrap();
        killed.wait().unwrap();
        let (succeeded, _, said) = output_of(promote(&sandbox, version, &["--local"]));
        assert!(succeeded, "{point:?}: {said}");
        assert_eq!(status(&sandbox)["live"], version, "{point:?}");
        // The second client completed the release of the first, with its exact bytes.
        let list = sandbox.mlops(["--local", "releases", "list", "--output", "json"]);
        let list = list.success().json();
        let releases = list["releases"].as_array().unwrap();
        assert_eq!(releases.len(), version as usize, "{point:?}: {list:#}");
        assert_eq!(releases[0]["outcome"], "live", "{point:?}: {list:#}");
    }
    // Nobody resumes this one: another version replaces what it left behind.
    let (mut killed, _holding) = held(&sandbox, 4, Point::After("CreateChangeSet"));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let (succeeded, _, said) = output_of(promote(&sandbox, 2, &["--local"]));
    assert!(succeeded, "{said}");
    assert!(said.contains("abandoned"), "{said}");
    assert_eq!(status(&sandbox)["live"], 2);
    assert_eq!(approval(&sandbox, 4), "PendingManualApproval");
}

/// A promotion that began before another one ended is refused, because its view of the other one is out of date.
#[test]
fn a_promotion_that_another_one_overtook_changes_nothing() {
    let sandbox = project();
    for answer in ["one", "two", "three"] {
        let _ = train(&sandbox, &[&format!("Answer={answer}")]);
    }
    let (first, ..) = output_of(promote(&sandbox, 1, &["--local"]));
    assert!(first);
    let (two, holding_two) = held(&sandbox, 2, Point::After("ExecuteChangeSet"));
    // It has read the history and the endpoint, where release 2 is in progress.
    let (three, holding_three) = held(&sandbox, 3, Point::Before("DescribeImages"));
    holding_two.release();
    let (two, _, said) = output_of(two);
    assert!(two, "{said}");
    holding_three.release();
    let (three, _, said) = output_of(three);
    assert!(!three && said.contains("started first"), "{said}");
    let list = sandbox.mlops(["--local", "releases", "list", "--output", "json"]);
    let list = list.success().json();
    let outcomes: Vec<&Value> = list["releases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|release| &release["outcome"])
        .collect();
    assert_eq!(outcomes, ["live", "replaced"], "{list:#}");
    assert_eq!(approval(&sandbox, 3), "PendingManualApproval");
}
