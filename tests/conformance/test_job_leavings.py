"""Files that programs leave behind (links, unreadable directories, full disks), on separate servers."""

import contextlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import time
import uuid
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

import images
import roles

BIN = os.path.abspath(os.environ.get("MLOPS_BIN", "target/debug/mlops"))
SECRET = "aws_secret_access_key = wJalrXUtnFEMI"
# An ordinary user, to whom permissions apply even if the tests run as the superuser.
NOBODY = 65534
CLUSTER = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}


class Place:
    """A home with credentials, a state directory, and its server."""

    def __init__(self, root, state, user=None):
        self.root, self.state, self.user, self.server = root, state, user, None
        self.home = root / "home"
        (self.home / ".aws").mkdir(parents=True)
        (self.home / ".aws/credentials").write_text(SECRET)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "MLOPS_CACHE_DIR": os.environ.get("MLOPS_CACHE_DIR", str(root / "cache")) if user is None else str(root / "cache"),
        }
        self.program = BIN
        if user is not None:
            # The other user may not have access to the directory of the binary.
            self.program = str(root / "mlops")
            shutil.copy(BIN, self.program)
            for path in [root, *root.rglob("*")]:
                os.chown(path, user, user)

    def as_user(self):
        return {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}

    def mlops(self, *arguments, check=True):
        done = subprocess.run(
            [self.program, *arguments, "--state", self.state],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            **self.as_user(),
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def status(self):
        return json.loads(self.mlops("local", "status", "--output", "json").stdout)

    def start(self):
        self.server = subprocess.Popen(
            [self.program, "local", "start", "--port", "0", "--state", self.state, "--quiet"],
            cwd=self.root,
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
            **self.as_user(),
        )
        for _ in range(1000):
            self.endpoint = self.status()["endpoint"]
            if self.endpoint:
                break
            assert self.server.poll() is None, self.server.stderr.read()
        self.sagemaker, self.s3, self.ecr = map(self.client, ("sagemaker", "s3", "ecr"))
        return self

    def kill(self):
        self.server.kill()
        self.server.wait()

    def stop(self):
        if self.server and self.server.poll() is None:
            self.server.terminate()
            self.server.wait(30)

    def client(self, service):
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(retries={"max_attempts": 1}, read_timeout=120),
        )

    def prepare(self):
        """Creates a role, a bucket and an image whose programs are shell scripts."""
        self.role = roles.make(self.client("iam"), *roles.EXECUTION, name="jobs")
        self.s3.create_bucket(Bucket="jobs")
        self.ecr.create_repository(repositoryName="jobs")
        self.image = images.push(
            self.endpoint,
            self.ecr,
            "jobs",
            {
                "run": b'#!/bin/sh\nexec /bin/sh -c "$1"\n',
                "train": b"#!/bin/sh\n. ${SAGEMAKER_BASE_DIR:-/opt/ml}/input/data/code/script.sh\n",
            },
        )
        return self

    def train(self, script, cluster=CLUSTER, **more):
        name = f"train-{uuid.uuid4().hex[:8]}"
        # In directory mode, /opt/ml does not exist.
        script = "ML=${SAGEMAKER_BASE_DIR:-/opt/ml}\n" + script
        self.s3.put_object(Bucket="jobs", Key=f"code/{name}/script.sh", Body=script.encode())
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://jobs/code/{name}/"}
        self.sagemaker.create_training_job(
            TrainingJobName=name,
            RoleArn=self.role,
            AlgorithmSpecification={"TrainingImage": self.image, "TrainingInputMode": "File"},
            InputDataConfig=[{"ChannelName": "code", "DataSource": {"S3DataSource": source}}],
            OutputDataConfig={"S3OutputPath": "s3://jobs/models", **more},
            ResourceConfig=cluster,
            StoppingCondition={"MaxRuntimeInSeconds": 100},
        )
        return name

    def process(self, command):
        name = f"process-{uuid.uuid4().hex[:8]}"
        output = {"S3Uri": f"s3://jobs/{name}", "LocalPath": "/opt/ml/processing/out", "S3UploadMode": "EndOfJob"}
        self.sagemaker.create_processing_job(
            ProcessingJobName=name,
            RoleArn=self.role,
            AppSpecification={
                "ImageUri": self.image,
                "ContainerEntrypoint": ["run"],
                "ContainerArguments": ["ML=${SAGEMAKER_BASE_DIR:-/opt/ml}; " + command],
            },
            ProcessingOutputConfig={"Outputs": [{"OutputName": "out", "S3Output": output}]},
            ProcessingResources={"ClusterConfig": CLUSTER},
        )
        return name

    def describe(self, name):
        if name.startswith("train"):
            job = self.sagemaker.describe_training_job(TrainingJobName=name)
            return job["TrainingJobStatus"], job.get("FailureReason", "")
        job = self.sagemaker.describe_processing_job(ProcessingJobName=name)
        return job["ProcessingJobStatus"], job.get("FailureReason", "")

    def ended(self, name):
        for _ in range(2400):
            status, reason = self.describe(name)
            if status not in ("InProgress", "Stopping"):
                return status, reason
            time.sleep(0.05)
        raise AssertionError(f"{name} does not end")

    def objects(self):
        """Returns the bytes of every object, with archives unpacked."""
        found = {}
        for item in self.s3.list_objects_v2(Bucket="jobs").get("Contents", []):
            body = self.s3.get_object(Bucket="jobs", Key=item["Key"])["Body"].read()
            found[item["Key"]] = body
            if item["Key"].endswith(".tar.gz"):
                with tarfile.open(fileobj=io.BytesIO(body)) as archive:
                    for entry in archive:
                        content = archive.extractfile(entry).read() if entry.isreg() else b""
                        found[f"{item['Key']}:{entry.name}"] = content
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("leavings")
    place = Place(root, root / "state").start().prepare()
    yield place
    place.stop()


@pytest.fixture
def ordinary(tmp_path):
    """Starts a server as an ordinary user."""
    shared = tmp_path
    while shared != Path("/"):
        if shared.stat().st_mode & 0o5 != 0o5:
            shared.chmod(shared.stat().st_mode | 0o5)
        shared = shared.parent
    root = tmp_path / "own"
    root.mkdir()
    place = Place(root, root / "state", NOBODY if os.geteuid() == 0 else None)
    yield place
    place.stop()
    subprocess.run(["chmod", "-R", "u+rwx", root], check=False)


# Issue 8, 1.1: each of these jobs ended as Completed, with the credentials in S3.
@pytest.mark.parametrize(
    "script, named",
    [
        ("rmdir $ML/model && ln -s {aws} $ML/model", "/opt/ml/model is a symbolic link to {aws}"),
        ("ln -s {aws}/credentials $ML/model/weights", "/opt/ml/model/weights is a symbolic link to"),
        ("mkdir -p $ML/model/a/b && ln -s ../../../../../home/.aws $ML/model/a/b/c", "/opt/ml/model/a/b/c is a symbolic link"),
        ("rm -r $ML/output/data && ln -s {aws} $ML/output/data", "/opt/ml/output/data is a symbolic link"),
        ("rm -r $ML/output && mkdir -p $ML/x && ln -s x $ML/output && ln -s {aws} $ML/x/data", "/opt/ml/output is a symbolic link to x"),
        ("ln -s {aws}/credentials $ML/output/data/x", "/opt/ml/output/data/x is a symbolic link"),
        ("mkfifo $ML/model/pipe", "/opt/ml/model/pipe is a FIFO"),
        ("mkfifo $ML/output/data/pipe", "/opt/ml/output/data/pipe is a FIFO"),
        ("rm -rf $ML/output; ln -s {aws}/credentials $ML/output", "/opt/ml/output is a symbolic link"),
    ],
)
@pytest.mark.parametrize("compression", ["GZIP", "NONE"])
def test_issue_8_1_1_a_training_job_cannot_upload_the_target_of_a_link(place, script, named, compression):
    aws = place.home / ".aws"
    name = place.train(script.format(aws=aws) + "\n", CompressionType=compression)
    status, reason = place.ended(name)
    assert status == "Failed"
    assert named.format(aws=aws) in reason, reason
    assert reason.startswith("ClientError"), reason
    assert not any(SECRET.encode() in body for body in place.objects().values())
    assert (aws / "credentials").read_text() == SECRET


# Issue 8, 1.1
def test_issue_8_1_1_a_failure_file_that_is_a_link_is_reported_and_not_read(place):
    credentials = place.home / ".aws/credentials"
    status, reason = place.ended(place.train(f"ln -s {credentials} $ML/output/failure; exit 3\n"))
    assert status == "Failed" and "exit code: 3" in reason
    assert "/opt/ml/output/failure is a symbolic link" in reason, reason
    assert SECRET not in reason


# Issue 8, 1.1
@pytest.mark.parametrize(
    "command, named",
    [
        ("rm -r $ML/processing/out && ln -s {aws} $ML/processing/out", "/opt/ml/processing/out is a symbolic link to {aws}"),
        ("rm -r $ML/processing && mkdir $ML/y && ln -s {aws} $ML/y/out && ln -s y $ML/processing", "/opt/ml/processing is a symbolic link"),
        ("ln -s {aws}/credentials $ML/processing/out/data.csv", "/opt/ml/processing/out/data.csv is a symbolic link"),
        ("ln -s {aws} $ML/processing/out/all", "/opt/ml/processing/out/all is a symbolic link"),
        ("ln -s ../../../../../home/.aws $ML/processing/out/up", "/opt/ml/processing/out/up is a symbolic link"),
        ("mkfifo $ML/processing/out/pipe", "/opt/ml/processing/out/pipe is a FIFO"),
    ],
)
def test_issue_8_1_1_a_processing_job_cannot_upload_the_target_of_a_link(place, command, named):
    aws = place.home / ".aws"
    status, reason = place.ended(place.process(command.format(aws=aws)))
    assert status == "Failed"
    assert named.format(aws=aws) in reason, reason
    assert not any(SECRET.encode() in body for body in place.objects().values())


# Issue 8, 1.1: a link within the model is archived as a link.
def test_issue_8_1_1_a_link_inside_the_model_stays_a_link(place):
    name = place.train("echo 1 > $ML/model/v1; ln -s v1 $ML/model/latest\n")
    assert place.ended(name) == ("Completed", "")
    body = place.s3.get_object(Bucket="jobs", Key=f"models/{name}/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        assert archive.getmember("latest").linkname == "v1"
        assert archive.extractfile("v1").read() == b"1\n"


# Issue 8, 1.1: the job replaces the whole directory and leaves processes behind.
def test_issue_8_1_1_a_job_that_moves_its_own_directory_uploads_the_replacement(place):
    script = (
        "echo mine > $ML/model/weights\n"
        f"for job in {place.state}/jobs/*/; do mv $job/ml $job/moved; ln -s {place.home}/.aws $job/ml; done 2>/dev/null\n"
        f"(while true; do ln -sfn {place.home}/.aws $ML/model/swap; rm -f $ML/model/swap; done) >/dev/null 2>&1 &\n"
    )
    name = place.train(script)
    place.ended(name)
    assert not any(SECRET.encode() in body for body in place.objects().values())
    assert (place.home / ".aws/credentials").read_text() == SECRET


# Issue 8, 2.2: the next start failed with "Permission denied", and so did a reset.
@pytest.mark.parametrize("mode", ["555", "000"])
def test_issue_8_2_2_unreadable_directories_prevent_neither_a_start_nor_a_reset(ordinary, mode):
    place = ordinary.start().prepare()
    script = (
        "mkdir -p $ML/model/a/b && echo 1 > $ML/model/a/b/c\n"
        f"chmod {mode} $ML/model/a/b $ML/model/a $ML/model $ML\n"
    )
    name = place.train(script)
    assert place.ended(name) == ("Completed", "")
    assert f"models/{name}/output/model.tar.gz:a/b/c" in place.objects()
    # Kill the server while a job has such directories, so that the next start must remove them.
    name = place.train(script + "sleep 600\n")
    jobs = place.state / "jobs"
    for _ in range(1000):
        left = [path for path in jobs.glob("training-job-*/ml") if not path.stat().st_mode & 0o200]
        if left:
            break
        time.sleep(0.02)
    assert left
    place.kill()
    place.start()
    assert not list(jobs.glob("training-job-*"))
    assert place.describe(name)[0] == "Failed"
    place.stop()
    # Directories that were not removed do not prevent a reset either.
    closed = jobs / "job/ml"
    closed.mkdir(parents=True)
    (closed / "file").write_text("x")
    for path in (closed, jobs / "job"):
        if place.user is not None:
            os.chown(path, place.user, place.user)
        path.chmod(int(mode, 8))
    if place.user is not None:
        os.chown(jobs, place.user, place.user)
        os.chown(closed / "file", place.user, place.user)
    place.mlops("local", "reset", "--yes")
    assert not place.state.exists()


# Issue 8, 2.2: directories that cannot be removed are moved aside.
@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can leave what its user cannot remove")
def test_issue_8_2_2_directories_that_cannot_be_removed_are_moved_aside(ordinary):
    place = ordinary.start().prepare()
    place.stop()
    foreign = place.state / "jobs/job/foreign"
    foreign.mkdir(parents=True)
    (foreign / "file").write_text("x")
    for path in (place.state / "jobs", place.state / "jobs/job"):
        os.chown(path, NOBODY, NOBODY)
    place.start()
    assert not (place.state / "jobs/job").exists()
    assert place.ended(place.train("true\n"))[0] == "Completed"
    place.stop()
    done = place.mlops("local", "reset", "--yes")
    assert "cannot remove" in done.stderr
    assert not place.state.exists()
    for left in place.root.glob("state.unremoved-*"):
        shutil.rmtree(left)


@contextlib.contextmanager
def small_disk(directory, size):
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk: {mounted.stderr}; the next test holds the same without one")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=False)


# Issue 8, 2.3: the job stayed InProgress forever.
@pytest.mark.parametrize(
    "script",
    [
        # There is space for the model, but not for its archive.
        "head -c 20000000 /dev/urandom > $ML/model/weights\n",
        # The program itself fills the disk, and leaves no space for the record.
        "cat /dev/urandom > $ML/model/weights\n",
        "cat /dev/urandom > $ML/model/weights; exit 0\n",
    ],
)
def test_issue_8_2_3_a_job_whose_model_does_not_fit_fails(tmp_path, script):
    with small_disk(tmp_path / "disk", "32m") as disk:
        root = tmp_path / "root"
        root.mkdir()
        place = Place(root, disk / "state").start().prepare()
        try:
            status, reason = place.ended(place.train(script))
            assert status == "Failed"
            assert any(why in reason for why in ("No space left on device", "disk is full", "AlgorithmError")), reason
            # The server works again.
            assert place.ended(place.train("true\n"))[0] == "Completed"
            assert place.status()["degraded"] == []
        finally:
            place.stop()


# Issue 8, 2.3: the same kind of fault without a disk: the database cannot be written for a while.
def test_issue_8_2_3_a_record_that_cannot_be_written_is_written_later_and_reported(place):
    name = place.train("while [ ! -e $ML/go ]; do sleep 0.05; done\n")
    for _ in range(1000):
        running = list((place.state / "jobs").glob(f"training-job-{name}*/ml/input/data/code/script.sh"))
        if running and place.sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatus"] == "Training":
            break
        time.sleep(0.02)
    # The status counts unfinished jobs, too: let it be written before the lock.
    time.sleep(0.2)
    database = sqlite3.connect(place.state / "records.sqlite", isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    try:
        (running[0].parents[3] / "go").write_text("")
        for _ in range(60):
            degraded = place.status()["degraded"]
            if any(trouble["what"] == f"training job {name}" for trouble in degraded):
                break
        assert any(trouble["what"] == f"training job {name}" for trouble in degraded), degraded
        assert all("locked" in trouble["why"] for trouble in degraded), degraded
        text = place.mlops("local", "status").stdout
        assert f"training job {name}: database is locked" in text, text
    finally:
        database.execute("ROLLBACK")
        database.close()
    assert place.ended(name)[0] in ("Completed", "Failed")
    assert place.status()["degraded"] == []


# Issue 8, acceptance: an endpoint that listens on 8080 fails, and the reason must name the expected
# port.
def test_an_endpoint_that_listens_on_a_different_port_fails_with_the_expected_port(place):
    name = f"e-{uuid.uuid4().hex[:8]}"
    image = images.push(place.endpoint, place.ecr, "jobs", {"serve": b"#!/bin/sh\nexit 3\n"})
    place.sagemaker.create_model(ModelName=name, ExecutionRoleArn=place.role, PrimaryContainer={"Image": image})
    place.sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {"VariantName": "All", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        ],
    )
    place.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    for _ in range(1000):
        endpoint = place.sagemaker.describe_endpoint(EndpointName=name)
        if endpoint["EndpointStatus"] != "Creating":
            break
        time.sleep(0.05)
    reason = endpoint["FailureReason"]
    assert endpoint["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in reason
    assert "http://127.0.0.1:" in reason and "SAGEMAKER_BIND_TO_PORT" in reason and "8080" in reason
    logs = place.client("logs")
    events = logs.filter_log_events(logGroupName=f"/aws/sagemaker/Endpoints/{name}")["events"]
    assert any("SAGEMAKER_BIND_TO_PORT" in event["message"] for event in events)
    place.sagemaker.delete_endpoint(EndpointName=name)


BACKEND = """
import os, subprocess, time
def build_wheel(directory, config_settings=None, metadata_directory=None):
    child = subprocess.Popen(["sleep", "600"])
    with open({pids!r} + ".new", "w") as file:
        file.write("%d %d %d" % (os.getppid(), os.getpid(), child.pid))
    os.rename({pids!r} + ".new", {pids!r})
    time.sleep(600)
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# Issue 8, 2.4: pip continued, along with all its child processes.
@pytest.mark.parametrize("end", ["stop the job", "kill the server", "stop the server"])
def test_issue_8_2_4_pip_ends_with_its_job_and_with_its_server(tmp_path, end):
    place = Place(tmp_path, tmp_path / "state")
    place.environment["MLOPS_CACHE_DIR"] = str(tmp_path / "cache")
    place.start().prepare()
    package, pids = tmp_path / "package", tmp_path / "pids"
    package.mkdir()
    (package / "backend.py").write_text(BACKEND.format(pids=str(pids)))
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    programs = {"train": b"#!/bin/sh\ntrue\n", "requirements.txt": f"{package}\n".encode()}
    place.image = images.push(place.endpoint, place.ecr, "jobs", programs)
    name = place.train("true\n")
    for _ in range(6000):
        if pids.exists():
            break
        assert place.describe(name)[0] == "InProgress", place.describe(name)
        time.sleep(0.02)
    processes = pids.read_text().split()
    assert all(map(alive, processes))
    try:
        if end == "stop the job":
            place.sagemaker.stop_training_job(TrainingJobName=name)
            assert place.ended(name)[0] == "Stopped"
        elif end == "stop the server":
            place.stop()
        else:
            place.kill()
        for _ in range(3000):
            if not any(map(alive, processes)):
                break
            time.sleep(0.02)
        assert not any(map(alive, processes)), end
    finally:
        for pid in filter(alive, processes):
            os.kill(int(pid), 9)
        place.stop()


# A sparse file of 400 GB, which costs the program nothing, kept the server busy for hours.
@pytest.mark.parametrize("compression", ["GZIP", "NONE"])
@pytest.mark.parametrize("place_of", ["model", "output/data"])
def test_the_output_of_a_training_job_is_limited_by_its_volume(place, compression, place_of):
    name = place.train(f"truncate -s 400G $ML/{place_of}/weights\n", CompressionType=compression)
    status, reason = place.ended(name)
    assert status == "Failed"
    assert reason.startswith("ClientError: Artifact upload failed:Insufficient disk space"), reason
    assert "429496729600 bytes" in reason and "VolumeSizeInGB is 1," in reason, reason
    assert not any(key.startswith(f"models/{name}/") for key in place.objects())


def test_the_output_of_a_processing_job_is_limited_by_its_volume(place):
    name = place.process("truncate -s 400G $ML/processing/out/data.csv")
    status, reason = place.ended(name)
    assert status == "Failed"
    assert reason.startswith("ClientError: Artifact upload failed:Insufficient disk space"), reason
    assert not any(key.startswith(f"{name}/") for key in place.objects())


def uploading(place):
    """Starts a job whose upload would take hours."""
    cluster = {**CLUSTER, "VolumeSizeInGB": 1000}
    name = place.train("truncate -s 900G $ML/model/weights\n", cluster)
    for _ in range(2400):
        job = place.sagemaker.describe_training_job(TrainingJobName=name)
        if job["SecondaryStatus"] == "Uploading":
            return name
        assert job["TrainingJobStatus"] == "InProgress", job
        time.sleep(0.05)
    raise AssertionError(f"{name} does not upload")


def test_a_stop_ends_an_upload(place):
    name = uploading(place)
    place.sagemaker.stop_training_job(TrainingJobName=name)
    assert place.ended(name) == ("Stopped", "")
    assert not any(key.startswith(f"models/{name}/") for key in place.objects())


def test_the_end_of_the_server_ends_an_upload(tmp_path):
    place = Place(tmp_path, tmp_path / "state").start().prepare()
    try:
        name = uploading(place)
        place.stop()
        place.start()
        status, reason = place.describe(name)
        assert status == "Failed" and reason.startswith("InternalServerError"), reason
    finally:
        place.stop()
