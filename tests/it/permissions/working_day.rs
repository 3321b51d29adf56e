//! The commands of a working day, each once.

use serde_json::Value;

use super::recorder::Recorder;
use crate::sandbox::pause;
use crate::sdk::Sdk;
use crate::{handover, small_delivery, small_project};

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
pub(super) fn images(recorder: &mut Recorder) {
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
pub(super) fn data(recorder: &mut Recorder) {
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
pub(super) fn models(recorder: &mut Recorder) {
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
    let _ = recorder.plain("retrain status").success();
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
    handed_over(recorder);
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

/// A release that a pipeline deploys.
fn handed_over(recorder: &mut Recorder) {
    let _ = recorder.plain("train").success();
    let list = ["models", "list", "--output", "json"];
    let list = recorder.sandbox.mlops(list).success().json();
    let newest = list["models"][0]["version"].to_string();
    let approve = ["models", "approve", &newest];
    let _ = recorder.run("models approve", &approve).success();
    let prepare = ["promote", &newest, "--prepare", "release"];
    let _ = recorder.run("promote", &prepare).success();
    let sdk = Sdk::at(&format!("http://{}", recorder.endpoint));
    let _ = handover::deploy(&recorder.sandbox, &sdk, "release");
    let name = "releases verify --record";
    let path = recorder.sandbox.path().join("release/number");
    let number = std::fs::read_to_string(path).unwrap();
    let record = ["releases", "verify", "--record", number.trim()];
    let _ = recorder.run(name, &record).success();
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
pub(super) fn delivery(recorder: &mut Recorder) {
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

/// Starts a build that does not end by itself.
pub(super) fn endless_build(recorder: &Recorder) {
    small_delivery::push(&recorder.sandbox, "import time\ntime.sleep(900)\n");
    small_delivery::wait_for("an endless build", || {
        let runs = small_delivery::runs(&recorder.sandbox);
        let is_own = |run: &&Value| run["status"] == "InProgress" && run["kind"] == "ml";
        let run = runs.iter().find(is_own)?["run"].as_str()?;
        let show = ["runs", "show", run, "--output", "json"];
        let shown = recorder.sandbox.mlops(show).success().json();
        let mut stages = shown["stages"].as_array()?.iter();
        let builds = |stage: &Value| {
            let mut actions = stage["actions"].as_array().unwrap().iter();
            actions.any(|action| action["build"].is_object())
        };
        stages.any(builds).then_some(())
    });
}

/// Retraining: the pipelines of the develop branch exist, and have nothing to train with.
pub(super) fn retraining(recorder: &mut Recorder) {
    // The first one deploys the gate.
    let asked = recorder.plain("retrain now");
    assert!(matches!(asked.code, Some(0 | 3)), "{}", asked.stderr);
    let schedule = ["retrain", "schedule", "rate(7 days)"];
    let _ = recorder.run("retrain schedule", &schedule).success();
    for name in ["retrain on-data", "retrain on-drift", "retrain off"] {
        let _ = recorder.plain(name).success();
    }
    let asked = ["retrain", "test", "--output", "json"];
    let asked = recorder.run("retrain test", &asked);
    assert!(matches!(asked.code, Some(0 | 3)), "{}", asked.stderr);
}

/// Validation and monitoring.
pub(super) fn checks(recorder: &mut Recorder) {
    recorder.sandbox.write("train.csv", "y,x\n1.5,7\n2.5,8\n");
    let suggest = ["validate", "--suggest", "train.csv"];
    let _ = recorder.sandbox.mlops(suggest).success();
    recorder.put(
        "small-capture-000000000000-us-east-1",
        "capture/small/AllTraffic/2026/02/14/17/events.jsonl",
        captured(),
    );
    recorder.sandbox.set("MLOPS_NOW", "2026-02-14T18:00:00Z");
    recorder.sandbox.write("labels.csv", "id,label\ne,1\n");
    let push = ["data", "label", "push", "labels.csv"];
    let _ = recorder.run("data label push", &push).success();
    let _ = recorder.plain("monitor run");
    let _ = recorder.plain("monitor report");
    let _ = recorder.plain("monitor tune").success();
    for name in ["monitor enable", "monitor status", "monitor disable"] {
        let _ = recorder.plain(name).success();
    }
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
