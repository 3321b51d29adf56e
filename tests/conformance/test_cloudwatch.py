"""boto3 and the aws CLI against CloudWatch, on the clock that tests advance."""

import datetime
import json
import subprocess

import botocore.model
import pytest
from botocore.exceptions import ClientError

import clock
import roles
from test_cloudformation_types import cfn, create, delete, failure, physical, update  # noqa: F401 (a fixture)

ARN = "arn:aws:cloudwatch:us-east-1:000000000000:alarm"
TOPIC = "arn:aws:sns:us-east-1:000000000000:topic"

# Longer than from any second to the next evaluation of an alarm with a period of a minute.
EVALUATED = 70


@pytest.fixture(scope="module", params=["json", "smithy-rpc-v2-cbor"])
def cloudwatch(client, request):
    """A client for each protocol: boto3 and the aws CLI prefer JSON, the SDK for Rust sends CBOR only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.model, "PRIORITY_ORDERED_SUPPORTED_PROTOCOLS", (request.param,))
        made = client("cloudwatch")
        assert made.meta.service_model.resolved_protocol == request.param
    return made


@pytest.fixture
def namespace(request):
    """A namespace, and a prefix of alarms, of the test's own."""
    return request.node.name.replace("[", "/").replace("]", "")[:100]


def refusal(call, **arguments):
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]


def query(id, namespace, name, stat, period=60, **metric):
    metric = {"Namespace": namespace, "MetricName": name, **metric}
    return {"Id": id, "MetricStat": {"Metric": metric, "Period": period, "Stat": stat}}


def alarm(name, namespace, metric="errors", **members):
    return {
        "AlarmName": name,
        "Namespace": namespace,
        "MetricName": metric,
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 5,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
        **members,
    }


def described(cloudwatch, name):
    found = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return found[0] if found else None


def minute(cloud):
    return clock.now(cloud).replace(second=0, microsecond=0)


def test_statistics(cloud, cloudwatch, namespace):
    start = minute(cloud) - datetime.timedelta(minutes=10)
    dimensions = [{"Name": "Variant", "Value": "a"}, {"Name": "Endpoint", "Value": "e"}]
    metric = {"MetricName": "latency", "Dimensions": dimensions, "Unit": "Microseconds"}
    cloudwatch.put_metric_data(
        Namespace=namespace,
        MetricData=[
            {**metric, "Timestamp": start, "Values": [float(value) for value in range(1, 101)]},
            {**metric, "Timestamp": start + datetime.timedelta(seconds=61), "Value": 7},
            {
                **metric,
                "Timestamp": start + datetime.timedelta(minutes=2),
                "StatisticValues": {"SampleCount": 4, "Sum": 20, "Minimum": 2, "Maximum": 8},
            },
            {**metric, "Unit": "Count", "Timestamp": start, "Value": 1},
        ],
    )
    asked = {
        "Namespace": namespace,
        "MetricName": "latency",
        # The order of dimensions does not matter.
        "Dimensions": dimensions[::-1],
        "StartTime": start,
        "EndTime": start + datetime.timedelta(minutes=5),
        "Period": 60,
    }
    found = cloudwatch.get_metric_statistics(
        **asked, Statistics=["SampleCount", "Sum", "Average", "Minimum", "Maximum"], Unit="Microseconds"
    )
    points = sorted(found["Datapoints"], key=lambda point: point["Timestamp"])
    assert found["Label"] == "latency"
    assert [point["Timestamp"] for point in points] == [start + datetime.timedelta(minutes=n) for n in range(3)]
    assert points[0] == {
        "Timestamp": start, "Unit": "Microseconds",
        "SampleCount": 100, "Sum": 5050, "Average": 50.5, "Minimum": 1, "Maximum": 100,
    }
    assert (points[2]["Average"], points[2]["Minimum"], points[2]["Maximum"]) == (5, 2, 8)
    found = cloudwatch.get_metric_statistics(**asked, ExtendedStatistics=["p50", "p99.5"])
    percentiles = {(point["Timestamp"], point["Unit"]): point["ExtendedStatistics"] for point in found["Datapoints"]}
    assert percentiles[start, "Microseconds"] == {"p50": 50, "p99.5": 100}
    assert percentiles[start, "Count"] == {"p50": 1, "p99.5": 1}
    # A statistic set has no percentiles.
    assert (start + datetime.timedelta(minutes=2), "Microseconds") not in percentiles
    assert cloudwatch.get_metric_statistics(**asked | {"Dimensions": []}, Statistics=["Sum"])["Datapoints"] == []

    data = cloudwatch.get_metric_data(
        MetricDataQueries=[
            query("all", namespace, "latency", "Sum", 300, Dimensions=dimensions),
            query("each", namespace, "latency", "p90", Dimensions=dimensions),
            {**query("hidden", namespace, "latency", "Sum"), "ReturnData": False},
        ],
        StartTime=start,
        EndTime=start + datetime.timedelta(minutes=5),
    )
    found = {result["Id"]: result for result in data["MetricDataResults"]}
    assert found["all"]["Values"] == [5050 + 7 + 20 + 1] and found["all"]["Timestamps"] == [start]
    assert found["each"]["Timestamps"] == [start + datetime.timedelta(minutes=1), start]
    assert found["each"]["StatusCode"] == "Complete" and "hidden" not in found

    listed = cloudwatch.list_metrics(Namespace=namespace, Dimensions=[{"Name": "Endpoint"}])["Metrics"]
    assert [(each["MetricName"], len(each["Dimensions"])) for each in listed] == [("latency", 2)]
    assert not cloudwatch.list_metrics(Namespace=namespace, Dimensions=[{"Name": "Endpoint", "Value": "x"}])["Metrics"]
    assert cloudwatch.list_metrics(Namespace=namespace, RecentlyActive="PT3H")["Metrics"]


def test_high_resolution(cloud, cloudwatch, namespace):
    start = minute(cloud) - datetime.timedelta(minutes=2)
    data = [
        {"MetricName": "m", "Value": 1, "StorageResolution": 1, "Timestamp": start + datetime.timedelta(seconds=n)}
        for n in range(60)
    ]
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)
    for period in (1, 5, 10, 20, 30, 60):
        found = cloudwatch.get_metric_data(
            MetricDataQueries=[query("m", namespace, "m", "Sum", period)],
            StartTime=start,
            EndTime=start + datetime.timedelta(minutes=1),
            ScanBy="TimestampAscending",
        )["MetricDataResults"][0]
        assert found["Values"] == [period] * (60 // period)


def test_large_requests_are_compressed(cloud, cloudwatch, namespace):
    # botocore compresses a request of more than 10 KiB.
    data = [{"MetricName": f"metric-{number}", "Value": number} for number in range(1000)]
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)
    pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace=namespace)
    names = [metric["MetricName"] for page in pages for metric in page["Metrics"]]
    assert len(names) == len(set(names)) == 1000
    queries = [query(f"m{number}", namespace, f"metric-{number}", "Sum") for number in range(500)]
    now = clock.now(cloud)
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries,
        StartTime=now - datetime.timedelta(minutes=5),
        EndTime=now + datetime.timedelta(minutes=1),
        MaxDatapoints=200,
    )
    values = [value for page in pages for result in page["MetricDataResults"] for value in result["Values"]]
    assert sorted(values) == list(range(500))
    data = [{"MetricName": f"{number:0>250}", "Value": 1, "Unit": "Terabytes/Second"} for number in range(1000)]
    data = [{**each, "Dimensions": [{"Name": "n", "Value": "v" * 1000}]} for each in data]
    too_long = refusal(cloudwatch.put_metric_data, Namespace=namespace, MetricData=data)
    assert too_long["Code"] == "RequestEntityTooLargeException"


def test_refused_metrics(cloudwatch, namespace):
    datum = {"MetricName": "m", "Value": 1}
    assert refusal(cloudwatch.put_metric_data, Namespace="AWS/SageMaker", MetricData=[datum]) == {
        "Code": "InvalidParameterValue",
        "Message": "The value AWS/ for parameter Namespace is invalid.",
        "QueryErrorCode": "InvalidParameterValueException",
        "Type": "Sender",
    }
    empty = refusal(cloudwatch.put_metric_data, Namespace=namespace, MetricData=[])
    assert empty["Code"] == "MissingParameter"
    now = datetime.datetime.now(datetime.timezone.utc)
    asked = {"Namespace": namespace, "MetricName": "m", "StartTime": now - datetime.timedelta(days=2), "EndTime": now}
    many = refusal(cloudwatch.get_metric_statistics, **asked, Period=60, Statistics=["Sum"])
    assert many["Code"] == "InvalidParameterCombination"
    assert many["Message"].startswith("You have requested up to 2,880 datapoints, which exceeds the limit of 1,440.")
    odd = refusal(cloudwatch.get_metric_statistics, **asked, Period=90, Statistics=["Sum"])
    assert odd["Code"] == "InvalidParameterValue"
    unknown = refusal(cloudwatch.get_metric_statistics, **asked, Period=3600, Statistics=["Median"])
    assert unknown["Code"] == "ValidationError"
    mean = refusal(cloudwatch.get_metric_statistics, **asked, Period=3600, ExtendedStatistics=["tm99"])
    assert mean["Code"] == "NotImplemented" and "tm99" in mean["Message"]
    del asked["Namespace"], asked["MetricName"]
    math = refusal(cloudwatch.get_metric_data, **asked, MetricDataQueries=[{"Id": "e", "Expression": "m1 + m2"}])
    assert math["Code"] == "NotImplemented" and "metric math" in math["Message"]
    token = refusal(
        cloudwatch.get_metric_data, **asked, NextToken="x", MetricDataQueries=[query("m", namespace, "m", "Sum")]
    )
    assert token["Code"] == "InvalidNextToken"


def test_an_alarm(cloud, cloudwatch, namespace):
    name = f"{namespace} alarm"
    configured = alarm(
        name,
        namespace,
        AlarmDescription="too many errors",
        Dimensions=[{"Name": "EndpointName", "Value": "e"}],
        DatapointsToAlarm=2,
        EvaluationPeriods=3,
        AlarmActions=[TOPIC],
        Unit="Count",
        Tags=[{"Key": "team", "Value": "ml"}],
    )
    cloudwatch.put_metric_alarm(**configured)
    made = described(cloudwatch, name)
    assert made["AlarmArn"] == f"{ARN}:{name}" and made["StateValue"] == "INSUFFICIENT_DATA"
    assert {key: made[key] for key in configured if key != "Tags"} == {
        key: value for key, value in configured.items() if key != "Tags"
    }
    assert abs(made["StateUpdatedTimestamp"] - clock.now(cloud)) < datetime.timedelta(minutes=1)
    clock.advance(cloud, EVALUATED)
    assert described(cloudwatch, name)["StateValue"] == "OK"
    for _ in range(2):
        cloudwatch.put_metric_data(
            Namespace=namespace,
            MetricData=[
                {
                    "MetricName": "errors",
                    "Dimensions": configured["Dimensions"],
                    "Values": [1.0, 2.0],
                    "Counts": [2.0, 3.0],
                    "Unit": "Count",
                }
            ],
        )
        clock.advance(cloud, EVALUATED)
    found = described(cloudwatch, name)
    assert found["StateValue"] == "ALARM"
    assert found["StateReason"].startswith("Threshold Crossed: 2 out of the last 3 datapoints [8.0 (")
    assert found["StateReason"].endswith(
        ")] were greater than the threshold (5.0) and 1 missing datapoint was treated as [NonBreaching] (minimum 2 "
        "datapoints for OK -> ALARM transition)."
    )
    data = json.loads(found["StateReasonData"])
    assert data["recentDatapoints"] == [8.0, 8.0] and data["unit"] == "Count" and data["period"] == 60
    clock.advance(cloud, 600)
    assert described(cloudwatch, name)["StateValue"] == "OK"

    history = cloudwatch.describe_alarm_history(AlarmName=name, ScanBy="TimestampAscending")["AlarmHistoryItems"]
    assert [(item["HistoryItemType"], item["HistorySummary"]) for item in history] == [
        ("ConfigurationUpdate", f'Alarm "{name}" created'),
        ("StateUpdate", "Alarm updated from INSUFFICIENT_DATA to OK"),
        ("StateUpdate", "Alarm updated from OK to ALARM"),
        ("Action", f"Failed to execute action {TOPIC}"),
        ("StateUpdate", "Alarm updated from ALARM to OK"),
    ]
    created = json.loads(history[0]["HistoryData"])
    assert created["type"] == "Create" and created["createdAlarm"]["alarmName"] == name
    changed = json.loads(history[2]["HistoryData"])
    assert (changed["oldState"]["stateValue"], changed["newState"]["stateValue"]) == ("OK", "ALARM")
    assert changed["newState"]["stateReasonData"] == data
    pages = cloudwatch.get_paginator("describe_alarm_history").paginate(
        AlarmName=name, HistoryItemType="StateUpdate", PaginationConfig={"PageSize": 2}
    )
    pages = [len(page["AlarmHistoryItems"]) for page in pages]
    assert pages == [2, 1]
    for kind, items in {"MetricAlarm": 5, "CompositeAlarm": 0}.items():
        found = cloudwatch.describe_alarm_history(AlarmName=name, AlarmTypes=[kind])
        assert len(found["AlarmHistoryItems"]) == items

    arn = made["AlarmArn"]
    cloudwatch.tag_resource(ResourceARN=arn, Tags=[{"Key": "a", "Value": "b"}, {"Key": "team", "Value": "x"}])
    cloudwatch.untag_resource(ResourceARN=arn, TagKeys=["a"])
    assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "team", "Value": "x"}]
    cloudwatch.disable_alarm_actions(AlarmNames=[name])
    assert described(cloudwatch, name)["ActionsEnabled"] is False
    cloudwatch.enable_alarm_actions(AlarmNames=[name])
    assert described(cloudwatch, name)["ActionsEnabled"] is True

    metric = {"Namespace": namespace, "MetricName": "errors", "Dimensions": configured["Dimensions"]}
    assert [each["AlarmName"] for each in cloudwatch.describe_alarms_for_metric(**metric)["MetricAlarms"]] == [name]
    assert not cloudwatch.describe_alarms_for_metric(**metric, Statistic="Average")["MetricAlarms"]
    assert not cloudwatch.describe_alarms_for_metric(**metric | {"Dimensions": []})["MetricAlarms"]
    cloudwatch.delete_alarms(AlarmNames=[name])
    assert described(cloudwatch, name) is None
    for call in (cloudwatch.tag_resource, cloudwatch.list_tags_for_resource):
        tags = {"Tags": []} if call == cloudwatch.tag_resource else {}
        assert refusal(call, ResourceARN=arn, **tags)["Code"] == "ResourceNotFoundException"
    assert cloudwatch.describe_alarm_history(AlarmName=name)["AlarmHistoryItems"]


def test_a_state_that_was_set(cloud, cloudwatch, namespace):
    names = [f"{namespace} {number}" for number in range(5)]
    for name in names:
        cloudwatch.put_metric_alarm(**alarm(name, namespace))
    clock.advance(cloud, EVALUATED)
    cloudwatch.set_alarm_state(AlarmName=names[3], StateValue="ALARM", StateReason="drill")
    found = cloudwatch.describe_alarms(AlarmNamePrefix=namespace, StateValue="ALARM")["MetricAlarms"]
    assert [(each["AlarmName"], each["StateReason"]) for each in found] == [(names[3], "drill")]
    pages = cloudwatch.get_paginator("describe_alarms").paginate(
        AlarmNamePrefix=namespace, PaginationConfig={"PageSize": 2}
    )
    assert [each["AlarmName"] for page in pages for each in page["MetricAlarms"]] == names
    clock.advance(cloud, EVALUATED)
    assert described(cloudwatch, names[3])["StateValue"] == "OK"
    missing = refusal(cloudwatch.set_alarm_state, AlarmName="no", StateValue="OK", StateReason="x")
    assert missing["Code"] == "ResourceNotFound"
    cloudwatch.delete_alarms(AlarmNames=[*names, "no"])


def test_refused_alarms(cloudwatch, namespace):
    def put(**members):
        return refusal(cloudwatch.put_metric_alarm, **alarm(namespace, namespace, **members))

    assert put(Period=45)["Code"] == "ValidationError"
    assert put(Statistic="Median")["Code"] == "ValidationError"
    assert "NotImplemented" in put(ComparisonOperator="GreaterThanUpperThreshold")["Message"]
    assert "Metrics of cloudwatch" in put(Metrics=[{"Id": "e", "Expression": "m1"}])["Message"]
    composite = refusal(cloudwatch.put_composite_alarm, AlarmName=namespace, AlarmRule="TRUE")
    assert composite["Code"] == "NotImplemented" and "PutCompositeAlarm" in composite["Message"]


def test_a_role_needs_permissions(client, cloud, cloudwatch, namespace):
    condition = {"StringEquals": {"cloudwatch:namespace": namespace}}
    statements = [
        roles.allow("cloudwatch:PutMetricData", Condition=condition),
        roles.allow(["cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm"], f"{ARN}:{namespace}-*"),
    ]
    role = roles.make(client("iam"), *statements)
    session = roles.assume(client, cloud, role).client("cloudwatch")
    datum = {"MetricName": "m", "Value": 1}
    session.put_metric_data(Namespace=namespace, MetricData=[datum])
    denied = refusal(session.put_metric_data, Namespace=f"{namespace}/other", MetricData=[datum])
    assert denied["Code"] == "AccessDenied" and "cloudwatch:PutMetricData" in denied["Message"]
    reserved = refusal(session.put_metric_data, Namespace="AWS/SageMaker", MetricData=[datum])
    assert reserved["Code"] == "AccessDenied"
    session.put_metric_alarm(**alarm(f"{namespace}-a", namespace))
    assert session.describe_alarms(AlarmNames=[f"{namespace}-a"])["MetricAlarms"]
    assert refusal(session.put_metric_alarm, **alarm("other", namespace))["Code"] == "AccessDenied"
    assert refusal(session.describe_alarms)["Code"] == "AccessDenied"
    tagged = alarm(f"{namespace}-b", namespace, Tags=[{"Key": "a", "Value": "b"}])
    assert "cloudwatch:TagResource" in refusal(session.put_metric_alarm, **tagged)["Message"]
    cloudwatch.delete_alarms(AlarmNames=[f"{namespace}-a"])


def test_the_aws_cli(cloud, environment):
    def aws(*arguments):
        done = subprocess.run(
            ["aws", "cloudwatch", *arguments], env=environment, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout) if done.stdout.strip() else None

    aws("put-metric-data", "--namespace", "cli", "--metric-name", "m", "--value", "3", "--dimensions", "a=b")
    aws(
        *("put-metric-alarm", "--alarm-name", "cli", "--namespace", "cli", "--metric-name", "m"),
        *("--dimensions", "Name=a,Value=b", "--statistic", "Maximum", "--period", "60", "--threshold", "2"),
        *("--evaluation-periods", "1", "--comparison-operator", "GreaterThanOrEqualToThreshold"),
    )
    clock.advance(cloud, EVALUATED)
    found = aws("describe-alarms", "--alarm-names", "cli")["MetricAlarms"][0]
    assert found["StateValue"] == "ALARM" and found["Threshold"] == 2.0
    assert aws("describe-alarm-history", "--alarm-name", "cli")["AlarmHistoryItems"]
    now = clock.now(cloud)
    times = [(now - datetime.timedelta(minutes=5)).isoformat(), now.isoformat()]
    found = aws(
        *("get-metric-statistics", "--namespace", "cli", "--metric-name", "m", "--dimensions", "Name=a,Value=b"),
        *("--start-time", times[0], "--end-time", times[1], "--period", "60", "--statistics", "Maximum"),
    )
    assert [point["Maximum"] for point in found["Datapoints"]] == [3.0]
    aws("delete-alarms", "--alarm-names", "cli")


def test_an_alarm_of_a_stack(cloud, cfn, client):  # noqa: F811
    cloudwatch, name = client("cloudwatch"), "stack-alarm"

    def resources(**changed):
        properties = {**alarm(None, "stack"), "Tags": [{"Key": "team", "Value": "ml"}], **changed}
        del properties["AlarmName"]
        return {"Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}}

    stack = create(cfn, name, resources(AlarmActions=[TOPIC]))
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    made = physical(cfn, name, "Alarm")
    found = described(cloudwatch, made)
    assert found["Threshold"] == 5.0 and found["AlarmActions"] == [TOPIC]
    tags = {tag["Key"]: tag["Value"] for tag in cloudwatch.list_tags_for_resource(ResourceARN=found["AlarmArn"])["Tags"]}
    assert tags["team"] == "ml" and tags["aws:cloudformation:stack-name"] == name
    # The state survives an update, and removed properties are gone.
    cloudwatch.set_alarm_state(AlarmName=made, StateValue="ALARM", StateReason="x")
    changed = resources(Threshold=7, DatapointsToAlarm=1, Tags=[{"Key": "team", "Value": "other"}])
    assert update(cfn, name, changed) == "UPDATE_COMPLETE"
    assert physical(cfn, name, "Alarm") == made
    found = described(cloudwatch, made)
    assert (found["Threshold"], found["DatapointsToAlarm"], found["AlarmActions"]) == (7.0, 1, [])
    tags = {tag["Key"]: tag["Value"] for tag in cloudwatch.list_tags_for_resource(ResourceARN=found["AlarmArn"])["Tags"]}
    assert tags["team"] == "other"
    cloudwatch.put_metric_alarm(**{**alarm(made, "stack"), "Threshold": 8, "DatapointsToAlarm": 1})
    drift = cfn.detect_stack_drift(StackName=name)["StackDriftDetectionId"]
    while cfn.describe_stack_drift_detection_status(StackDriftDetectionId=drift)["DetectionStatus"] == (
        "DETECTION_IN_PROGRESS"
    ):
        pass
    drifts = cfn.describe_stack_resource_drifts(StackName=name)["StackResourceDrifts"]
    differences = [each["PropertyPath"] for each in drifts[0]["PropertyDifferences"]]
    assert differences == ["/Threshold"]
    assert delete(cfn, stack) == "DELETE_COMPLETE"
    assert described(cloudwatch, made) is None


def test_a_stack_does_not_take_over_an_alarm(cfn, client):  # noqa: F811
    cloudwatch, name = client("cloudwatch"), "taken-over"
    cloudwatch.put_metric_alarm(**alarm(name, "stack"))
    resources = {"Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": {**alarm(name, "stack"), "Threshold": 9}}}
    stack = create(cfn, name, resources)
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "already exists" in failure(cfn, stack, "Alarm")
    assert delete(cfn, stack) == "DELETE_COMPLETE"
    assert described(cloudwatch, name)["Threshold"] == 5.0
    cloudwatch.delete_alarms(AlarmNames=[name])
