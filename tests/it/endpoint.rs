//! Issue 11: the endpoint in operation. One project, because an endpoint takes seconds to create.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use serde_json::Value;

use crate::sandbox::{Run, Sandbox};
use crate::small_project;

/// Answers a line with itself in brackets; `boom` is an error, `many` two lines.
const SERVE: &str = r#"#!/usr/bin/env python3
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", self.headers.get("Accept", "text/csv"))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.reply(200, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if b"boom" in body:
            print("cannot predict", flush=True)
            self.reply(500, b"no prediction for boom")
        elif b"many" in body:
            self.reply(200, b"1\n2\n")
        else:
            self.reply(200, b"<" + body.strip() + b">\n")

port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
print("loading the model", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"#;

/// A local project whose first version is live.
fn deployed() -> Sandbox {
    let sandbox = Sandbox::new();
    let _ = sandbox
        .mlops(["init", "--local", "--name", "small", "--yes"])
        .success();
    small_project::write(&sandbox);
    push(&sandbox, SERVE);
    let _ = sandbox.mlops(["train"]).success();
    let early = sandbox.mlops(["invoke", "--file", "mlops.toml"]).code(1);
    assert!(early.stderr.contains("promote"), "{}", early.stderr);
    let _ = sandbox.mlops(["promote", "1", "--yes"]).success();
    sandbox
}

/// Pushes another server.
fn push(sandbox: &Sandbox, serve: &str) {
    sandbox.write("image/program/serve", serve);
    small_project::commit(sandbox);
    let _ = sandbox.mlops(["image", "push"]).success();
}

fn json(sandbox: &Sandbox, words: &[&str]) -> Value {
    let run = sandbox.mlops([words, &["--output", "json"]].concat());
    run.success().json()
}

/// Runs `mlops invoke` with this stdin.
fn piped(sandbox: &Sandbox, words: &[&str], input: &str) -> String {
    let mut command = sandbox.command("");
    command.arg("invoke").args(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn issue_11_an_endpoint_is_operated() {
    let sandbox = deployed();
    single_requests(&sandbox);
    one_request_per_line(&sandbox);
    load(&sandbox);
    interrupted_load(&sandbox);
    shown_and_logged(&sandbox);
    failed_version(&sandbox);
    compared(&sandbox);
    deleted(&sandbox);
}

fn single_requests(sandbox: &Sandbox) {
    sandbox.write("row.csv", "1,2\n");
    let invoke = |words: &[&str]| sandbox.mlops([&["invoke"], words].concat());
    assert_eq!(invoke(&["--file", "row.csv"]).success().stdout, "<1,2>\n");
    let none = invoke(&[]).code(2);
    assert!(none.stderr.contains("deploy.sample"), "{}", none.stderr);
    let stdin = piped(sandbox, &["--file", "-"], "7\n");
    assert_eq!(stdin, "<7>\n");

    let words = [
        "invoke",
        "--file",
        "row.csv",
        "--accept",
        "text/plain",
        "--target-variant",
        "AllTraffic",
    ];
    let answer = json(sandbox, &words);
    assert_eq!(answer["body"], "<1,2>\n", "{answer}");
    assert_eq!(answer["content_type"], "text/plain", "{answer}");
    assert_eq!(answer["variant"], "AllTraffic", "{answer}");
    let other = invoke(&["--file", "row.csv", "--target-variant", "Other"]).code(1);
    assert!(other.stderr.contains("Other"), "{}", other.stderr);

    sandbox.write("boom.csv", "boom\n");
    let error = invoke(&["--file", "boom.csv"]).code(1);
    for part in [
        "the model answered 500: no prediction for boom",
        "/aws/sagemaker/Endpoints/small",
        "`mlops endpoint logs`",
    ] {
        assert!(error.stderr.contains(part), "{part}: {}", error.stderr);
    }
    assert_eq!(error.stdout, "");

    sandbox.write("large.csv", vec![b'1'; 6_291_457]);
    let large = invoke(&["--file", "large.csv"]).code(2);
    assert!(large.stderr.contains("6.0 MiB"), "{}", large.stderr);
    sandbox.write("large.csv", "");
}

fn one_request_per_line(sandbox: &Sandbox) {
    let rows: Vec<String> = (1..=50).map(|row| row.to_string()).collect();
    sandbox.write("rows.csv", format!("{}\n\n", rows.join("\n")));
    let lines = |file: &str| sandbox.mlops(["invoke", "--lines", "--file", file]);
    let wanted = format!("<{}>\n", rows.join(">\n<"));
    assert_eq!(lines("rows.csv").success().stdout, wanted);
    let stdin = piped(
        sandbox,
        &["--lines", "--file", "-", "--output", "json"],
        "a\nb",
    );
    let bodies: Vec<Value> = stdin
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(bodies.len(), 2);
    assert_eq!(
        (&bodies[1]["line"], &bodies[1]["body"]),
        (&Value::from(2), &Value::from("<b>"))
    );

    sandbox.write("wrong.csv", "1\n2\nboom\n4\n");
    let wrong = lines("wrong.csv").code(1);
    assert_eq!(wrong.stdout, "<1>\n<2>\n");
    let error = "line 3 of wrong.csv: the model answered 500";
    assert!(wrong.stderr.contains(error), "{}", wrong.stderr);
    sandbox.write("wrong.csv", "many\n");
    let many = lines("wrong.csv").code(1);
    assert!(
        many.stderr.contains("the response has 2 lines"),
        "{}",
        many.stderr
    );
}

fn load(sandbox: &Sandbox) {
    let words = [
        "invoke", "--file", "row.csv", "--repeat", "20", "--rate", "500",
    ];
    let report = json(sandbox, &words);
    assert_eq!(
        (&report["succeeded"], &report["failed"]),
        (&20.into(), &0.into()),
        "{report}"
    );
    let latency = &report["latency_ms"];
    assert!(latency["p50"].as_f64().unwrap() > 0.0, "{report}");
    assert!(
        latency["p50"].as_f64() <= latency["max"].as_f64(),
        "{report}"
    );
    let shown = sandbox.mlops(words).success();
    assert!(
        shown.stdout.contains("\nsucceeded   20 ("),
        "{}",
        shown.stdout
    );
    assert!(shown.stdout.contains("P50"), "{}", shown.stdout);

    let words = [
        "invoke", "--file", "boom.csv", "--repeat", "3", "--rate", "500",
    ];
    let failed = sandbox
        .mlops([&words[..], &["--output", "json"]].concat())
        .code(1);
    let report = failed.json();
    assert_eq!(report["latency_ms"], Value::Null, "{report}");
    assert_eq!(report["errors"][0]["kind"], "model error 500", "{report}");
    assert_eq!(report["errors"][0]["count"], 3, "{report}");
    for wrong in [["--repeat", "0"], ["--repeat", "100001"], ["--rate", "10"]] {
        let _ = sandbox.mlops([&["invoke"][..], &wrong].concat()).code(2);
    }
    let fast = ["invoke", "--repeat", "1", "--rate", "1001"];
    let _ = sandbox.mlops(fast).code(2);
}

/// Ctrl-C prints what was measured so far.
fn interrupted_load(sandbox: &Sandbox) {
    let mut command = sandbox.command("");
    command.args([
        "invoke", "--file", "row.csv", "--repeat", "100000", "--rate", "50",
    ]);
    command.args(["--output", "json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains("small at 50/s"), "{line}");
    let id = child.id().to_string();
    let _ = sandbox.program("", "kill", &["-INT", &id]).success();
    let mut stdout = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["interrupted"], true, "{report}");
    assert_eq!(report["requests"], 100_000, "{report}");
}

fn shown_and_logged(sandbox: &Sandbox) {
    let shown = json(sandbox, &["endpoint", "show"]);
    assert_eq!(shown["endpoint"], "small", "{shown}");
    assert_eq!(shown["status"], "InService", "{shown}");
    assert_eq!(shown["version"], 1, "{shown}");
    assert_eq!(shown["variants"][0]["variant"], "AllTraffic", "{shown}");
    assert_eq!(shown["variants"][0]["instances"], 1, "{shown}");
    assert_eq!(shown["capture"]["enabled"], true, "{shown}");
    assert_eq!(shown["explanation"], Value::Null, "{shown}");
    assert_eq!(
        shown["deployments"][0]["status"], "CREATE_COMPLETE",
        "{shown}"
    );
    assert_eq!(shown["next"], "mlops invoke --file FILE", "{shown}");
    let url = shown["url"].as_str().unwrap();
    assert!(url.ends_with("/endpoints/small/invocations"), "{url}");
    let text = sandbox.mlops(["endpoint", "show"]).success().stdout;
    assert!(
        text.contains("AllTraffic  100     1          ml.m5.large"),
        "{text}"
    );
    assert!(
        text.lines()
            .all(|line| line.chars().count() <= 80 || line.contains("://")),
        "{text}"
    );

    let log = sandbox.mlops(["endpoint", "logs"]).success().stdout;
    let of_container = |text: &str| {
        log.lines()
            .any(|line| line.starts_with("AllTraffic/i-") && line.ends_with(&format!("  {text}")))
    };
    assert!(
        of_container("loading the model") && of_container("cannot predict"),
        "{log}"
    );
    let log = json(sandbox, &["endpoint", "logs"]);
    assert_eq!(log["log_group"], "/aws/sagemaker/Endpoints/small", "{log}");
    assert!(log["lines"][0]["time"].is_string(), "{log}");
    followed_log(sandbox);
}

/// A followed log prints what was written before and after it started, and each line once.
fn followed_log(sandbox: &Sandbox) {
    let before = sandbox.mlops(["endpoint", "logs"]).success().stdout;
    let failures = |text: &str| text.matches("cannot predict").count();
    let mut command = sandbox.command("");
    command.args(["endpoint", "logs", "--follow", "--poll-interval", "0.05"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut followed = Vec::new();
    for line in lines.by_ref().take(before.lines().count()) {
        followed.push(line.unwrap());
    }
    assert_eq!(followed.join("\n") + "\n", before);
    let _ = sandbox.mlops(["invoke", "--file", "boom.csv"]).code(1);
    while failures(&followed.join("\n")) == failures(&before) {
        followed.push(lines.next().unwrap().unwrap());
    }
    child.kill().unwrap();
    let _ = child.wait().unwrap();
    followed.extend(lines.map(Result::unwrap));
    let after = sandbox.mlops(["endpoint", "logs"]).success().stdout;
    assert_eq!(failures(&followed.join("\n")), failures(&after));
    assert_eq!(failures(&after), failures(&before) + 1);
}

fn failed_version(sandbox: &Sandbox) {
    let broken = SERVE.replace(
        "import http.server, os\n",
        "import http.server, os, no_such_module\n",
    );
    push(sandbox, &broken);
    let _ = sandbox.mlops(["train", "-p", "MaxRmse=9"]).success();
    let _ = sandbox.mlops(["promote", "2", "--yes"]).code(1);
    let shown = json(sandbox, &["endpoint", "show"]);
    assert_eq!(shown["version"], 1, "{shown}");
    let cause = &shown["explanation"]["cause"];
    assert_eq!(cause["kind"], "import-error", "{shown}");
    assert!(
        cause["what"].as_str().unwrap().contains("`no_such_module`"),
        "{shown}"
    );
    assert_eq!(
        shown["deployments"][0]["status"], "UPDATE_ROLLBACK_COMPLETE",
        "{shown}"
    );
    let reason = shown["deployments"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("ping health check"), "{shown}");
    let text = sandbox.mlops(["endpoint", "show"]).success().stdout;
    assert!(
        text.contains("likely cause  the program imports `no_such_module`"),
        "{text}"
    );
    let row = sandbox.mlops(["invoke", "--file", "row.csv"]).success();
    assert_eq!(row.stdout, "<1,2>\n", "version 1 still answers");
}

fn compared(sandbox: &Sandbox) {
    let compared = json(sandbox, &["models", "compare", "1", "2"]);
    assert_eq!(compared["a"]["live"], true, "{compared}");
    assert_ne!(compared["a"]["image"], compared["b"]["image"], "{compared}");
    assert_eq!(compared["metrics"][0]["metric"], "rmse", "{compared}");
    assert_eq!(compared["metrics"][0]["difference"], 0.0, "{compared}");
    assert_eq!(compared["definition"]["same"], true, "{compared}");
    let parameters = compared["parameters"].as_array().unwrap();
    let limit = parameters
        .iter()
        .find(|pair| pair["name"] == "MaxRmse")
        .unwrap();
    assert_eq!(
        (&limit["a"], &limit["b"]),
        (&"10.0".into(), &"9.0".into()),
        "{compared}"
    );
    let text = sandbox
        .mlops(["models", "compare", "1", "2"])
        .success()
        .stdout;
    assert!(text.contains("data      unknown"), "{text}");
    assert!(text.contains("pipeline definition: the same"), "{text}");
    let unknown = sandbox.mlops(["models", "compare", "1", "9"]).code(1);
    assert!(
        unknown.stderr.contains("no version 9"),
        "{}",
        unknown.stderr
    );
}

fn deleted(sandbox: &Sandbox) {
    let delete =
        |words: &[&str]| -> Run { sandbox.mlops([&["endpoint", "delete"], words].concat()) };
    let planned = delete(&["--dry-run"]).success();
    assert!(
        planned.stdout.contains("SageMaker::Endpoint "),
        "{}",
        planned.stdout
    );
    assert_ne!(delete(&[]).code, Some(0), "it asks");
    let _ = json(sandbox, &["endpoint", "show"]);

    let deleted = delete(&["--yes"]).success();
    assert!(
        deleted.stdout.contains("deleted small-endpoint"),
        "{}",
        deleted.stdout
    );
    let again = delete(&["--yes"]).success();
    assert!(
        again.stdout.contains("no endpoint small"),
        "{}",
        again.stdout
    );
    let shown = sandbox.mlops(["endpoint", "show"]).code(1);
    assert!(
        shown.stderr.contains("there is no endpoint small"),
        "{}",
        shown.stderr
    );
    let log = sandbox.mlops(["endpoint", "logs"]).success().stdout;
    assert!(log.contains("loading the model"), "{log}");
    let version = json(sandbox, &["models", "show", "1"]);
    // The production branch still uses its image.
    assert_eq!(version["stage"], "Production/Live", "{version}");
    assert_eq!(version["live"], false, "{version}");
    let _ = sandbox.mlops(["promote", "1", "--yes"]).success();
    assert_eq!(json(sandbox, &["endpoint", "show"])["version"], 1);
}
