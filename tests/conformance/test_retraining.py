"""Issue 13: alarms, data and people ask the retrain gate, which starts the ML pipeline within its limits. A small project
of `mlops init` with its pipelines, on the clock that tests advance."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import clock
import pytest
from conftest import BIN
from delivery import delivered

HOUR = 3600
GATE = "small-retrain-gate"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    yield from delivered(tmp_path_factory.mktemp("small"))


def eventually(found, wanted=None):
    """Waits until a function returns something, or what is wanted."""
    for _ in range(1200):
        seen = found()
        if seen == wanted if wanted is not None else seen:
            return seen
        time.sleep(0.1)
    raise AssertionError(f"{seen} instead of {wanted}")


def status(project):
    return project.mlops("retrain", "status")


def ended(project, execution):
    """Waits until an execution of the ML pipeline is over, and the gate knows it."""

    def outcome():
        starts = {start["execution"]: start["outcome"] for start in status(project)["starts"]}
        return starts[execution]

    return eventually(outcome)


def ask(project, number):
    """Sends a request to the gate, as a rule would."""
    event = {
        "id": f"event-{number}", "detail-type": "CloudWatch Alarm State Change", "source": "aws.cloudwatch",
        "detail": {"alarmName": "small-drift-storm", "state": {"value": "ALARM"}},
    }
    answer = project.client("lambda").invoke(FunctionName=GATE, Payload=json.dumps(event))
    assert "FunctionError" not in answer, answer["Payload"].read()
    return json.load(answer["Payload"])


def test_a_person_starts_a_run_through_the_gate(project):
    project.succeeded("small-ml-develop", 1)
    assert status(project)["strategies"] is None
    ran = project.run(BIN, "retrain", "test")
    assert ran.returncode == 2 and "not deployed" in ran.stderr, ran.stderr
    # Nothing is deployed to switch it off.
    assert project.mlops("retrain", "off")["action"] == "unchanged"
    assert status(project)["strategies"] is None
    # A start that is refused leaves no lock: the next request is free.
    denied = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Action": "codepipeline:StartPipelineExecution", "Resource": "*"}
    ]}
    name = {"RoleName": GATE, "PolicyName": "denied"}
    project.put_policy(name, denied)
    ran = project.run(BIN, "retrain", "now")
    assert ran.returncode == 4 and "StartPipelineExecution" in ran.stderr, ran.stderr
    assert status(project)["starts"] == []
    project.client("iam").delete_role_policy(**name)
    # The first request has deployed the gate, with every strategy off.
    tested = project.mlops("retrain", "test", "--event", "drift")
    assert (tested["decision"], tested["test"]) == ("start", True)
    assert status(project)["starts"] == []
    started = project.mlops("retrain", "now", "--note", "new labels \"}")
    assert started["decision"] == "start"
    assert started["reason"] == "manual: new labels __"
    refused = project.mlops("retrain", "now", code=3)
    assert (refused["decision"], refused["why"], refused["execution"]) == ("refuse", "running", started["execution"])
    assert ended(project, started["execution"]) == "succeeded"
    refused = project.mlops("retrain", "now", code=3)
    assert refused["why"] == "cool-down"
    # The reason is in the run's record, in lineage, and in status.
    runs = [run for run in project.mlops("runs", "list")["runs"] if run["kind"] == "training"]
    assert runs[0]["reason"] == "manual: new labels __" and runs[-1]["reason"] == "push"
    assert project.mlops("lineage", "2")["reason"] == "manual: new labels __"
    shown = status(project)
    assert [start["reason"]["kind"] for start in shown["starts"]] == ["manual"]
    assert shown["refused"] == 2
    # A retraining is never approved by itself.
    assert project.versions()[-1]["ModelApprovalStatus"] == "PendingManualApproval"


def test_fifty_simultaneous_events_start_one_run(project):
    clock.advance(project.endpoint, 25 * HOUR)
    with ThreadPoolExecutor(max_workers=16) as pool:
        answers = list(pool.map(lambda number: ask(project, number), range(50)))
    decisions = [answer["decision"] for answer in answers]
    assert decisions.count("start") == 1, answers
    assert decisions.count("refuse") == 49, answers
    [execution] = [answer["execution"] for answer in answers if answer["decision"] == "start"]
    # Events are delivered at least once.
    again = ask(project, decisions.index("start"))
    assert (again["decision"], again["execution"]) == ("repeated", execution)
    assert ask(project, decisions.index("refuse"))["decision"] == "refuse"
    shown = status(project)
    assert len(shown["starts"]) == 2 and shown["refused"] == 51
    assert ended(project, execution) == "succeeded"


def test_lasting_drift_starts_a_run_after_the_cool_down(project):
    switched = project.mlops("retrain", "on-drift")
    assert (switched["action"], switched["on_drift"], switched["on_data"]) == ("updated", True, False)
    cloudwatch = project.client("cloudwatch")
    # What a monitor writes every hour; without data, drift lasts.
    cloudwatch.put_metric_alarm(
        AlarmName="small-drift-x", Namespace="n", MetricName="m", Statistic="Maximum", Period=60,
        EvaluationPeriods=1, Threshold=0.1, ComparisonOperator="GreaterThanThreshold", TreatMissingData="breaching",
    )
    before = len(status(project)["starts"])
    clock.advance(project.endpoint, 2 * 60)
    # Within the cool-down of the last run, the alarm is refused. It stays in ALARM, without another event.
    def refused():
        return [it["reason"]["detail"] for it in status(project)["refusals"] if it["reason"]["kind"] == "drift"]

    eventually(lambda: "small-drift-x" in refused())
    assert len(status(project)["starts"]) == before
    clock.advance(project.endpoint, 26 * HOUR)
    start = eventually(lambda: status(project)["starts"][before:])[0]
    assert start["reason"]["kind"] == "drift" and start["reason"]["detail"] == "small-drift-x"
    eventually(lambda: status(project)["starts"][before]["execution"])
    assert ended(project, status(project)["starts"][before]["execution"]) == "succeeded"
    # It lasts, and is left alone until the next cool-down is over: no storm.
    refusals = status(project)["refused"]
    clock.advance(project.endpoint, 20 * HOUR)
    clock.advance(project.endpoint, 60)
    shown = status(project)
    assert len(shown["starts"]) == before + 1 and shown["refused"] <= refusals + 1
    cloudwatch.delete_alarms(AlarmNames=["small-drift-x"])
    assert project.mlops("retrain", "off", "--strategy", "drift")["on_drift"] is False


def test_a_new_version_of_the_data_starts_a_run(project):
    assert project.mlops("retrain", "on-data")["on_data"] is True
    clock.advance(project.endpoint, 25 * HOUR)
    before = len(status(project)["starts"])
    more = Path(project.directory, "data/good.csv").read_text()
    project.write("data/train/more.csv", more)
    pushed = project.mlops("data", "push", "data/train", "small")
    start = eventually(lambda: status(project)["starts"][before:])[0]
    assert start["reason"]["kind"] == "data"
    assert start["reason"]["detail"] == f"small@{pushed['version']}"
    project.mlops("retrain", "off")


def test_a_schedule_starts_a_run(project):
    eventually(lambda: all(start["outcome"] for start in status(project)["starts"]))
    switched = project.mlops("retrain", "schedule", "rate(2 days)", "--time-zone", "Europe/Berlin")
    assert (switched["schedule"], switched["time_zone"]) == ("rate(2 days)", "Europe/Berlin")
    before = len(status(project)["starts"])
    clock.advance(project.endpoint, 49 * HOUR)
    start = eventually(lambda: status(project)["starts"][before:])[0]
    assert start["reason"]["kind"] == "schedule"
    assert project.mlops("retrain", "off")["schedule"] is None


def capture(project, rows, at):
    """Puts captured traffic into the bucket, as an endpoint does: the rows, each with a prediction."""
    lines = []
    for number, row in enumerate(rows):
        payload = {"observedContentType": "text/csv", "encoding": "CSV"}
        lines.append(json.dumps({
            "captureData": {
                "endpointInput": payload | {"mode": "INPUT", "data": row},
                "endpointOutput": payload | {"mode": "OUTPUT", "data": "1.5"},
            },
            "eventMetadata": {"eventId": f"{at:%s}-{number}", "inferenceTime": f"{at:%Y-%m-%dT%H:%M:%SZ}"},
            "eventVersion": "0",
        }))
    project.client("s3").put_object(
        Bucket="small-capture-000000000000-us-east-1", Body="\n".join(lines).encode(),
        Key=f"capture/small/AllTraffic/{at:%Y/%m/%d/%H}/{at:%M-%S}.jsonl",
    )


def results(project):
    found = project.client("s3").list_objects_v2(
        Bucket="small-artifacts-000000000000-us-east-1", Prefix="monitoring/small/"
    )
    return [item["Key"] for item in found.get("Contents", []) if item["Key"].endswith("constraint_violations.json")]


def training_rows(project):
    """The features of the training data: traffic without drift."""
    with open(Path(project.directory, "data/good.csv")) as file:
        return [line.strip().split(",", 1)[1] for line in file][1:]


def push_labels(project, at, count, error):
    """Pushes labels of captured predictions, each of which is wrong by this much."""
    rows = [f"{at:%s}-{number},{1.5 + (error if number % 2 else -error)}" for number in range(count)]
    project.write("labels.csv", "\n".join(["id,label", *rows]))
    assert project.mlops("data", "label", "push", "labels.csv")["labels"] == count


def test_the_monitor_finds_drift_and_the_loop_closes(project):
    enabled = project.mlops("monitor", "enable")
    assert (enabled["action"], enabled["every_hours"]) == ("created", 24)
    shown = project.mlops("monitor", "status")
    assert shown["enabled"] and len(shown["alarms"]) == 3
    project.mlops("retrain", "on-drift")
    before = len(status(project)["starts"])
    # A day without drift: rows of the training data.
    fine = training_rows(project)
    clock.advance(project.endpoint, HOUR)
    # The first job ran at once, without traffic: that is neither silence nor drift, and every request could be read.
    states = {alarm["alarm"]: alarm["state"] for alarm in project.mlops("monitor", "status")["alarms"]}
    assert len(states) == 3 and "ALARM" not in states.values(), states
    capture(project, fine, clock.now(project.endpoint))
    clock.advance(project.endpoint, 24 * HOUR)
    eventually(lambda: len(results(project)), 1)
    # A day of July: it is warmer than in the training data.
    with open(Path(project.directory, "data/production/july.csv")) as file:
        july = [line.strip() for line in file]
    # A client's request that the reader refuses does not end the analysis, nor decide what the others mean.
    capture(project, ["1,2", *july], clock.now(project.endpoint))
    clock.advance(project.endpoint, 24 * HOUR)
    eventually(lambda: len(results(project)), 2)
    metrics = project.client("cloudwatch").list_metrics(Namespace="MLOps/Monitor/small")["Metrics"]
    names = {metric["MetricName"] for metric in metrics}
    assert {"runs", "records", "violations", "feature_baseline_drift_temp"} <= names
    start = eventually(lambda: status(project)["starts"][before:])[0]
    assert start["reason"]["kind"] == "drift"
    assert start["reason"]["detail"] == "small-drift-data-quality"
    # The first day had no violations.
    assert len(status(project)["starts"]) == before + 1
    newest = project.mlops("monitor", "status")["newest"]
    assert newest["violations"] >= 1 and newest["rows"] == len(july)
    report = project.mlops("monitor", "report")
    assert report["violations"] and report["unreadable"]["invocations"] == 1
    states = {alarm["alarm"]: alarm["state"] for alarm in project.mlops("monitor", "status")["alarms"]}
    assert states["small-monitor-data-quality-unreadable"] == "ALARM", states
    assert states["small-monitor-data-quality-missing"] == "OK", states
    assert project.mlops("monitor", "disable")["action"] == "deleted"
    assert project.mlops("monitor", "status")["enabled"] is False
    project.mlops("retrain", "off")


def test_labels_show_that_the_model_became_worse(project):
    settings = Path(project.directory, "mlops.toml").read_text()
    project.write("mlops.toml", settings + '\n[monitor.model_quality]\nproblem_type = "regression"\n')
    rows = training_rows(project)

    def day(error):
        """A day of traffic, with labels."""
        at = clock.now(project.endpoint)
        project.environment["MLOPS_NOW"] = f"{at:%Y-%m-%dT%H:%M:%SZ}"
        capture(project, rows, at)
        push_labels(project, at, len(rows), error)

    # The metrics of the test before are older than what alarms evaluate then.
    clock.advance(project.endpoint, 7 * 24 * HOUR)
    # The limits are the metrics of a good day; they need labels.
    day(0.5)
    suggested = project.mlops("monitor", "run", "--kind", "model-quality", "--suggest", "--hours", "1")
    assert (suggested["rows"], suggested["join_rate"]) == (len(rows), 1.0)
    enabled = project.mlops("monitor", "enable")
    assert enabled["monitors"] == ["data-quality", "model-quality"]
    project.mlops("retrain", "on-drift")
    before = len(status(project)["starts"])
    clock.advance(project.endpoint, 24 * HOUR)
    eventually(lambda: (project.mlops("monitor", "status")["newest_model_quality"] or {}).get("rows"), len(rows))
    states = {alarm["alarm"]: alarm["state"] for alarm in project.mlops("monitor", "status")["alarms"]}
    assert len(states) == 7 and "ALARM" not in states.values(), states
    day(5)
    clock.advance(project.endpoint, 24 * HOUR)
    start = eventually(lambda: status(project)["starts"][before:])[0]
    assert start["reason"]["detail"] == "small-drift-model-quality"
    shown = project.mlops("monitor", "status")
    assert shown["newest"]["violations"] == 0
    assert shown["newest_model_quality"]["violations"] >= 1
    report = project.mlops("monitor", "report", "--kind", "model-quality")
    mae = next(metric for metric in report["metrics"] if metric["metric"] == "mae")
    assert (mae["value"], mae["threshold"], mae["violated"]) == (5.0, 0.5, True)
    metrics = project.client("cloudwatch").list_metrics(
        Namespace="MLOps/Monitor/small",
        Dimensions=[{"Name": "MonitoringSchedule", "Value": "small-model-quality"}],
    )["Metrics"]
    names = {metric["MetricName"] for metric in metrics}
    assert {"runs", "predictions", "records", "unreadable", "unlabelled", "violations", "mae", "rmse"} <= names, names
    del project.environment["MLOPS_NOW"]
    # Without the section, its schedule and its alarms are deleted.
    project.write("mlops.toml", settings)
    assert project.mlops("monitor", "enable")["monitors"] == ["data-quality"]
    alarms = [alarm["alarm"] for alarm in project.mlops("monitor", "status")["alarms"]]
    assert len(alarms) == 3 and "small-drift-model-quality" not in alarms, alarms
    project.mlops("monitor", "disable")
    project.mlops("retrain", "off")


def test_an_end_that_was_not_announced_is_found(project):
    state = {"Bucket": "small-artifacts-000000000000-us-east-1", "Key": "retraining/state.json"}
    s3 = project.client("s3")
    found = json.load(s3.get_object(**state)["Body"])
    # As if the event had been lost, a week ago.
    found["starts"] = [found["starts"][0] | {"outcome": None, "time": "2020-01-01T00:00:00Z"}]
    s3.put_object(**state, Body=json.dumps(found).encode())
    # A test asks CodePipeline, too, but changes nothing.
    assert project.mlops("retrain", "test")["decision"] == "start"
    assert status(project)["starts"][0]["outcome"] is None
    started = project.mlops("retrain", "now")
    assert started["decision"] == "start"
    outcomes = [start["outcome"] for start in status(project)["starts"]]
    assert outcomes[0] == "succeeded"
    assert ended(project, started["execution"]) == "succeeded"


def test_what_is_wrong_is_said_before_anything_is_deployed(project):
    deployed = project.client("cloudformation").describe_stack_events(StackName="small-retraining")["StackEvents"]
    for expression in ("sometimes", "none", "rate()"):
        ran = project.run(BIN, "retrain", "schedule", expression)
        assert ran.returncode == 2 and "cron(" in ran.stderr, ran.stderr
    now = project.client("cloudformation").describe_stack_events(StackName="small-retraining")["StackEvents"]
    assert len(now) == len(deployed)
