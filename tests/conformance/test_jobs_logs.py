"""Logs, and jobs of the host runtime: programs pushed as images over the distribution protocol."""

import io
import json
import os
import tarfile
import time
import uuid
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

import images
import roles

EXAMPLE = Path(__file__).parents[2] / "src/scaffold/files"


def refused(code):
    """Checks that the call is rejected with this code; the message is the context manager's `value`."""
    return pytest.raises(ClientError, match=code)


# --- what the jobs need ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def sagemaker(client):
    return client("sagemaker")


@pytest.fixture(scope="module")
def s3(client):
    return client("s3")


@pytest.fixture(scope="module")
def bucket(s3):
    name = f"jobs-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="module")
def role(client):
    return roles.make(client("iam"), *roles.EXECUTION)


@pytest.fixture(scope="module")
def push(cloud, client):
    """Pushes programs (name -> text) as an image; returns its URI by digest."""
    name = f"jobs-{uuid.uuid4().hex[:8]}"
    client("ecr").create_repository(repositoryName=name)
    return lambda programs: images.push(cloud, client("ecr"), name, programs, ["FROM_IMAGE=yes"])


@pytest.fixture(scope="module")
def shell(push):
    """Pushes an image whose programs are shell scripts, without Python dependencies."""
    return push(
        {
            "run": b'#!/bin/sh\nexec /bin/sh -c "$1"\n',
            "train": b'#!/bin/sh\n. /opt/ml/input/data/code/script.sh\n',
        }
    )


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def ended(sagemaker, kind, name, seconds=120):
    describe = getattr(sagemaker, f"describe_{kind.lower()}_job")
    for _ in range(seconds * 20):
        job = describe(**{f"{kind}JobName": name})
        if job[f"{kind}JobStatus"] not in ("InProgress", "Stopping"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"{name} does not end")


@pytest.fixture(scope="module")
def process(sagemaker, role, shell):
    """Runs a shell command as a processing job and returns its description."""

    def process(command, wait=True, **more):
        name = unique("process")
        request = {
            "ProcessingJobName": name,
            "RoleArn": role,
            "AppSpecification": {
                "ImageUri": shell,
                "ContainerEntrypoint": ["run"],
                "ContainerArguments": [command],
            },
            "ProcessingResources": {
                "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
            },
            **more,
        }
        sagemaker.create_processing_job(**request)
        return ended(sagemaker, "Processing", name) if wait else name

    return process


@pytest.fixture(scope="module")
def train(sagemaker, s3, bucket, role, shell):
    """Runs a shell script as a training job and returns its description."""

    def train(script, wait=True, **more):
        name = unique("train")
        s3.put_object(Bucket=bucket, Key=f"code/{name}/script.sh", Body=script.encode())
        source = {
            "S3DataType": "S3Prefix",
            "S3Uri": f"s3://{bucket}/code/{name}/",
            "S3DataDistributionType": "FullyReplicated",
        }
        request = {
            "TrainingJobName": name,
            "RoleArn": role,
            "AlgorithmSpecification": {"TrainingImage": shell, "TrainingInputMode": "File"},
            "InputDataConfig": [{"ChannelName": "code", "DataSource": {"S3DataSource": source}}],
            "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/models"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            **more,
        }
        sagemaker.create_training_job(**request)
        return ended(sagemaker, "Training", name) if wait else name

    return train


def log_lines(client, kind, name):
    logs = client("logs")
    group = f"/aws/sagemaker/{kind}Jobs"
    streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
    assert [s["logStreamName"].rsplit("-", 1)[0] for s in streams] == [f"{name}/algo-1"]
    events = logs.get_log_events(
        logGroupName=group, logStreamName=streams[0]["logStreamName"], startFromHead=True
    )["events"]
    return [event["message"] for event in events]


# --- logs -----------------------------------------------------------------------------------


def test_log_groups(client):
    logs = client("logs")
    name = f"/test/{uuid.uuid4()}"
    logs.create_log_group(logGroupName=name, tags={"team": "ml"})
    with refused("ResourceAlreadyExistsException"):
        logs.create_log_group(logGroupName=name)
    with refused("InvalidParameterException"):
        logs.create_log_group(logGroupName="a b")
    logs.put_retention_policy(logGroupName=name, retentionInDays=7)
    with refused("InvalidParameterException"):
        logs.put_retention_policy(logGroupName=name, retentionInDays=8)
    (group,) = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    assert (group["logGroupName"], group["retentionInDays"]) == (name, 7)
    assert group["arn"] == f"arn:aws:logs:us-east-1:000000000000:log-group:{name}:*"
    logs.delete_retention_policy(logGroupName=name)
    (group,) = logs.describe_log_groups(logGroupNamePattern=name[5:])["logGroups"]
    assert "retentionInDays" not in group
    arn = group["logGroupArn"]
    logs.tag_resource(resourceArn=arn, tags={"stage": "dev"})
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"team": "ml", "stage": "dev"}
    logs.untag_resource(resourceArn=arn, tagKeys=["team"])
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"stage": "dev"}
    logs.delete_log_group(logGroupName=name)
    assert logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"] == []
    with refused("ResourceNotFoundException"):
        logs.delete_log_group(logGroupName=name)


def test_log_streams_in_order_of_their_last_event(client):
    logs = client("logs")
    group = f"/test/{uuid.uuid4()}"
    logs.create_log_group(logGroupName=group)
    now = int(time.time() * 1000)
    for offset, stream in [(-3000, "b"), (-1000, "a"), (-2000, "c")]:
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        event = {"timestamp": now + offset, "message": stream}
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])
    with refused("ResourceAlreadyExistsException"):
        logs.create_log_stream(logGroupName=group, logStreamName="a")
    with refused("InvalidParameterException"):
        logs.create_log_stream(logGroupName=group, logStreamName="a:b")

    def names(**arguments):
        pages = logs.get_paginator("describe_log_streams").paginate(
            logGroupName=group, PaginationConfig={"PageSize": 2}, **arguments
        )
        return [stream["logStreamName"] for page in pages for stream in page["logStreams"]]

    assert names() == ["a", "b", "c"]
    assert names(orderBy="LastEventTime", descending=True) == ["a", "c", "b"]
    (stream,) = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="b")["logStreams"]
    assert stream["lastEventTimestamp"] == now - 3000
    logs.delete_log_stream(logGroupName=group, logStreamName="b")
    assert names() == ["a", "c"]
    with refused("ResourceNotFoundException"):
        logs.get_log_events(logGroupName=group, logStreamName="b")


def test_log_events_forward_backward_and_again(client):
    logs = client("logs")
    group = f"/test/{uuid.uuid4()}"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    now = int(time.time() * 1000)

    def put(*events):
        return logs.put_log_events(
            logGroupName=group,
            logStreamName="s",
            logEvents=[{"timestamp": now + offset, "message": text} for offset, text in events],
        )

    def get(**arguments):
        answer = logs.get_log_events(logGroupName=group, logStreamName="s", **arguments)
        return [event["message"] for event in answer["events"]], answer

    put(*[(number, f"line {number}") for number in range(10)])
    assert get(limit=3)[0] == ["line 7", "line 8", "line 9"]
    first, answer = get(limit=4, startFromHead=True)
    assert first == ["line 0", "line 1", "line 2", "line 3"]
    second, answer = get(limit=10, nextToken=answer["nextForwardToken"])
    assert second == [f"line {number}" for number in range(4, 10)]
    end = answer["nextForwardToken"]
    rest, answer = get(nextToken=end)
    assert (rest, answer["nextForwardToken"]) == ([], end)
    put((20, "late"))
    assert get(nextToken=end)[0] == ["late"]
    assert get(limit=2, nextToken=answer["nextBackwardToken"])[0] == ["line 8", "line 9"]
    assert get(startTime=now + 8, endTime=now + 10)[0] == ["line 8", "line 9"]
    with refused("InvalidParameterException"):
        put((5, "x"), (1, "y"))
    with refused("InvalidParameterException"):
        get(nextToken="x")
    old = put((-15 * 86_400_000, "old"), (30, "kept"), (3 * 3_600_000, "new"))
    assert old["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 2}
    assert get(limit=1)[0] == ["kept"]


def test_filter_log_events(client):
    logs = client("logs")
    group = f"/test/{uuid.uuid4()}"
    logs.create_log_group(logGroupName=group)
    now = int(time.time() * 1000)
    for stream, offset in [("a", 0), ("b", 1)]:
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        events = [
            {"timestamp": now + 2 * number + offset, "message": f"{'ERROR' if number % 2 else 'ok'} {number} {stream}"}
            for number in range(6)
        ]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)

    def find(**arguments):
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=group, PaginationConfig={"PageSize": 2}, **arguments
        )
        return [event["message"] for page in pages for event in page["events"]]

    assert find(filterPattern="ERROR") == [f"ERROR {n} {s}" for n in (1, 3, 5) for s in "ab"]
    assert find(filterPattern='ERROR "3 b"') == ["ERROR 3 b"]
    assert find(filterPattern="ERROR -a", startTime=now + 5) == ["ERROR 3 b", "ERROR 5 b"]
    assert find(logStreamNames=["b"], endTime=now + 3) == ["ok 0 b"]
    with refused("NotImplemented"):
        find(filterPattern="{ $.level = 1 }")


# --- processing -----------------------------------------------------------------------------


def test_processing_reads_inputs_and_writes_outputs(client, process, s3, bucket):
    s3.put_object(Bucket=bucket, Key="in/deep/a.csv", Body=b"1,2\n")
    s3.put_object(Bucket=bucket, Key="in/b.csv", Body=b"3\n")
    s3.put_object(
        Bucket=bucket,
        Key="manifest.json",
        Body=json.dumps([{"prefix": f"s3://{bucket}/in/"}, "deep/a.csv"]).encode(),
    )
    job = process(
        "cd /opt/ml/processing && cat in/deep/a.csv in/b.csv > out/all.csv && cat m/deep/a.csv && mkdir out/sub"
        " && echo sub > out/sub/x && ln -s all.csv out/link && cp /opt/ml/config/*.json out/"
        " && echo $COLOR $FROM_IMAGE $PROCESSING_JOB_NAME $PWD && echo 'all well' > /opt/ml/output/message",
        Environment={"COLOR": "blue"},
        ProcessingInputs=[
            {
                "InputName": name,
                "S3Input": {
                    "S3Uri": f"s3://{bucket}/{uri}",
                    "LocalPath": f"/opt/ml/processing/{name}",
                    "S3DataType": kind,
                    "S3InputMode": "File",
                },
            }
            for name, uri, kind in [("in", "in", "S3Prefix"), ("m", "manifest.json", "ManifestFile")]
        ],
        ProcessingOutputConfig={
            "Outputs": [
                {
                    "OutputName": "out",
                    "S3Output": {
                        "S3Uri": f"s3://{bucket}/out",
                        "LocalPath": "/opt/ml/processing/out",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
    )
    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["ExitMessage"] == "all well"
    assert job["CreationTime"] <= job["ProcessingStartTime"] <= job["ProcessingEndTime"]
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket, Prefix="out/")["Contents"]]
    assert keys == ["out/all.csv", "out/processingjobconfig.json", "out/resourceconfig.json", "out/sub/x"]
    read = lambda key: s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    assert read("out/all.csv") == b"1,2\n3\n"
    config = json.loads(read("out/processingjobconfig.json"))
    assert config["ProcessingJobName"] == job["ProcessingJobName"]
    assert config["ProcessingInputs"][0]["S3Input"]["LocalPath"] == "/opt/ml/processing/in"
    assert json.loads(read("out/resourceconfig.json"))["hosts"] == ["algo-1"]
    lines = log_lines(client, "Processing", job["ProcessingJobName"])
    assert "1,2" in lines
    assert "[mlops] not uploaded: /opt/ml/processing/out/link is a symbolic link" in lines
    assert f"blue yes {job['ProcessingJobName']} /opt/ml/processing" in lines


def test_a_program_that_fails(process, client):
    job = process("echo trying; echo 'no rows in the input' > /opt/ml/output/failure; exit 3")
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: no rows in the input, exit code: 3"
    assert "trying" in log_lines(client, "Processing", job["ProcessingJobName"])
    assert process("exit 1")["FailureReason"] == "AlgorithmError: See job logs for more information, exit code: 1"
    assert process("kill -9 $$")["FailureReason"].endswith("exit code: 137")


def test_a_missing_program(process, shell):
    job = process(
        "", AppSpecification={"ImageUri": shell, "ContainerEntrypoint": ["nothing-of-this-name"]}
    )
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"].endswith("exit code: 127")


def test_a_job_cannot_see_the_users_credentials(process, client):
    job = process("env | sort; ls -A $HOME; cat ~/.aws/credentials; ls /opt /opt/ml; touch /opt/program/x; true")
    lines = log_lines(client, "Processing", job["ProcessingJobName"])
    variables = dict(line.split("=", 1) for line in lines if "=" in line and line.split("=")[0].isupper())
    assert variables["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert variables["AWS_EC2_METADATA_DISABLED"] == "true"
    assert variables["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert not {"AWS_PROFILE", "AWS_CONFIG_FILE"} & set(variables)
    assert variables["HOME"] != os.environ["HOME"]
    assert "program" in lines and "output" in lines


def test_stopping_a_processing_job(sagemaker, process):
    name = process("trap 'exit 0' TERM; sleep 600 & wait", wait=False)
    while "ProcessingStartTime" not in sagemaker.describe_processing_job(ProcessingJobName=name):
        time.sleep(0.02)
    time.sleep(0.3)
    start = time.monotonic()
    sagemaker.stop_processing_job(ProcessingJobName=name)
    assert ended(sagemaker, "Processing", name)["ProcessingJobStatus"] == "Stopped"
    assert time.monotonic() - start < 10
    with refused("ValidationException"):
        sagemaker.stop_processing_job(ProcessingJobName=name)
    sagemaker.delete_processing_job(ProcessingJobName=name)
    with refused("ValidationException"):
        sagemaker.describe_processing_job(ProcessingJobName=name)


def test_listing_processing_jobs(sagemaker, process):
    names = [process("true")["ProcessingJobName"] for _ in range(3)]
    pages = sagemaker.get_paginator("list_processing_jobs").paginate(
        NameContains="process", SortBy="CreationTime", SortOrder="Descending", PaginationConfig={"PageSize": 2}
    )
    found = [job["ProcessingJobName"] for page in pages for job in page["ProcessingJobSummaries"]]
    assert found[:3] == names[::-1]
    failed = sagemaker.list_processing_jobs(StatusEquals="Failed", NameContains=names[0])
    assert failed["ProcessingJobSummaries"] == []


def test_rejected_processing_requests(process, sagemaker, role, shell, bucket):
    with refused("ResourceInUse"):
        process("true", ProcessingJobName=process("true")["ProcessingJobName"])
    with refused("Could not assume role"):
        process("true", RoleArn="arn:aws:iam::000000000000:role/nobody")
    with refused("ValidationException"):
        process("true", AppSpecification={"ImageUri": shell.split("@")[0] + ":none"})
    two = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}
    with refused("2 instances"):
        process("true", ProcessingResources={"ClusterConfig": two})

    def given(**change):
        s3_input = {
            "S3Uri": f"s3://{bucket}/in",
            "LocalPath": "/opt/ml/processing/in",
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
        }
        return [{"InputName": "in", "S3Input": {**s3_input, **change}}]

    for change, code in [
        ({"S3Uri": f"s3://{bucket}/in/b.csv?versionId=x"}, "versionId"),
        ({"S3Uri": "s3://no-such-bucket-anywhere/in"}, "NoSuchBucket"),
        ({"LocalPath": "/etc"}, "LocalPath"),
        ({"LocalPath": "/opt/ml/processing/../../x"}, "LocalPath"),
        ({"S3InputMode": "Pipe"}, "NotImplemented"),
        ({"S3CompressionType": "Gzip"}, "ValidationException"),
    ]:
        with refused(code):
            process("true", ProcessingInputs=given(**change))
    job = process("true", ProcessingInputs=given(S3Uri=f"s3://{bucket}/nothing-here/"))
    assert job["FailureReason"].startswith("ClientError: No S3 objects found")


# --- training -------------------------------------------------------------------------------


def test_training_uploads_a_model(sagemaker, s3, bucket, train, client):
    job = train(
        """
        cp /opt/ml/input/config/*.json /opt/ml/model/
        echo data > /opt/ml/output/data/plot.txt
        echo "rmse=3.5;"; echo "rmse=2.25;"; echo "$TRAINING_JOB_NAME $COLOR" >&2
        """,
        HyperParameters={"max_iter": "5"},
        Environment={"COLOR": "red"},
        AlgorithmSpecification={
            "TrainingImage": sagemaker_image(train),
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "rmse", "Regex": "rmse=([0-9.]+);"}],
        },
        Tags=[{"Key": "team", "Value": "ml"}],
    )
    name = job["TrainingJobName"]
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    uri = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert uri == f"s3://{bucket}/models/{name}/output/model.tar.gz"

    def archive(file):
        body = s3.get_object(Bucket=bucket, Key=f"models/{name}/output/{file}")["Body"].read()
        return tarfile.open(fileobj=io.BytesIO(body))

    model = archive("model.tar.gz")
    assert model.getnames() == ["hyperparameters.json", "inputdataconfig.json", "resourceconfig.json"]
    read = lambda file: json.loads(model.extractfile(file).read())
    assert read("hyperparameters.json") == {"max_iter": "5"}
    assert read("inputdataconfig.json") == {
        "code": {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
    }
    assert read("resourceconfig.json")["current_host"] == "algo-1"
    assert archive("output.tar.gz").extractfile("plot.txt").read() == b"data\n"
    (metric,) = job["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("rmse", 2.25)
    statuses = [step["Status"] for step in job["SecondaryStatusTransitions"]]
    assert statuses == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert job["TrainingTimeInSeconds"] >= 1
    assert f"{name} red" in log_lines(client, "Training", name)
    assert sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"] == [{"Key": "team", "Value": "ml"}]
    (summary,) = sagemaker.list_training_jobs(NameContains=name)["TrainingJobSummaries"]
    assert (summary["TrainingJobStatus"], summary["TrainingJobArn"]) == ("Completed", job["TrainingJobArn"])
    with refused("ResourceInUse"):
        train("true", TrainingJobName=name)
    sagemaker.delete_training_job(TrainingJobName=name)
    with refused("ValidationException"):
        sagemaker.describe_training_job(TrainingJobName=name)


def sagemaker_image(train):
    """Returns the image that the fixture `train` uses."""
    return next(cell.cell_contents for cell in train.__closure__ if "@sha256" in str(cell.cell_contents))


def test_training_that_fails_and_training_that_takes_too_long(train):
    job = train("printf 'the loss is %s' NaN > /opt/ml/output/failure; exit 1")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"] == "AlgorithmError: the loss is NaN, exit code: 1"
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == ""
    job = train("echo w > /opt/ml/model/w; sleep 600", StoppingCondition={"MaxRuntimeInSeconds": 1})
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert job["ModelArtifacts"]["S3ModelArtifacts"].endswith("/output/model.tar.gz")


def test_stopping_a_training_job(sagemaker, train):
    name = train("trap 'echo saved > /opt/ml/model/w; exit 0' TERM; sleep 600 & wait", wait=False)
    while sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatus"] != "Training":
        time.sleep(0.02)
    time.sleep(0.3)
    sagemaker.stop_training_job(TrainingJobName=name)
    job = ended(sagemaker, "Training", name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert [step["Status"] for step in job["SecondaryStatusTransitions"]][-2:] == ["Stopping", "Stopped"]


def test_rejected_training_requests(train, bucket):
    for change, code in [
        ({"OutputDataConfig": {"S3OutputPath": "s3://no-such-bucket-anywhere/x"}}, "NoSuchBucket"),
        ({"EnableManagedSpotTraining": True}, "NotImplemented"),
        ({"TrainingJobName": "-a"}, "ValidationException"),
    ]:
        with refused(code):
            train("true", **change)
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/nothing-here/"}
    with refused("No S3 objects found"):
        train("true", InputDataConfig=[{"ChannelName": "x", "DataSource": {"S3DataSource": source}}])


def test_network_isolation_is_enforced_or_rejected(train, client, cloud):
    port = cloud.rsplit(":", 1)[1]
    try:
        job = train(
            f"python3 -c \"import socket; socket.create_connection(('127.0.0.1', {port}), 2)\" && echo reached; true",
            EnableNetworkIsolation=True,
        )
    except ClientError as error:
        assert "network isolation" in str(error)
        return
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert "reached" not in log_lines(client, "Training", job["TrainingJobName"])


# --- the example project --------------------------------------------------------------------


def test_the_example_trains_under_the_container_contract(push, s3, bucket, role, sagemaker):
    program = EXAMPLE / "image/program"
    files = {file.name: file.read_bytes() for file in program.iterdir() if file.is_file()}
    files["requirements.txt"] = (EXAMPLE / "image/requirements.txt").read_bytes()
    image = push(files)
    s3.upload_file(str(EXAMPLE / "data/train/flights.csv"), bucket, "flights/flights.csv")
    cluster = {"ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}}

    def processing(program, inputs, outputs):
        name = unique(program)
        sagemaker.create_processing_job(
            ProcessingJobName=name,
            RoleArn=role,
            AppSpecification={"ImageUri": image, "ContainerEntrypoint": [program]},
            ProcessingResources=cluster,
            ProcessingInputs=[
                {
                    "InputName": local,
                    "S3Input": {
                        "S3Uri": uri,
                        "LocalPath": f"/opt/ml/processing/{local}",
                        "S3DataType": "S3Prefix",
                        "S3InputMode": "File",
                    },
                }
                for local, uri in inputs.items()
            ],
            ProcessingOutputConfig={
                "Outputs": [
                    {
                        "OutputName": local,
                        "S3Output": {
                            "S3Uri": f"s3://{bucket}/example/{local}",
                            "LocalPath": f"/opt/ml/processing/{local}",
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                    for local in outputs
                ]
            },
        )
        job = ended(sagemaker, "Processing", name, 600)
        assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")

    processing("preprocess", {"input": f"s3://{bucket}/flights/"}, ["train", "test"])
    name = unique("example")
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/example/train"}
    sagemaker.create_training_job(
        TrainingJobName=name,
        RoleArn=role,
        AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
        HyperParameters={"max_iter": "50"},
        InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
        OutputDataConfig={"S3OutputPath": f"s3://{bucket}/example/models"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 300},
    )
    job = ended(sagemaker, "Training", name, 300)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    model = job["ModelArtifacts"]["S3ModelArtifacts"]
    processing("evaluate", {"model": model, "test": f"s3://{bucket}/example/test"}, ["evaluation"])
    report = json.loads(s3.get_object(Bucket=bucket, Key="example/evaluation/evaluation.json")["Body"].read())
    metrics = report["regression_metrics"]
    assert 10 < metrics["rmse"]["value"] < 20
    assert metrics["mae"]["value"] < metrics["rmse"]["value"]
    assert 0.7 < metrics["r2"]["value"] < 1
