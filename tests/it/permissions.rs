//! The table behind `mlops doctor --iam`, against the operations that real commands called on the
//! local cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::sandbox::{Run, Sandbox, pause};
use crate::sdk::Sdk;
use crate::{small_delivery, small_project};

/// Operations of a command that these runs do not provoke, with the reason.
const NOT_PROVOKED: &[(&str, &str, &str)] = &[
    (
        "*",
        "cloudformation:DeleteChangeSet",
        "a change set that was abandoned",
    ),
    (
        "*",
        "cloudformation:DeleteStack",
        "a stack whose creation failed",
    ),
    (
        "image push",
        "cloudformation:CreateChangeSet",
        "another analyzer",
    ),
    (
        "image push",
        "cloudformation:DescribeChangeSet",
        "another analyzer",
    ),
    (
        "image push",
        "cloudformation:DescribeStackEvents",
        "another analyzer",
    ),
    (
        "image push",
        "cloudformation:ExecuteChangeSet",
        "another analyzer",
    ),
    ("data push", "s3:HeadObject", "an interrupted push"),
    (
        "status",
        "cloudformation:DescribeStackEvents",
        "a release whose client was killed",
    ),
    (
        "endpoint delete",
        "sagemaker:DescribeEndpointConfig",
        "an endpoint that no stack contains",
    ),
    (
        "endpoint delete",
        "sagemaker:DescribeModel",
        "an endpoint that no stack contains",
    ),
    (
        "init",
        "s3:GetObject",
        "CloudFormation, of a long template, for the caller",
    ),
    (
        "plan",
        "s3:GetObject",
        "CloudFormation, of a long template, for the caller",
    ),
    ("plan", "s3:PutObject", "a template that has changed"),
    ("data push", "s3:ListParts", "an interrupted push"),
    ("train", "s3:UploadPartCopy", "an object of more than 5 GiB"),
    (
        "train",
        "s3:CreateMultipartUpload",
        "an object of more than 5 GiB",
    ),
    (
        "train",
        "s3:CompleteMultipartUpload",
        "an object of more than 5 GiB",
    ),
    (
        "train",
        "s3:AbortMultipartUpload",
        "an object of more than 5 GiB",
    ),
    (
        "validate --dataset",
        "s3:UploadPartCopy",
        "an object of more than 5 GiB",
    ),
    (
        "validate --dataset",
        "s3:CreateMultipartUpload",
        "an object of more than 5 GiB",
    ),
    (
        "validate --dataset",
        "s3:CompleteMultipartUpload",
        "an object of more than 5 GiB",
    ),
    (
        "validate --dataset",
        "s3:AbortMultipartUpload",
        "an object of more than 5 GiB",
    ),
    (
        "doctor",
        "sagemaker:ListMonitoringSchedules",
        "not on the local cloud",
    ),
    (
        "doctor",
        "servicequotas:GetServiceQuota",
        "not on the local cloud",
    ),
    (
        "doctor",
        "servicequotas:GetAWSDefaultServiceQuota",
        "not on the local cloud",
    ),
    ("destroy", "s3:AbortMultipartUpload", "an unfinished upload"),
    (
        "destroy",
        "sagemaker:DescribePipelineExecution",
        "a run in progress",
    ),
    (
        "plan",
        "cloudformation:DescribeStackEvents",
        "a deployment in progress",
    ),
    (
        "destroy",
        "sagemaker:StopPipelineExecution",
        "a run in progress",
    ),
    ("doctor", "ec2:DescribeVpcs", "only with quotas"),
    (
        "notebook start",
        "logs:DescribeLogStreams",
        "a start that fails",
    ),
    ("notebook start", "logs:GetLogEvents", "a start that fails"),
    (
        "endpoint logs",
        "logs:DescribeLogStreams",
        "a log without a new line",
    ),
    (
        "endpoint show",
        "cloudwatch:DescribeAlarms",
        "a deployment with alarms",
    ),
    (
        "endpoint show",
        "logs:DescribeLogStreams",
        "a deployment that failed",
    ),
    (
        "endpoint show",
        "logs:GetLogEvents",
        "a deployment that failed",
    ),
    (
        "*",
        "logs:DescribeLogStreams",
        "a deployment or a start that fails",
    ),
    (
        "*",
        "logs:GetLogEvents",
        "a deployment or a start that fails",
    ),
    (
        "rollback",
        "sagemaker:AddAssociation",
        "a version without lineage",
    ),
    (
        "rollback",
        "sagemaker:CreateArtifact",
        "a version without lineage",
    ),
    ("*", "cloudwatch:DescribeAlarms", "a deployment that fails"),
    (
        "*",
        "cloudwatch:DescribeAlarmHistory",
        "a deployment that fails",
    ),
    (
        "*",
        "sagemaker:DeleteEndpointConfig",
        "more releases than are kept",
    ),
    ("*", "sagemaker:DeleteModel", "more releases than are kept"),
    ("*", "sagemaker:DescribeTrainingJob", "a job that fails"),
    ("doctor", "ec2:DescribeInternetGateways", "only with quotas"),
    ("doctor", "ec2:DescribeAddresses", "only with quotas"),
];

/// Commands whose rows were written by reading them, and are not compared yet.
const NOT_COMPARED: [&str; 1] = ["notebook open"];

/// Runs commands and keeps the operations that each of them called.
struct Recorder {
    sandbox: Sandbox,
    endpoint: String,
    called: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Recorder {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        let start = ["local", "start", "--detach", "--port", "0"];
        let _ = sandbox.mlops(start).success();
        let status = ["local", "status", "--output", "json"];
        let status = sandbox.mlops(status).success().json();
        let endpoint = status["endpoint"].as_str().unwrap();
        Self {
            sandbox,
            endpoint: endpoint.strip_prefix("http://").unwrap().to_owned(),
            called: BTreeMap::new(),
        }
    }

    /// The number of calls with the account's own credentials so far: those of `mlops`.
    fn calls(&self) -> BTreeMap<String, u64> {
        let mut stream = TcpStream::connect(&self.endpoint).unwrap();
        let request = format!(
            "GET /_mlops/operations HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.endpoint
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let record: Value = serde_json::from_str(body).unwrap();
        let calls = record["account"].as_array().unwrap().iter().map(|call| {
            let name = |member: &str| call[member].as_str().unwrap().to_owned();
            let operation = format!("{}:{}", name("service"), name("operation"));
            (operation, call["count"].as_u64().unwrap())
        });
        calls.collect()
    }

    /// Runs a command that the table has under this name.
    #[must_use = "check the exit code"]
    fn run(&mut self, name: &'static str, arguments: &[&str]) -> Run {
        let before = self.calls();
        let run = self.sandbox.mlops(arguments);
        self.called.entry(name).or_default();
        for (operation, count) in self.calls() {
            if before.get(&operation).is_none_or(|before| count > *before) {
                self.called.entry(name).or_default().insert(operation);
            }
        }
        run
    }

    /// Runs a command whose words are its name.
    #[must_use = "check the exit code"]
    fn plain(&mut self, name: &'static str) -> Run {
        let words: Vec<&str> = name.split(' ').collect();
        self.run(name, &words)
    }

    /// Puts an object into a bucket, as another client.
    fn put(&self, bucket: &str, key: &str, text: String) {
        Sdk::at(&format!("http://{}", self.endpoint)).put(bucket, key, text);
    }
}

/// Captured traffic of the hour before `MLOPS_NOW`.
fn captured() -> String {
    let events = (0..20).map(|i| {
        let payload = |data: &str| serde_json::json!({"observedContentType": "text/csv", "data": data, "encoding": "CSV"});
        let event = serde_json::json!({
            "captureData": {"endpointInput": payload("7"), "endpointOutput": payload("1.5")},
            "eventMetadata": {"eventId": i.to_string(), "inferenceTime": "2026-02-14T17:25:06Z"},
            "eventVersion": "0",
        });
        format!("{event}\n")
    });
    events.collect()
}

/// Images: from the build to the removal.
fn images(recorder: &mut Recorder) {
    let _ = recorder.plain("image build").success();
    let push = ["image", "push", "--output", "json"];
    let first = recorder.run("image push", &push).success().json();
    let first = first["digest"].as_str().unwrap().to_owned();
    let _ = recorder.run("image push", &push).success();
    recorder
        .sandbox
        .write("image/program/version.py", "V = 1\n");
    small_project::commit(&recorder.sandbox);
    let _ = recorder.plain("image push").success();
    let analyzer = ["image", "push", "--analyzer"];
    let _ = recorder.run("image push", &analyzer).success();
    let _ = recorder.plain("image list").success();
    let preview = ["image", "list", "--lifecycle-preview"];
    let _ = recorder.run("image list", &preview);
    let _ = recorder
        .run("image show", &["image", "show", "develop"])
        .success();
    let _ = recorder.run("image scan", &["image", "scan", "develop"]);
    let _ = recorder
        .run("image pin", &["image", "pin", "develop"])
        .success();
    let _ = recorder
        .run("image use", &["image", "use", "newest"])
        .success();
    let rm = ["image", "rm", &first, "--yes"];
    let _ = recorder.run("image rm", &rm).success();
}

/// Data sets, small and in parts.
fn data(recorder: &mut Recorder) {
    recorder.sandbox.write("numbers/a.csv", "a,b\n1,2\n");
    recorder
        .sandbox
        .write("numbers/large.bin", vec![7; 40 << 20]);
    let push = ["data", "push", "numbers", "small"];
    let _ = recorder.run("data push", &push).success();
    recorder.sandbox.write("numbers/b.csv", "a,b\n3,4\n");
    let _ = recorder.run("data push", &push).success();
    let _ = recorder
        .run("data versions", &["data", "versions", "small"])
        .success();
    let _ = recorder
        .run("data diff", &["data", "diff", "small@previous"])
        .success();
    let _ = recorder
        .run("data pull", &["data", "pull", "small", "copy"])
        .success();
    let _ = recorder
        .run("data verify", &["data", "verify", "small"])
        .success();
}

/// Runs, models, production.
fn models(recorder: &mut Recorder) {
    let _ = recorder.plain("train").success();
    let run = recorder.run("runs list", &["runs", "list", "--output", "json"]);
    let run = run.success().json()["runs"][0]["run"]
        .as_str()
        .unwrap()
        .to_owned();
    let _ = recorder.run("runs show", &["runs", "show", &run]).success();
    let _ = recorder.run("runs logs", &["runs", "logs", &run]).success();
    let refused = ["train", "-p", "MaxRmse=1"];
    let _ = recorder.run("train", &refused).code(3);
    let _ = recorder.plain("runs list").success();
    let _ = recorder.plain("runs show").success();
    let _ = recorder.plain("runs why").success();
    let _ = recorder.run("runs why", &["runs", "why", &run]).success();
    let _ = recorder.plain("status").success();
    // The definition takes data now, and the working tree is another image.
    let path = recorder.sandbox.path().join("pipeline.json");
    let definition = std::fs::read_to_string(&path).unwrap();
    let data = "\"Parameters\": [{\"Name\": \"InputDataUri\", \"Type\": \"String\"},";
    let definition = definition.replace("\"Parameters\": [", data);
    recorder.sandbox.write("pipeline.json", definition);
    small_project::commit(&recorder.sandbox);
    let _ = recorder.plain("train").success();
    let tree = ["train", "--working-tree", "--detach"];
    let _ = recorder.run("train", &tree).success();
    let detached = ["train", "--detach", "--output", "json"];
    let detached = recorder.run("train", &detached).success().json();
    let detached = detached["run"].as_str().unwrap();
    let _ = recorder.run("runs stop", &["runs", "stop", detached]);
    let _ = recorder.plain("models list").success();
    let _ = recorder
        .run("models show", &["models", "show", "1"])
        .success();
    recorder.sandbox.write("row.csv", "7\n");
    let path = recorder.sandbox.path().join("mlops.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    let sample = toml.replacen("[deploy]\n", "[deploy]\nsample = \"row.csv\"\n", 1);
    assert_ne!(toml, sample);
    recorder.sandbox.write("mlops.toml", sample);
    for name in ["models reject", "models approve"] {
        let words: Vec<&str> = name.split(' ').chain(["1"]).collect();
        let _ = recorder.run(name, &words).success();
    }
    let _ = recorder
        .run("promote", &["promote", "1", "--yes"])
        .success();
    let _ = recorder
        .run("promote", &["promote", "1", "--yes"])
        .success();
    for name in ["releases list", "releases show", "releases verify"] {
        let _ = recorder.plain(name).success();
    }
    let _ = recorder
        .run("releases diff", &["releases", "diff", "1", "1"])
        .success();
    let _ = recorder.plain("train").success();
    let _ = recorder.run("promote", &["promote", "--yes"]).success();
    let _ = recorder.run("rollback", &["rollback", "--yes"]).success();
    let _ = recorder.plain("models list").success();
    let compare = ["models", "compare", "1", "2"];
    let _ = recorder.run("models compare", &compare).success();
    reports(recorder);
    for name in ["invoke", "endpoint show", "endpoint logs"] {
        let _ = recorder.plain(name).success();
    }
    let _ = recorder.plain("lineage").success();
    let _ = recorder.run("image list", &["image", "list"]).success();
}

/// The report on an image: of a version, and of a model that a gate refused.
fn reports(recorder: &mut Recorder) {
    let topic = "arn:aws:sns:us-east-1:000000000000:small-reports";
    let template = r#"{"Resources": {"Topic": {"Type": "AWS::SNS::Topic",
        "Properties": {"TopicName": "small-reports"}}}}"#;
    let sdk = Sdk::at(&format!("http://{}", recorder.endpoint));
    let create = aws_sdk_cloudformation::Client::new(&sdk.config).create_stack();
    let create = create
        .stack_name("topics-of-people")
        .template_body(template);
    let _ = sdk.wait(create.send()).unwrap();
    let show = ["image", "show", "develop", "--output", "json"];
    let image = recorder.sandbox.mlops(show).success().json();
    let image = image["digest"].as_str().unwrap();
    let report = ["models", "compare", "--image", image];
    let name = "models compare --image";
    let send = ["--record", "--notify", topic];
    let mut sent = recorder.run(name, &[&report[..], &send].concat());
    while sent.code == Some(1) && sent.stderr.contains("NotFound") {
        pause();
        sent = recorder.run(name, &[&report[..], &send].concat());
    }
    let _ = sent.success();
    let refused = ["train", "-p", "MaxRmse=1"];
    let _ = recorder.run("train", &refused).code(3);
    let _ = recorder.run(name, &report).success();
}

/// Executions of CodePipeline.
fn delivery(recorder: &mut Recorder) {
    let refused = small_delivery::runs(&recorder.sandbox);
    let refused = refused.iter().find(|run| run["status"] == "Refused");
    let refused = refused.unwrap()["run"].as_str().unwrap();
    let _ = recorder
        .run("runs logs", &["runs", "logs", refused])
        .success();
    let _ = recorder
        .run("runs watch", &["runs", "watch", refused])
        .code(3);
    let _ = recorder
        .run("runs retry", &["runs", "retry", refused])
        .success();

    small_delivery::create(&recorder.sandbox, "print('done')\n");
    let ml = small_delivery::waiting(&recorder.sandbox, "small-ml-develop", &[]);
    let deploy = small_delivery::waiting(&recorder.sandbox, "small-deploy", &[]);
    let short = &ml[..8];
    for name in ["runs list", "runs show", "status"] {
        let _ = recorder.plain(name).success();
    }
    let _ = recorder
        .run("runs show", &["runs", "show", short])
        .success();
    let _ = recorder.run("runs logs", &["runs", "logs", &ml]).success();
    let _ = recorder.run("approve", &["approve", &ml]).success();
    let _ = recorder.run("reject", &["reject", &deploy]).success();
    let _ = recorder
        .run("runs watch", &["runs", "watch", short])
        .success();
    for name in ["approve", "reject"] {
        let _ = recorder.plain(name).code(1);
    }
    small_delivery::push(&recorder.sandbox, "raise ValueError('no')\n");
    let failed = small_delivery::wait_for("a failure", || {
        let runs = small_delivery::runs(&recorder.sandbox);
        let failed = |run: &&Value| run["status"] == "Failed" && run["kind"] == "ml";
        Some(runs.iter().find(failed)?["run"].as_str()?.to_owned())
    });
    let _ = recorder.plain("runs watch").code(1);
    let _ = recorder.plain("runs why").success();
    let _ = recorder
        .run("runs why", &["runs", "why", &failed[..8]])
        .success();
    let _ = recorder
        .run("runs retry", &["runs", "retry", &failed[..8]])
        .success();
    small_delivery::push(&recorder.sandbox, "import time\ntime.sleep(600)\n");
    let slow = small_delivery::wait_for("a build", || {
        let newest = small_delivery::runs(&recorder.sandbox).remove(0);
        let id = newest["run"].as_str().unwrap();
        (newest["status"] == "InProgress" && id != failed).then(|| id.to_owned())
    });
    let stop = ["runs", "stop", &slow[..8], "--abandon"];
    let _ = recorder.run("runs stop", &stop).success();
}

/// Validation and monitoring.
fn checks(recorder: &mut Recorder) {
    recorder.sandbox.write("train.csv", "y,x\n1.5,7\n2.5,8\n");
    let suggest = ["validate", "--suggest", "train.csv"];
    let _ = recorder.sandbox.mlops(suggest).success();
    recorder.put(
        "small-capture-000000000000-us-east-1",
        "capture/small/AllTraffic/2026/02/14/17/events.jsonl",
        captured(),
    );
    recorder.sandbox.set("MLOPS_NOW", "2026-02-14T18:00:00Z");
    let _ = recorder.plain("monitor run");
    let _ = recorder.plain("monitor report");
    recorder.put(
        "small-data-000000000000-us-east-1",
        "more/x.csv",
        "y,x\n1.5,7\n".to_owned(),
    );
    let object = "s3://small-data-000000000000-us-east-1/more/x.csv";
    let _ = recorder.run("validate", &["validate", object]);
    let prefix = "s3://small-data-000000000000-us-east-1/more/";
    let _ = recorder.run("validate", &["validate", prefix]);
    for more in [&[][..], &["--data-version", "previous"]] {
        let dataset = [&["validate", "--dataset", "--format", "csv"], more].concat();
        let _ = recorder.run("validate --dataset", &dataset);
    }
    for (name, on) in [
        ("validate --on processing", "processing"),
        ("validate --on lambda", "lambda"),
    ] {
        let run = recorder.run(name, &["validate", "--on", on, object]);
        assert!(matches!(run.code, Some(0 | 3)), "{on}: {}", run.stderr);
    }
    let _ = recorder.plain("status").success();
    for name in [
        "notebook logs",
        "notebook stop",
        "notebook start",
        "notebook status",
    ] {
        let _ = recorder.plain(name).success();
    }
    let _ = recorder.plain("doctor");
    let _ = recorder.run("doctor", &["doctor", "--drift"]);
    let _ = recorder.plain("config show").success();
    let _ = recorder.plain("version").success();
}

/// The operations in the table; what CloudFormation does is not an operation of the command.
fn listed() -> BTreeMap<&'static str, BTreeSet<String>> {
    let all = mlops::permissions::commands().into_iter();
    all.map(|(command, operations)| {
        let operations = operations.into_iter().map(str::to_owned);
        let called =
            operations.filter(|it| !it.starts_with("deploys:") && !it.starts_with("passes:"));
        (command, called.collect())
    })
    .collect()
}

#[test]
fn the_table_lists_exactly_what_each_command_calls() {
    let mut recorder = Recorder::start();
    let init = ["init", "--local", "--name", "small", "--yes"];
    let _ = recorder.run("init", &init).success();
    small_project::write(&recorder.sandbox);
    let _ = recorder.plain("init").success();
    images(&mut recorder);
    let _ = recorder.sandbox.mlops(["image", "push"]).success();
    data(&mut recorder);
    models(&mut recorder);
    delivery(&mut recorder);
    checks(&mut recorder);
    // Of a branch that does not exist, so that nothing is built.
    let settings = recorder.sandbox.path().join("mlops.toml");
    let settings = std::fs::read_to_string(settings).unwrap();
    let delivery = "\n[delivery]\nbranches = [\"team/none\"]\n";
    recorder.sandbox.write("mlops.toml", settings + delivery);
    small_project::commit(&recorder.sandbox);
    // The second one looks for pipelines of other branches.
    let _ = recorder.plain("init").success();
    let _ = recorder.plain("init").success();
    let _ = recorder.plain("plan").success();
    let delete = ["endpoint", "delete", "--yes"];
    let _ = recorder.run("endpoint delete", &delete).success();
    let _ = recorder.run("destroy", &["destroy", "--yes"]).success();
    let all = ["destroy", "--delete-data", "--yes"];
    let _ = recorder.run("destroy", &all).success();

    let table = listed();
    let mut wrong = String::new();
    for (command, called) in &recorder.called {
        if NOT_COMPARED.contains(command) {
            continue;
        }
        let listed = table.get(command).cloned().unwrap_or_default();
        for missing in called.difference(&listed) {
            wrong.push_str(&format!("{command}: + {missing}\n"));
        }
        for superfluous in listed.difference(called) {
            let excused = NOT_PROVOKED.iter().any(|(name, operation, _)| {
                (name == command || *name == "*") && operation == superfluous
            });
            if !excused {
                wrong.push_str(&format!("{command}: - {superfluous}\n"));
            }
        }
    }
    for (command, operation, _) in NOT_PROVOKED {
        let called = recorder.called.get(command);
        if called.is_some_and(|called| called.contains(*operation)) {
            wrong.push_str(&format!("{command}: {operation} is excused, but called\n"));
        }
    }
    assert!(
        wrong.is_empty(),
        "src/permissions/commands.txt lacks (+) and has too many (-):\n{wrong}"
    );
}

#[test]
fn a_policy_names_the_project_s_resources() {
    let sandbox = Sandbox::new();
    let policy = |words: &[&str]| {
        let run = sandbox.mlops([&["doctor", "--iam"], words].concat());
        run.success().json()
    };
    let push = policy(&["data", "push"]);
    assert!(
        push.to_string().contains("arn:aws:s3:::PROJECT-"),
        "{push:#}"
    );
    sandbox.write(
        "mlops.toml",
        "name = \"flights\"\naccount = \"111111111111\"\nregion = \"eu-west-1\"\n",
    );
    let push = policy(&["data", "push"]);
    let objects = "arn:aws:s3:::flights-*-111111111111-eu-west-1/*";
    assert!(push.to_string().contains(objects), "{push:#}");
    assert!(!push.to_string().contains("ecr:"), "{push:#}");
    let all = policy(&[]);
    assert!(all.to_string().contains("ecr:PutImage"), "{all:#}");
    let unknown = sandbox.mlops(["doctor", "--iam", "image", "pull"]).code(2);
    assert!(unknown.stderr.contains("image push"), "{}", unknown.stderr);
}
