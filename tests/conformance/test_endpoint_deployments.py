"""Deployments of endpoints with boto3, on the clock that the tests advance."""

import contextlib

import roles

from endpoints import (
    Endpoint, alarm, blue_green, bucket, canary, deployments, image, is_about, refused, role, rolling, server, size, trip,
)


def test_a_canary_passes(server, deployments, alarm):
    new = deployments.config(("new", 2))
    endpoint = deployments.endpoint(deployments.config(("old", 2)))
    policy = canary(300, alarm, termination=120)
    endpoint.update(new, policy)
    message = "Baking for 300 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity of 1"
    pending = endpoint.stage("Baking", message)["PendingDeploymentSummary"]
    assert pending["EndpointConfigName"] == new and pending["StartTime"]
    assert is_about(endpoint.shares()["new"], 10)
    server.advance(299)
    endpoint.stage("Baking", "canary")
    server.advance(2)
    endpoint.stage("Baking", "full capacity of 2")
    assert endpoint.shares() == {"new": 20}
    # The final bake; then the old fleet is kept for a while.
    server.advance(300)
    endpoint.stage("Baking", "(TerminationWaitInSeconds)")
    server.advance(121)
    found = endpoint.describe()
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", new)
    assert found["LastDeploymentConfig"] == policy
    assert "PendingDeploymentSummary" not in found and "FailureReason" not in found
    assert endpoint.shares() == {"new": 20}


def test_an_alarm_rolls_a_canary_back(server, deployments, alarm):
    old = deployments.config(("old", 2))
    endpoint = deployments.endpoint(old)
    endpoint.update(deployments.config(("new", 2)), canary(300, alarm))
    endpoint.stage("Baking")
    trip(server, alarm)
    found = endpoint.settled()
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", old)
    assert alarm in found["FailureReason"] and "LastDeploymentConfig" not in found
    assert endpoint.shares() == {"old": 20}
    # The alarm is still in ALARM: the next update is rolled back at its first bake.
    endpoint.update(deployments.config(("newer", 2)), canary(300, alarm))
    assert alarm in endpoint.settled()["FailureReason"]


def test_an_alarm_rolls_back_until_the_old_fleet_ends(server, deployments, alarm):
    old = deployments.config(("old", 1))
    endpoint = deployments.endpoint(old)
    endpoint.update(deployments.config(("new", 1)), blue_green("ALL_AT_ONCE", 0, alarm, termination=600))
    endpoint.stage("Baking", "(TerminationWaitInSeconds)")
    assert endpoint.shares() == {"new": 20}
    trip(server, alarm)
    assert endpoint.settled()["EndpointConfigName"] == old
    assert endpoint.shares() == {"old": 20}


def test_errors_of_the_new_fleet_roll_back(server, deployments):
    old, new = deployments.config(("old", 2)), deployments.config(("new", 2))
    endpoint = deployments.endpoint(old)
    dimensions = {"EndpointName": endpoint.name, "VariantName": "AllTraffic", "EndpointConfigName": new}
    alarm = f"errors-{endpoint.name}"
    server.client("cloudwatch").put_metric_alarm(
        AlarmName=alarm, Namespace="AWS/SageMaker", MetricName="Invocation5XXErrors", Statistic="Average",
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        Period=60, EvaluationPeriods=1, Threshold=0.5, ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    endpoint.update(new, canary(600, alarm))
    endpoint.stage("Baking")
    for _ in range(10):
        with contextlib.suppress(endpoint.runtime.exceptions.ModelError):
            endpoint.ask("fail")
    server.advance(180)
    found = endpoint.describe()
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", old), found
    assert alarm in found["FailureReason"]
    assert endpoint.shares() == {"old": 20}


def test_linear_shifting(server, deployments):
    new = deployments.config(("new", 4))
    endpoint = deployments.endpoint(deployments.config(("old", 1)))
    endpoint.update(new, blue_green("LINEAR", 60, LinearStepSize=size(50, "CAPACITY_PERCENT")))
    endpoint.stage("Baking", "canary capacity of 2")
    assert is_about(endpoint.shares()["new"], 10)
    server.advance(121)
    assert endpoint.describe()["EndpointConfigName"] == new
    assert endpoint.shares() == {"new": 20}


def test_a_rolling_update(server, deployments):
    new = deployments.config(("new", 2))
    endpoint = deployments.endpoint(deployments.config(("old", 2)))
    endpoint.update(new, rolling(60))
    found = endpoint.stage("Baking")
    assert is_about(endpoint.shares()["new"], 10)
    assert found["PendingDeploymentSummary"]["ProductionVariants"][0]["CurrentInstanceCount"] == 1
    server.advance(61)
    # One instance of the old fleet has ended.
    found = endpoint.stage("Baking", "full")
    assert found["ProductionVariants"][0]["CurrentInstanceCount"] == 1
    assert endpoint.shares() == {"new": 20}
    server.advance(61)
    found = endpoint.describe()
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", new)


def test_a_rolling_update_is_rolled_back_in_batches(server, deployments, alarm):
    old = deployments.config(("old", 2))
    endpoint = deployments.endpoint(old)
    endpoint.update(deployments.config(("new", 2)), rolling(60, alarm, RollbackMaximumBatchSize=size(1)))
    endpoint.stage("Baking")
    server.advance(61)
    endpoint.stage("Baking", "full")
    trip(server, alarm)
    found = endpoint.settled()
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", old)
    assert found["ProductionVariants"][0]["CurrentInstanceCount"] == 2
    assert endpoint.shares() == {"old": 20}


def test_a_deployment_times_out(server, deployments):
    old = deployments.config(("old", 2))
    endpoint = deployments.endpoint(old)
    policy = canary(500)
    policy["BlueGreenUpdatePolicy"]["MaximumExecutionTimeoutInSeconds"] = 600
    endpoint.update(deployments.config(("new", 2)), policy)
    endpoint.stage("Baking")
    server.advance(601)
    found = endpoint.describe()
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", old)
    assert "MaximumExecutionTimeoutInSeconds (600)" in found["FailureReason"]


def test_the_last_deployment_config_is_retained(server, deployments):
    policy = canary(60)
    first, second = deployments.config(("old", 2)), deployments.config(("new", 2))
    endpoint = deployments.endpoint(first, DeploymentConfig=policy)
    endpoint.update(second, RetainDeploymentConfig=True)
    endpoint.stage("Baking", "canary")
    server.advance(121)
    assert endpoint.describe()["LastDeploymentConfig"] == policy
    # Without it, all at once.
    endpoint.update(first)
    assert endpoint.settled()["EndpointConfigName"] == first


def test_requests_that_aws_refuses(server, deployments, alarm):
    endpoint = deployments.endpoint(deployments.config(("old", 1)))
    two, one = deployments.config(("new", 2)), deployments.config(("new", 1))
    update = lambda config, policy: refused(lambda: endpoint.update(config, policy))
    half = blue_green("CANARY", 60, CanarySize=size(51, "CAPACITY_PERCENT"))
    assert "CanarySize" in update(two, half)
    assert "CanarySize" in update(one, canary(60))
    assert "LinearStepSize" in update(two, blue_green("LINEAR", 60, LinearStepSize=size(9, "CAPACITY_PERCENT")))
    assert "3600" in update(two, canary(3601))
    assert "MaximumBatchSize" in update(two, {"RollingUpdatePolicy": {
        "MaximumBatchSize": size(2), "WaitIntervalInSeconds": 1}})
    update(two, canary(60, *[f"a{n}" for n in range(11)]))
    assert "none" in update(two, canary(60, alarm, "none"))
    silent = roles.make(server.client("iam"), *roles.EXECUTION)
    unable = deployments.config(("new", 2), role=silent)
    assert "cannot describe the alarms" in update(unable, canary(60, alarm))
    assert endpoint.describe()["EndpointStatus"] == "InService"


def test_a_silent_rollback(server, deployments):
    old = deployments.config(("old", 1))
    endpoint = deployments.endpoint(old)
    server.inject("silent-rollback", endpoint.name)
    endpoint.update(deployments.config(("new", 1)), blue_green("ALL_AT_ONCE", 60))
    endpoint.stage("Baking")
    assert endpoint.shares() == {"new": 20}
    server.advance(61)
    found = endpoint.describe()
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", old)
    assert "FailureReason" not in found
    assert endpoint.shares() == {"old": 20}


def test_a_killed_server_leaves_the_old_configuration(server, deployments, bucket):
    old = deployments.config(("old", 2), capture=True)
    endpoint = deployments.endpoint(old)
    endpoint.update(deployments.config(("new", 2)), canary(300))
    endpoint.stage("Baking", "canary")
    assert is_about(endpoint.shares()["new"], 10)
    server.kill()
    server.start()
    endpoint = Endpoint(server, endpoint.name)
    found = endpoint.describe()
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", old)
    assert "ended during the deployment" in found["FailureReason"]
    assert "PendingDeploymentSummary" not in found
    assert endpoint.shares() == {"old": 20}
    server.advance(600)
    assert endpoint.shares() == {"old": 20}
