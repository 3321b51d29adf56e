//! Issue 12: executions of CodePipeline in `runs`, `approve`, `reject` and `status`. One project, whose pipelines
//! really run.

use serde_json::{Value, json};

use crate::sandbox::{Run, Sandbox};
use crate::sdk::Sdk;
use crate::small_delivery::{create, push, push_to, runs, show, wait_for, waiting};
use crate::small_project;

const WORKS: &str = "print('the step works', flush=True)\n";

const RAISES: &str = "\
def check(rows):
    raise ValueError(f'{rows} rows are left')

print('reading', flush=True)
check(0)
";

const SLEEPS: &str = "import time\nprint('sleeping', flush=True)\ntime.sleep(600)\n";

/// The first characters of an id are enough.
fn short(id: &str) -> &str {
    &id[..8]
}

fn json(sandbox: &Sandbox, words: &[&str]) -> Value {
    let run = sandbox.mlops([words, &["--output", "json"]].concat());
    run.success().json()
}

/// The kinds of the levels of an explanation.
fn kinds(why: &Value) -> Vec<&str> {
    let levels = why["levels"].as_array().unwrap().iter();
    levels
        .map(|level| level["kind"].as_str().unwrap())
        .collect()
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[track_caller]
fn is_one_screen(run: &Run) {
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines.len() <= 24, "{}", run.stdout);
    let fits = |line: &&str| line.chars().count() <= 80;
    assert!(lines.iter().all(fits), "{}", run.stdout);
}

#[test]
fn issue_12_executions_of_pipelines_are_runs() {
    let sandbox = Sandbox::new();
    small_project::project(&sandbox);
    let none = sandbox.mlops(["runs", "list"]).success().stdout;
    contains(&none, &["no delivery: a push starts nothing"]);
    let nothing = sandbox.mlops(["approve"]).code(1);
    contains(&nothing.stderr, &["no execution of a pipeline waits"]);
    let _ = sandbox.mlops(["train"]).success();

    create(&sandbox, WORKS);
    let ml = waiting(&sandbox, "small-ml-develop", &[]);
    let deploy = waiting(&sandbox, "small-deploy", &[]);
    in_progress(&sandbox, &ml, &deploy);
    let build = show(&sandbox, &ml)["stages"][1]["actions"][0]["build"]["id"].clone();
    with_a_training(&sandbox, &ml, build.as_str().unwrap(), &[]);
    decisions(&sandbox, &ml, &deploy);
    failure(&sandbox, &[&ml]);
    stopped(&sandbox);
    branches(&sandbox);
}

/// Both pipelines wait for an approval.
fn in_progress(sandbox: &Sandbox, ml: &str, deploy: &str) {
    let listed = runs(sandbox);
    let run = listed.iter().find(|run| run["run"] == ml).unwrap();
    let head = sandbox.program("", "git", &["rev-parse", "HEAD"]).success();
    let expected = json!({
        "kind": "ml", "pipeline": "small-ml-develop", "part_of": null, "status": "InProgress",
        "branch": "develop", "commit": head.stdout.trim(), "model_version": null,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(run[name], *value, "{name}: {run:#}");
    }
    assert_eq!(
        run["source"]["trigger"]["type"], "CreatePipeline",
        "{run:#}"
    );

    let shown = show(sandbox, short(ml));
    assert_eq!(shown["run"], ml);
    let stages = shown["stages"].as_array().unwrap();
    let states: Vec<(&Value, &Value)> = stages
        .iter()
        .map(|it| (&it["name"], &it["status"]))
        .collect();
    let expected = ["Source", "Train", "Review"].map(Value::from);
    assert!(states.iter().map(|it| it.0).eq(&expected), "{shown:#}");
    assert_eq!(stages[1]["status"], "Succeeded", "{shown:#}");
    assert_eq!(
        stages[1]["actions"][0]["build"]["status"], "SUCCEEDED",
        "{shown:#}"
    );
    assert_eq!(shown["revisions"][0]["id"], head.stdout.trim(), "{shown:#}");
    let text = sandbox.mlops(["runs", "show", short(ml)]).success();
    is_one_screen(&text);
    let commit = &head.stdout[..7];
    let next = format!("Next: mlops approve {ml}");
    contains(
        &text.stdout,
        &[
            "pipeline  small-ml-develop",
            "waits for an approval",
            commit,
            &next,
        ],
    );

    let logs = sandbox
        .mlops(["runs", "logs", short(ml), "train"])
        .success();
    contains(&logs.stdout, &["Train  the step works"]);

    let both = sandbox.mlops(["approve"]).code(2);
    contains(
        &both.stderr,
        &["2 approvals wait", &format!("mlops approve {ml}"), deploy],
    );
    let status = sandbox.mlops(["status"]).success();
    is_one_screen(&status);
    let command = format!(
        "pipeline deploy waits for an approver: mlops approve {}",
        short(deploy)
    );
    let delivery = format!("ml-develop {} InProgress", short(ml));
    contains(&status.stdout, &[&command, &delivery]);
    let status = json(sandbox, &["status"]);
    assert_eq!(
        status["delivery"][0]["pipeline"], "small-deploy",
        "{status:#}"
    );
    assert_eq!(status["delivery"][0]["run"], deploy, "{status:#}");
}

/// A training that a build started belongs to its execution. Returns its id.
fn with_a_training(
    sandbox: &Sandbox,
    execution: &str,
    build: &str,
    changed: &[(&str, &str)],
) -> String {
    let sdk = Sdk::of(sandbox);
    let client = aws_sdk_sagemaker::Client::new(&sdk.config);
    let trained = runs(sandbox)
        .into_iter()
        .find(|run| run["kind"] == "training" && run["part_of"].is_null());
    let trained = show(sandbox, trained.unwrap()["run"].as_str().unwrap());
    let mut parameters = trained["parameters"].as_object().unwrap().clone();
    parameters.extend(
        changed
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value))),
    );
    let mut start = client.start_pipeline_execution().pipeline_name("small");
    for (name, value) in &parameters {
        let parameter = aws_sdk_sagemaker::types::Parameter::builder().name(name);
        start = start.pipeline_parameters(parameter.value(value.as_str().unwrap()).build());
    }
    let origin = json!({"branch": "develop", "commit": "a1", "image": null, "data_version": null,
        "definition_sha256": null, "build": build});
    let start = start.pipeline_execution_description(origin.to_string());
    let arn = sdk
        .wait(start.send())
        .unwrap()
        .pipeline_execution_arn
        .unwrap();
    let id = arn.rsplit('/').next().unwrap().to_owned();
    wait_for("the training", || {
        (show(sandbox, &id)["status"] != "Executing").then_some(())
    });
    let own = show(sandbox, &id);
    assert_eq!(
        (&own["kind"], &own["build"]),
        (&json!("training"), &json!(build))
    );

    let listed = runs(sandbox);
    let at = listed
        .iter()
        .position(|run| run["run"] == execution)
        .unwrap();
    assert_eq!(listed[at + 1]["run"], id, "{listed:#?}");
    assert_eq!(listed[at + 1]["part_of"], execution, "{listed:#?}");
    assert_eq!(
        listed[at]["model_version"], own["model_version"],
        "{listed:#?}"
    );
    let text = sandbox.mlops(["runs", "list"]).success();
    contains(&text.stdout, &["└ training"]);
    assert!(
        text.stdout.lines().all(|line| line.chars().count() <= 80),
        "{}",
        text.stdout
    );
    let shown = show(sandbox, execution);
    assert_eq!(
        shown["stages"][1]["actions"][0]["training"]["run"], id,
        "{shown:#}"
    );
    assert_eq!(shown["model_version"], own["model_version"], "{shown:#}");
    let text = sandbox.mlops(["runs", "show", execution]).success().stdout;
    contains(&text, &["└ Evaluate", &format!("run {id}")]);
    // A step of the training is a part of the execution.
    let logs = sandbox
        .mlops(["runs", "logs", execution, "Train/Train/Train"])
        .success();
    contains(&logs.stdout, &["Train  last line"]);
    id
}

fn decisions(sandbox: &Sandbox, ml: &str, deploy: &str) {
    let long = "x".repeat(513);
    let _ = sandbox.mlops(["approve", ml, "--note", &long]).code(2);
    let other = sandbox
        .mlops(["approve", ml, "--action", "Nothing"])
        .code(1);
    contains(&other.stderr, &["`Nothing`"]);
    let version = sandbox.mlops(["approve", "2"]).code(2);
    contains(
        &version.stderr,
        &["mlops promote 2", "mlops models approve 2"],
    );

    let approved = json(sandbox, &["approve", short(ml), "--note", "fine"]);
    assert_eq!(approved["decision"], "approved", "{approved:#}");
    assert_eq!(
        (&approved["run"], &approved["stage"]),
        (&json!(ml), &json!("Review"))
    );
    let watched = sandbox
        .mlops(["runs", "watch", ml, "--output", "json"])
        .success();
    let changes: Vec<Value> = watched
        .stdout
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let last = changes
        .iter()
        .rfind(|change| change["what"] == "Review/Approve")
        .unwrap();
    assert_eq!(last["to"], "Succeeded", "{changes:#?}");
    contains(last["note"].as_str().unwrap(), &["fine"]);

    // The only one that waits.
    let rejected = json(sandbox, &["reject", "--note", "wrong month"]);
    assert_eq!(
        (&rejected["run"], &rejected["decision"]),
        (&json!(deploy), &json!("rejected"))
    );
    let watched = sandbox.mlops(["runs", "watch", short(deploy)]).code(3);
    contains(
        &watched.stderr,
        &["was refused at `Approve`", "wrong month"],
    );
    let why = json(sandbox, &["runs", "why"]);
    assert_eq!(why["run"], deploy, "{why:#}");
    assert_eq!(
        (&why["outcome"], &why["cause"]["kind"]),
        (&json!("refused"), &json!("gate"))
    );
    let none = sandbox.mlops(["approve"]).code(1);
    contains(
        &none.stderr,
        &["no execution of a pipeline waits", "mlops promote 2"],
    );
}

/// A push starts an execution whose build fails.
fn failure(sandbox: &Sandbox, known: &[&str]) {
    push(sandbox, RAISES);
    let id = wait_for("an execution", || {
        let new = |run: &&Value| {
            run["pipeline"] == "small-ml-develop" && !known.contains(&run["run"].as_str().unwrap())
        };
        let found = runs(sandbox).iter().find(new)?["run"]
            .as_str()
            .unwrap()
            .to_owned();
        Some(found)
    });
    let watched = sandbox.mlops(["runs", "watch", &id]).code(1);
    contains(&watched.stdout, &["Source/Code", "Train/Train"]);
    contains(
        &watched.stderr,
        &["failed at `Train`", "likely cause", "runs why"],
    );
    let shown = show(sandbox, &id);
    assert_eq!(shown["trigger"]["type"], "CloudWatchEvent", "{shown:#}");
    let text = sandbox.mlops(["runs", "show", &id]).success().stdout;
    contains(&text, &["event     an event, by the rule small-ml-develop"]);

    let why = json(sandbox, &["runs", "why"]);
    assert_eq!(
        (&why["run"], &why["outcome"]),
        (&json!(id), &json!("failed")),
        "{why:#}"
    );
    assert_eq!(
        kinds(&why),
        ["execution", "stage", "action", "build"],
        "{why:#}"
    );
    assert_eq!(why["cause"]["kind"], "exception", "{why:#}");
    assert_eq!(why["cause"]["location"]["line"], 2, "{why:#}");
    assert_eq!(
        why["log"]["group"], "/aws/codebuild/small-test-build",
        "{why:#}"
    );
    let text = sandbox.mlops(["runs", "why", short(&id)]).success();
    is_one_screen(&text);
    let next = format!("next    mlops runs logs {id} Train");
    contains(
        &text.stdout,
        &["action  Train/Train", "ValueError: 0 rows are left", &next],
    );
    let status = sandbox.mlops(["status"]).success().stdout;
    contains(
        &status,
        &[&format!("next       mlops runs why {}", short(&id))],
    );

    let retried = json(sandbox, &["runs", "retry", short(&id)]);
    assert_eq!(
        (&retried["run"], &retried["stage"]),
        (&json!(id), &json!("Train"))
    );
    let _ = sandbox.mlops(["runs", "watch", &id]).code(1);
    let action = show(sandbox, &id)["stages"][1]["actions"][0].clone();
    assert_eq!(action["attempts"], 2, "{action:#}");

    // Of a training that a gate refused, the levels continue.
    let build = action["build"]["id"].as_str().unwrap();
    let training = with_a_training(sandbox, &id, build, &[("MaxRmse", "1")]);
    let why = json(sandbox, &["runs", "why", &id]);
    assert_eq!(
        kinds(&why),
        ["execution", "stage", "action", "build", "run", "step"],
        "{why:#}"
    );
    assert_eq!(why["levels"][4]["name"], training, "{why:#}");
    assert_eq!(
        (&why["outcome"], &why["cause"]["kind"]),
        (&json!("refused"), &json!("gate"))
    );
    is_one_screen(&sandbox.mlops(["runs", "why", &id]).success());
}

fn stopped(sandbox: &Sandbox) {
    push(sandbox, SLEEPS);
    let id = wait_for("the build", || {
        let newest = &runs(sandbox)[0];
        let id = newest["run"].as_str().unwrap().to_owned();
        let logs = sandbox.mlops(["runs", "logs", &id]);
        (newest["status"] == "InProgress" && logs.stdout.contains("sleeping")).then_some(id)
    });
    let early = sandbox.mlops(["runs", "retry", &id]).code(1);
    contains(&early.stderr, &["no failed stage to retry"]);
    let stopping = json(sandbox, &["runs", "stop", short(&id), "--abandon"]);
    assert_eq!(stopping["run"], id, "{stopping:#}");
    let watched = sandbox.mlops(["runs", "watch", &id]).code(1);
    contains(&watched.stderr, &["has ended: Stopped"]);
    let why = sandbox.mlops(["runs", "why", &id]).success().stdout;
    contains(&why, &["it was stopped"]);
    let training = runs(sandbox)
        .into_iter()
        .find(|run| run["kind"] == "training");
    let training = training.unwrap()["run"].as_str().unwrap().to_owned();
    let _ = sandbox
        .mlops(["runs", "stop", &training, "--abandon"])
        .code(2);
    // A training that was refused runs again from its gate, and is refused again.
    let refused = runs(sandbox)
        .into_iter()
        .find(|run| run["status"] == "Refused");
    let refused = refused.unwrap()["run"].as_str().unwrap().to_owned();
    let _ = sandbox.mlops(["runs", "retry", &refused]).success();
    let _ = sandbox.mlops(["runs", "watch", &refused]).code(3);
}

fn branches(sandbox: &Sandbox) {
    let list = sandbox.mlops(["runs", "list"]).success().stdout;
    assert!(!list.contains("has no delivery"), "{list}");
    push_to(sandbox, "feature/x");
    let list = sandbox.mlops(["runs", "list"]).success().stdout;
    contains(
        &list,
        &["branch feature/x has no delivery: add it to [delivery] branches"],
    );
    let list = json(sandbox, &["runs", "list"]);
    assert_eq!(
        list["delivery"]["branches_without"],
        json!(["feature/x"]),
        "{list:#}"
    );
}
