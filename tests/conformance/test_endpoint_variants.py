"""Variants, weights, faults and metrics of endpoints with boto3, and endpoints in stacks."""

import contextlib
import json
import threading
import time

import pytest

import clock

from endpoints import (
    Endpoint, blue_green, bucket, canary, deployments, image, is_about, refused, role, server,
)


def test_variants_and_weights(server, deployments):
    endpoint = deployments.endpoint(deployments.config(("a", 1, 1.0), ("b", 1, 3.0)))
    assert is_about(endpoint.shares(40)["b"], 30)
    assert endpoint.shares(TargetVariant="v0") == {"a": 20}
    message = refused(lambda: endpoint.ask(TargetVariant="none"), "ValidationError")
    assert "Variant none not found" in message

    def change(**variant):
        server.client("sagemaker").update_endpoint_weights_and_capacities(
            EndpointName=endpoint.name, DesiredWeightsAndCapacities=[{"VariantName": "v0", **variant}]
        )
        return endpoint.settled()["ProductionVariants"][0]

    assert change(DesiredWeight=0)["CurrentWeight"] == 0
    assert endpoint.shares() == {"b": 20}
    assert endpoint.shares(TargetVariant="v0") == {"a": 20}
    found = change(DesiredInstanceCount=2, DesiredWeight=1)
    assert (found["CurrentInstanceCount"], found["DesiredInstanceCount"]) == (2, 2)
    streams = server.client("logs").describe_log_streams(
        logGroupName=f"/aws/sagemaker/Endpoints/{endpoint.name}", logStreamNamePrefix="v0/"
    )["logStreams"]
    assert len(streams) == 2
    assert change(DesiredInstanceCount=1)["CurrentInstanceCount"] == 1
    refused(lambda: change(DesiredInstanceCount=0))
    refused(lambda: change(DesiredInstanceCount=5), "ResourceLimitExceeded")


def test_variant_properties_are_retained(server, deployments):
    endpoint = deployments.endpoint(deployments.config(("old", 1, 1.0)))
    server.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName=endpoint.name,
        DesiredWeightsAndCapacities=[
            {"VariantName": "AllTraffic", "DesiredInstanceCount": 2, "DesiredWeight": 5}
        ],
    )
    endpoint.settled()
    variant = lambda: endpoint.settled()["ProductionVariants"][0]
    new = deployments.config(("new", 1, 2.0))
    # The canary is a part of the retained instances, not of those in the configuration.
    excluded = [{"VariantPropertyType": "DesiredWeight"}]
    endpoint.update(
        new, canary(0), RetainAllVariantProperties=True, ExcludeRetainedVariantProperties=excluded
    )
    found = variant()
    assert (found["CurrentInstanceCount"], found["CurrentWeight"]) == (2, 2)
    endpoint.update(new)
    found = variant()
    assert (found["CurrentInstanceCount"], found["CurrentWeight"]) == (1, 2)


def test_containers_that_crash_or_start_too_slowly(server, deployments):
    old, new = deployments.config(("old", 1)), deployments.config(("new", 1))
    endpoint = deployments.endpoint(old)
    for fault, words in (("container-crash", "exited with 1"), ("slow-start", "did not pass the ping")):
        server.inject(fault, endpoint.name)
        endpoint.update(new)
        found = endpoint.settled()
        assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", old)
        assert words in found["FailureReason"], found["FailureReason"]
    logs = server.client("logs")
    group = f"/aws/sagemaker/Endpoints/{endpoint.name}"
    lines = [event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]]
    assert any("injected by `mlops local inject container-crash`" in line for line in lines)
    # Each happened once.
    endpoint.update(new)
    assert endpoint.settled()["EndpointConfigName"] == new


def test_injected_errors_of_the_model(server, deployments):
    endpoint = deployments.endpoint(deployments.config(("old", 1)))
    server.inject("http-500", "another", "--count", "2")
    server.inject("http-500", endpoint.name, "--count", "2")
    for _ in range(2):
        with pytest.raises(endpoint.runtime.exceptions.ModelError) as error:
            endpoint.ask()
        assert error.value.response["OriginalStatusCode"] == 500
        assert "injected" in error.value.response["OriginalMessage"]
    assert endpoint.ask() == "old"


def test_metrics(server, deployments):
    endpoint = deployments.endpoint(deployments.config(("old", 1)))
    endpoint.shares(10)
    for _ in range(5):
        with contextlib.suppress(endpoint.runtime.exceptions.ModelError):
            endpoint.ask("fail")
    server.advance(60)
    now = clock.now(server.endpoint).timestamp()

    def statistic(metric, statistic):
        points = server.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker", MetricName=metric, Statistics=[statistic], Period=3600,
            StartTime=now - 3600, EndTime=now + 3600,
            Dimensions=[
                {"Name": "EndpointName", "Value": endpoint.name},
                {"Name": "VariantName", "Value": "AllTraffic"},
            ],
        )["Datapoints"]
        return sum(point[statistic] for point in points)

    assert statistic("Invocations", "Sum") == 15
    assert statistic("Invocation5XXErrors", "Sum") == 5
    assert statistic("Invocation4XXErrors", "Sum") == 0
    assert statistic("Invocation4XXErrors", "SampleCount") == 15
    assert statistic("ModelLatency", "Maximum") > 0


def test_no_request_fails_during_an_update(server, deployments):
    endpoint = deployments.endpoint(deployments.config(("old", 1)))
    new = deployments.config(("new", 1))
    answers, failures, done = [], [], threading.Event()

    def load(body):
        while not done.wait(0.05):
            try:
                answers.append(endpoint.ask(body))
            except Exception as error:
                failures.append(error)

    # Five at 20 requests a second, and one that always has a slow request in progress.
    threads = [threading.Thread(target=load, args=[body]) for body in ["1"] * 5 + ["slow"]]
    for thread in threads:
        thread.start()
    try:
        for config in (new, deployments.config(("newer", 1))):
            endpoint.update(config)
            assert endpoint.settled()["EndpointConfigName"] == config
    finally:
        time.sleep(1)
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert {"old", "new", "newer"} == set(answers)


def template(config, **more):
    properties = {"EndpointName": "stacked", "EndpointConfigName": config, **more}
    endpoint = {"Type": "AWS::SageMaker::Endpoint", "Properties": properties}
    target = {
        "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
        "DependsOn": "Endpoint",
        "Properties": {
            "MinCapacity": 1, "MaxCapacity": 2, "ResourceId": "endpoint/stacked/variant/AllTraffic",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount", "ServiceNamespace": "sagemaker",
        },
    }
    policy = {
        "Type": "AWS::ApplicationAutoScaling::ScalingPolicy",
        "Properties": {
            "PolicyName": "p", "PolicyType": "TargetTrackingScaling", "ScalingTargetId": {"Ref": "Target"},
            "TargetTrackingScalingPolicyConfiguration": {
                "TargetValue": 70,
                "PredefinedMetricSpecification": {
                    "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
                },
            },
        },
    }
    return json.dumps({"Resources": {"Endpoint": endpoint, "Target": target, "Policy": policy}})


def test_stacks(server, deployments):
    cfn = server.client("cloudformation")

    def wait():
        for _ in range(1200):
            status = cfn.describe_stacks(StackName="hosting")["Stacks"][0]["StackStatus"]
            if not status.endswith("IN_PROGRESS"):
                return status
            time.sleep(0.05)
        raise AssertionError(status)

    def update(config, **more):
        cfn.update_stack(StackName="hosting", TemplateBody=template(config, **more))
        return wait()

    retain = {"RetainAllVariantProperties": True, "RetainDeploymentConfig": True}
    excluded = {"ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredWeight"}]}
    old = deployments.config(("old", 1))
    policy = blue_green("ALL_AT_ONCE", 0)
    cfn.create_stack(StackName="hosting", TemplateBody=template(old, DeploymentConfig=policy))
    assert wait() == "CREATE_COMPLETE"
    scaling = server.client("application-autoscaling")
    target = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"][0]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 2)
    policies = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert [policy["PolicyName"] for policy in policies] == ["p"]

    endpoint = Endpoint(server, "stacked")
    new = deployments.config(("new", 1))
    server.inject("container-crash", "stacked")
    assert update(new, DeploymentConfig=policy, **retain, **excluded) == "UPDATE_ROLLBACK_COMPLETE"
    events = cfn.describe_stack_events(StackName="hosting")["StackEvents"]
    reasons = [event.get("ResourceStatusReason", "") for event in events]
    assert any("exited with 1" in reason for reason in reasons), reasons
    assert endpoint.describe()["EndpointConfigName"] == old

    # CloudFormation does not notice a silent rollback.
    server.inject("silent-rollback", "stacked")
    assert update(new, **retain, **excluded) == "UPDATE_COMPLETE"
    assert endpoint.describe()["EndpointConfigName"] == old
    # The stack can go back to what is live, and on to the new configuration.
    assert update(old, **retain, **excluded) == "UPDATE_COMPLETE"
    assert update(new, **retain, **excluded) == "UPDATE_COMPLETE"
    assert endpoint.ask() == "new"
    cfn.delete_stack(StackName="hosting")
    cfn.get_waiter("stack_delete_complete").wait(StackName="hosting", WaiterConfig={"Delay": 1})
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []


def test_scaling_targets(server, deployments):
    endpoint = deployments.endpoint(deployments.config(("old", 1)))
    scaling = server.client("application-autoscaling")
    scaled = {
        "ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "ResourceId": f"endpoint/{endpoint.name}/variant/AllTraffic",
    }
    absent = {**scaled, "ResourceId": f"endpoint/{endpoint.name}/variant/none"}
    refused(lambda: scaling.register_scalable_target(MinCapacity=1, MaxCapacity=2, **absent))
    arn = scaling.register_scalable_target(MinCapacity=1, MaxCapacity=2, Tags={"a": "b"}, **scaled)[
        "ScalableTargetARN"
    ]
    scaling.tag_resource(ResourceARN=arn, Tags={"c": "d"})
    scaling.untag_resource(ResourceARN=arn, TagKeys=["a"])
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"c": "d"}
    steps = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": [{"ScalingAdjustment": 1}]}
    scaling.put_scaling_policy(PolicyName="p", StepScalingPolicyConfiguration=steps, **scaled)
    scaling.delete_scaling_policy(PolicyName="p", **scaled)
    refused(lambda: scaling.delete_scaling_policy(PolicyName="p", **scaled), "ObjectNotFoundException")
    scaling.deregister_scalable_target(**scaled)


def captured(server, bucket, endpoint):
    s3 = server.client("s3")
    found = s3.list_objects_v2(Bucket=bucket, Prefix=f"capture/{endpoint.name}/").get("Contents", [])
    bodies = [s3.get_object(Bucket=bucket, Key=it["Key"])["Body"].read().decode() for it in found]
    lines = [json.loads(line) for body in bodies for line in body.splitlines()]
    return sorted(line["captureData"]["endpointInput"]["data"] for line in lines)


def test_a_killed_server_loses_no_captured_request(server, deployments, bucket):
    endpoint = deployments.endpoint(deployments.config(("old", 1), capture=True))
    sent = sorted(str(number) for number in range(30))
    for number in sent:
        endpoint.ask(number)
    server.kill()
    server.start()
    assert captured(server, bucket, Endpoint(server, endpoint.name)) == sent
