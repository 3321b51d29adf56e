//! What the builds of the ML pipeline run: `train --image`, and the report on a new image.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::image::{self, git};
use crate::image_look::{PIPELINE, push_another};
use crate::sandbox::{Run, Sandbox};
use crate::small_project;

const BUILD: &str = "flights-ml-build:6b1a1f6e";

fn json(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    let output = ["--output", "json"];
    sandbox
        .mlops(arguments.iter().chain(&output))
        .success()
        .json()
}

/// Starts a run of a pipeline that ends immediately.
fn train(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    let first = ["--output", "json", "train", "--detach"];
    sandbox.mlops(first.iter().chain(arguments))
}

#[track_caller]
fn refused(run: Run, parts: &[&str]) {
    let run = run.code(2);
    for part in parts {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
}

#[test]
fn a_run_uses_exactly_the_given_image_unless_a_pin_forbids_it() {
    let mut sandbox = image::project();
    sandbox.write("pipeline.json", PIPELINE);
    let old = push_another(&sandbox, "V = 1\n");
    let new = push_another(&sandbox, "V = 2\n");
    let pushed = git(&sandbox, &["rev-parse", "HEAD"]);

    sandbox.set("CODEBUILD_BUILD_ID", BUILD);
    let started = train(&sandbox, &["--image", &old]).success();
    let said = format!("image {old} (given with --image)");
    assert!(started.stderr.contains(&said), "{}", started.stderr);
    let run = started.json();
    assert_eq!(run["image"], old.as_str(), "{run}");
    let shown = json(&sandbox, &["runs", "show", run["run"].as_str().unwrap()]);
    assert_eq!(shown["image_why"], "given with --image", "{shown}");
    assert_eq!(shown["build"], BUILD, "{shown}");
    assert_eq!(
        shown["parameters"]["ImageUri"]
            .as_str()
            .unwrap()
            .split('@')
            .nth(1),
        Some(&*old)
    );

    let unknown = format!("sha256:{}", "0".repeat(64));
    refused(
        train(&sandbox, &["--image", &unknown]),
        &[&unknown, "image list"],
    );
    refused(train(&sandbox, &["--image", "develop"]), &["--image"]);
    let set = ["--image", &old, "-p", "ImageUri=x"];
    refused(train(&sandbox, &set), &["--image has no effect"]);
    refused(
        train(&sandbox, &["--image", &old, "--working-tree"]),
        &["--working-tree"],
    );

    // Nobody can use an image that was not promoted on the production branch.
    git(&sandbox, &["branch", "--force", "main"]);
    let main = train(&sandbox, &["--branch", "main", "--image", &old]).code(1);
    assert!(
        main.stderr.contains("no version has been promoted"),
        "{}",
        main.stderr
    );

    git(&sandbox, &["switch", "--quiet", "--create", "feature/x"]);
    let _ = sandbox.mlops(["image", "pin", &old, "--commit"]).success();
    let another = train(&sandbox, &["--image", &new]);
    let sentence = format!("`feature/x` is pinned to {old}, so it cannot use {new}");
    refused(another, &[&sentence, "image use newest"]);
    let run = train(&sandbox, &["--image", &old]).success().json();
    assert_eq!(run["image"], old.as_str(), "{run}");
    // The pin of another branch has no effect.
    let develop = ["--branch", "develop", "--image", &new];
    let _ = train(&sandbox, &develop).success();

    a_build_uses_the_commit_of_its_pipeline(&mut sandbox, &pushed, &new);
}

/// CodeBuild clones the repository and checks out a commit; the branch may have moved since.
fn a_build_uses_the_commit_of_its_pipeline(sandbox: &mut Sandbox, pushed: &str, digest: &str) {
    git(sandbox, &["switch", "--quiet", "develop"]);
    image::commit(sandbox);
    let url = format!("file://{}", sandbox.path().display());
    let clone = [
        "clone", "--quiet", "--depth", "2", "--branch", "develop", &url, "build",
    ];
    git(sandbox, &clone);
    git(
        sandbox,
        &["-C", "build", "checkout", "--quiet", "--detach", pushed],
    );
    git(
        sandbox,
        &[
            "-C", "build", "checkout", "--quiet", "-B", "develop", pushed,
        ],
    );

    let endpoint = json(sandbox, &["local", "status"])["endpoint"].clone();
    for (name, value) in [
        ("AWS_ENDPOINT_URL", endpoint.as_str().unwrap()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ] {
        sandbox.set(name, value);
    }
    let arguments = [
        "--output", "json", "train", "--detach", "--branch", "develop", "--image", digest,
    ];
    let run = sandbox.mlops_in("build", arguments).success().json();
    assert_eq!(run["commit"], pushed, "{run}");
    assert_eq!(
        (&run["branch"], &run["build"]),
        (&json!("develop"), &json!(BUILD))
    );
}

/// A topic of the local cloud, and a queue that is subscribed to it.
struct Topic {
    address: String,
    arn: String,
    queue: String,
}

impl Topic {
    fn new(sandbox: &Sandbox) -> Self {
        let endpoint = json(sandbox, &["local", "status"])["endpoint"].clone();
        let address = endpoint.as_str().unwrap().strip_prefix("http://").unwrap();
        let mut topic = Self {
            address: address.to_owned(),
            arn: "arn:aws:sns:us-east-1:000000000000:small-delivery".to_owned(),
            queue: String::new(),
        };
        topic.sns("Action=CreateTopic&Name=small-delivery");
        let policy = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
            "Resource": "*", "Condition": {"ArnEquals": {"aws:SourceArn": topic.arn}}}]});
        let create = json!({"QueueName": "people", "Attributes": {"Policy": policy.to_string()}});
        let created = topic.sqs("CreateQueue", &create);
        created["QueueUrl"]
            .as_str()
            .unwrap()
            .clone_into(&mut topic.queue);
        let queue = "arn:aws:sqs:us-east-1:000000000000:people";
        topic.sns(&format!(
            "Action=Subscribe&Protocol=sqs&TopicArn={}&Endpoint={queue}",
            topic.arn
        ));
        topic
    }

    fn sns(&self, form: &str) {
        let headers = "content-type: application/x-www-form-urlencoded\r\n";
        self.post("sns", headers, &format!("{form}&Version=2010-03-31"));
    }

    fn sqs(&self, operation: &str, input: &Value) -> Value {
        let headers = format!(
            "content-type: application/x-amz-json-1.0\r\nx-amz-target: AmazonSQS.{operation}\r\n"
        );
        serde_json::from_str(&self.post("sqs", &headers, &input.to_string())).unwrap()
    }

    fn post(&self, service: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: {}\r\n{headers}\
             authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=00\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}\n{body}");
        body.to_owned()
    }

    /// Waits for a message; returns its subject and its text.
    fn receive(&self) -> (String, String) {
        let receive = json!({"QueueUrl": self.queue, "WaitTimeSeconds": 20});
        let received = self.sqs("ReceiveMessage", &receive);
        let message = &received["Messages"][0];
        let delete = json!({"QueueUrl": self.queue, "ReceiptHandle": message["ReceiptHandle"]});
        let body: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
        self.post(
            "sqs",
            "content-type: application/x-amz-json-1.0\r\nx-amz-target: AmazonSQS.DeleteMessage\r\n",
            &delete.to_string(),
        );
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        (text("Subject"), text("Message"))
    }
}

/// Pushes an image whose model has this metric; returns its digest.
fn push(sandbox: &Sandbox, rmse: &str) -> String {
    sandbox.write("image/program/evaluate", small_project::evaluate(rmse));
    small_project::commit(sandbox);
    let pushed = json(sandbox, &["image", "push"]);
    pushed["digest"].as_str().unwrap().to_owned()
}

fn report(sandbox: &Sandbox, image: &str, more: &[&str]) -> Value {
    let first = ["models", "compare", "--branch", "develop", "--image", image];
    let arguments: Vec<&str> = first.iter().chain(more).copied().collect();
    json(sandbox, &arguments)
}

#[test]
fn a_new_image_is_reported_next_to_the_previous_one_and_the_live_version() {
    let sandbox = Sandbox::new();
    small_project::project(&sandbox);
    let toml = std::fs::read_to_string(sandbox.path().join("mlops.toml")).unwrap();
    sandbox.write(
        "mlops.toml",
        format!("{toml}\n[deploy.metrics]\nrmse = \"lower\"\n"),
    );
    let first = push(&sandbox, "5.5");
    let train = |image: &str, more: &[&str]| -> Run {
        let first = ["train", "--branch", "develop", "--image", image];
        sandbox.mlops(first.iter().chain(more))
    };
    let _ = train(&first, &[]).success();
    let alone = report(&sandbox, &first, &[]);
    assert_eq!(
        (&alone["previous"], &alone["live"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(alone["metrics"][0]["new"], 5.5, "{alone}");
    let _ = sandbox.mlops(["promote", "1", "--yes"]).success();
    let second = push(&sandbox, "4.5");
    let _ = train(&second, &[]).success();
    let third = push(&sandbox, "5.0");
    let _ = train(&third, &[]).success();

    let topic = Topic::new(&sandbox);
    let notified = report(&sandbox, &third, &["--record", "--notify", &topic.arn]);
    assert_eq!(notified["new"]["version"], 3, "{notified}");
    assert_eq!(notified["previous"]["version"], 2, "{notified}");
    assert_eq!(notified["previous"]["image"], second.as_str(), "{notified}");
    assert_eq!(notified["live"]["version"], 1, "{notified}");
    assert_eq!(notified["notified"], topic.arn.as_str());
    let rmse = &notified["metrics"][0];
    assert_eq!(
        (&rmse["metric"], &rmse["better"]),
        (&json!("rmse"), &json!("lower"))
    );
    let judged = |role: &str| (&rmse[role]["difference"], &rmse[role]["verdict"]);
    assert_eq!(judged("previous"), (&json!(0.5), &json!("worse")));
    assert_eq!(judged("live"), (&json!(-0.5), &json!("better")));
    let (subject, text) = topic.receive();
    assert_eq!(
        subject,
        "small: version 3 from develop (PendingManualApproval)"
    );
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    for part in [
        third.as_str(),
        "version 2 (previous image): worse in rmse; the same in",
        "version 1 (live): better in rmse",
        "Next: mlops promote 3",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let shown = sandbox.mlops(["runs", "show"]).success().stdout;
    assert!(
        shown.contains("version 1 (live): better in rmse"),
        "{shown}"
    );
    let recorded = json(&sandbox, &["runs", "show"]);
    assert_eq!(
        recorded["image"],
        third.as_str(),
        "its inputs are kept: {recorded}"
    );

    // The report of an older image is about that image.
    let older = report(&sandbox, &second, &[]);
    assert_eq!(older["new"]["version"], 2, "{older}");
    assert_eq!(older["previous"]["version"], 1, "{older}");

    without_a_version(&sandbox, &topic, &third);
    production_uses_the_promoted_image(&sandbox, &first, &third);
}

fn without_a_version(sandbox: &Sandbox, topic: &Topic, image: &str) {
    let gate = ["train", "--image", image, "-p", "MaxRmse=1"];
    let _ = sandbox.mlops(gate).code(3);
    let refused = report(sandbox, image, &["--notify", &topic.arn]);
    assert_eq!(refused["status"], "Refused", "{refused}");
    assert_eq!(refused["new"]["version"], Value::Null, "{refused}");
    assert_eq!(refused["gate"]["checks"][0]["value"], 5.0, "{refused}");
    assert_eq!(
        refused["metrics"][0]["live"]["verdict"], "better",
        "{refused}"
    );
    let (subject, text) = topic.receive();
    assert!(subject.ends_with(" of develop was refused"), "{subject}");
    assert!(text.contains("rmse 5.000, must be at most 1"), "{text}");

    // Nobody receives it, but it is printed.
    let missing = format!("{}-2", topic.arn);
    let compare = ["models", "compare", "--image", image, "--notify", &missing];
    let lost = sandbox.mlops(compare).code(1);
    assert!(lost.stdout.contains("refused  "), "{}", lost.stdout);
    assert!(
        lost.stderr
            .contains(&format!("cannot publish to {missing}: NotFound")),
        "{}",
        lost.stderr
    );
    let elsewhere = topic.arn.replace("us-east-1", "eu-west-1");
    let compare = [
        "models", "compare", "--image", image, "--notify", &elsewhere,
    ];
    let _ = sandbox.mlops(compare).code(2);

    sandbox.write(
        "image/program/train",
        "#!/bin/sh\necho broken >&2\nexit 7\n",
    );
    let broken = push(sandbox, "1.0");
    let _ = sandbox.mlops(["train", "--image", &broken]).code(1);
    let failed = report(sandbox, &broken, &[]);
    assert_eq!(failed["status"], "Failed", "{failed}");
    assert_eq!(failed["failure"]["step"], "Train", "{failed}");
    assert_eq!(failed["previous"]["version"], 3, "{failed}");
    let text = sandbox
        .mlops(["models", "compare", "--image", &broken])
        .success()
        .stdout;
    assert!(text.contains("failed   at step `Train`: "), "{text}");
    assert!(text.contains("Next: mlops runs why "), "{text}");

    let unused = format!("sha256:{}", "0".repeat(64));
    let unused = sandbox
        .mlops(["models", "compare", "--image", &unused])
        .code(1);
    assert!(
        unused.stderr.contains("train --branch develop --image"),
        "{}",
        unused.stderr
    );
    for wrong in [
        &["models", "compare", "1"][..],
        &["models", "compare", "1", "--image", image],
        &["models", "compare", "1", "2", "--record"],
    ] {
        let _ = sandbox.mlops(wrong).code(2);
    }
}

fn production_uses_the_promoted_image(sandbox: &Sandbox, promoted: &str, other: &str) {
    git(sandbox, &["branch", "--force", "main"]);
    let train =
        |image: &str| sandbox.mlops(["train", "--detach", "--branch", "main", "--image", image]);
    let sentence = format!(
        "`main` uses only the promoted image, {promoted} (promoted as version 1), so it cannot use {other}"
    );
    refused(train(other), &[&sentence]);
    let _ = train(promoted).success();
}
