//! Deployments that were interrupted by the end of the server: the next one succeeds.

use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::sandbox::{Sandbox, pause};

/// Returns `DescribeStackResources` or `DescribeStacks` of a stack as text; empty without a server.
fn describe(address: &str, operation: &str, stack: &str) -> String {
    let body = format!("Action={operation}&Version=2010-05-15&StackName={stack}");
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/cloudformation/aws4_request, \
         SignedHeaders=host, Signature=0\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = String::new();
    if let Ok(mut stream) = std::net::TcpStream::connect(address) {
        let sent = stream.write_all(request.as_bytes());
        let _ = sent.and_then(|()| stream.read_to_string(&mut answer));
    }
    answer
}

/// Polls until `probe` finds something; returns `None` if the command ended before.
fn wait_for<T>(child: &mut Child, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        assert!(
            start.elapsed() < Duration::from_mins(4),
            "it did not happen"
        );
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        pause();
    }
}

fn init(sandbox: &Sandbox) -> Child {
    sandbox
        .command("")
        .args(["--local", "init", "--name", "small", "--yes"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the server with `kill -9` as soon as the response about this stack contains `sign`;
/// returns `None` if the command finished first.
fn kill_when(sandbox: &Sandbox, child: &mut Child, stack: &str, sign: &str) -> Option<()> {
    let (server, address) = wait_for(child, || {
        let status = sandbox.mlops(["local", "status", "--output", "json"]);
        let status: serde_json::Value = serde_json::from_str(&status.stdout).ok()?;
        let address = status["endpoint"].as_str()?.strip_prefix("http://")?;
        Some((status["pid"].as_u64()?.to_string(), address.to_owned()))
    })?;
    wait_for(child, || {
        describe(&address, "DescribeStackResources", stack)
            .contains(sign)
            .then_some(())
    })?;
    let _ = sandbox.program("", "kill", &["-9", &server]).success();
    Some(())
}

/// Interrupts `init` in each of its stacks. Returns `None` if one attempt was too late: a busy
/// machine may finish the deployment between two polls.
fn cut_off(sandbox: &Sandbox) -> Option<()> {
    let rounds = [
        ("small-network", "AWS::EC2::Subnet"),
        ("small-platform", "CREATE_IN_PROGRESS"),
        ("small-platform", "AWS::IAM::Role"),
        ("small-workbench", "AWS::SageMaker::NotebookInstance"),
    ];
    for (stack, sign) in rounds {
        let mut child = init(sandbox);
        let killed = kill_when(sandbox, &mut child, stack, &format!("{sign}<"));
        let done = child.wait().unwrap().success();
        killed?;
        if done {
            return None;
        }
    }
    Some(())
}

#[test]
fn an_interrupted_deployment_is_rolled_back_and_repeated() {
    let sandbox = (0..8)
        .map(|_| Sandbox::new())
        .find(|sandbox| cut_off(sandbox).is_some())
        .expect("a deployment that could be cut off in each of its stacks");
    let done = sandbox
        .mlops([
            "--local", "init", "--name", "small", "--yes", "--output", "json",
        ])
        .success();
    assert!(done.stdout.contains("small-workbench"), "{}", done.stdout);
    let again = sandbox.mlops(["--local", "init", "--yes"]).success();
    assert!(!again.stdout.contains("created"), "{}", again.stdout);
}

/// Issue 8, 2.5: the next `init` waits for the deployment that a killed one started.
#[test]
fn issue_8_2_5_the_next_init_completes_that_of_a_killed_client() {
    let sandbox = Sandbox::new();
    for stack in ["small-network", "small-workbench"] {
        let mut child = init(&sandbox);
        // `None`: the command finished before the first poll.
        let seen = wait_for(&mut child, || {
            let status = sandbox.mlops(["local", "status", "--output", "json"]);
            let status: serde_json::Value = serde_json::from_str(&status.stdout).ok()?;
            let address = status["endpoint"].as_str()?.strip_prefix("http://")?;
            describe(address, "DescribeStacks", stack)
                .contains("CREATE_IN_PROGRESS<")
                .then_some(())
        });
        if seen.is_some() {
            child.kill().unwrap();
        }
        child.wait().unwrap();
        let next = sandbox.mlops(["--local", "init", "--yes"]);
        assert_eq!(next.code, Some(0), "{stack}: {}", next.stderr);
        assert!(!next.stderr.contains("is being changed"), "{}", next.stderr);
        if stack == "small-network" {
            // The second attempt needs a stack to wait for.
            let _ = sandbox.mlops(["local", "stop"]);
            std::fs::remove_dir_all(sandbox.path().join(".mlops/local")).unwrap();
        }
    }
}
