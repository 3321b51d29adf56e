#!/usr/bin/env python3
"""Runs the stories and the checks of claims in an AWS account, and removes everything at the end.

    MLOPS_AWS_TESTS=123456789012 python tests/aws/run.py [--claims] [--endpoint-url URL]

The variable must be the account of the credentials. See tests/aws/README.md for what it costs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

import boto3
from claims import CLAIMS, Account

VARIABLE = "MLOPS_AWS_TESTS"

# The base of the image on AWS.
BASE = "public.ecr.aws/docker/library/python:3.12-slim"

COST = """\
The stories deploy the architecture for about an hour: a NAT gateway with its public address, a notebook instance,
a KMS key, an endpoint, and four short jobs. Expect 1 to 3 USD; the prices of your region decide. The claims alone
(--claims) create nothing that is billed by the hour."""


class Story:
    """The work on a project, as a user types it."""

    def __init__(self, mlops: str, directory: Path, name: str, endpoint: str | None, region: str) -> None:
        self.mlops, self.directory, self.name = mlops, directory, name
        self.flags = ["--region", region, *(["--endpoint-url", endpoint] if endpoint else [])]
        self.is_local = endpoint is not None
        self.results: list[tuple[str, str]] = []

    def run(self, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        """Runs a command; records whether it ended as expected."""
        command = [self.mlops, *words, *self.flags]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=False)
        is_right = done.returncode in codes
        last = (done.stderr.strip().splitlines() or [""])[-1]
        self.results.append((" ".join(words), "ok" if is_right else f"exit {done.returncode}: {last}"))
        if not is_right:
            raise StoryError(done.stderr)
        return done.stdout

    def wait_for_captured(self) -> None:
        """Waits for the request of the promotion: SageMaker writes captured traffic within minutes."""
        for _ in range(60):
            command = [self.mlops, "monitor", "run", *self.flags]
            done = subprocess.run(command, cwd=self.directory, capture_output=True, check=False)
            if done.returncode in (0, 3):
                return
            time.sleep(1 if self.is_local else 10)

    def commit(self) -> None:
        """Commits everything: images and runs come from commits."""
        identity = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
        for words in (["add", "--all"], [*identity, "commit", "--quiet", "--message", "The baseline"]):
            subprocess.run(["git", *words], cwd=self.directory, check=True)

    def tell(self) -> None:
        """From an empty account to a version in production."""
        self.run("init", "--name", self.name, "--yes")
        self.run("init", "--yes")
        self.run("validate", "--suggest", "data/train")
        if not self.is_local:
            # The local cloud runs programs with this machine's Python; AWS needs one in the image.
            file = self.directory / "mlops.toml"
            file.write_text(f'{file.read_text()}\n[image]\nbuilder = "layers"\nbase = "{BASE}"\n')
        self.commit()
        self.run("image", "push")
        self.run("data", "push", "data/train", self.name)
        self.run("validate", "data/spoiled.csv", codes=(3,))
        self.run("train", "--branch", "develop")
        self.run("promote", "1", "--yes")
        self.wait_for_captured()
        self.run("monitor", "run", codes=(0, 3))
        status = json.loads(self.run("status", "--output", "json"))
        if status["live"] != 1:
            raise StoryError(f"version {status['live']} is live, not 1")
        self.run("lineage")
        self.run("doctor", codes=(0, 3))


class StoryError(Exception):
    """A command ended in another way than the story says."""


def empty_bucket(account: Account, bucket: str) -> None:
    """Deletes every version and delete marker."""
    s3 = account.client("s3")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        keys = [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in found]
        if keys:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})


def existing_stacks(account: Account, project: str) -> list[dict]:
    """Returns the stacks of a project."""
    pages = account.client("cloudformation").get_paginator("describe_stacks").paginate()
    return [
        stack
        for page in pages
        for stack in page["Stacks"]
        if stack["StackName"].startswith(f"{project}-") and stack["StackStatus"] != "DELETE_COMPLETE"
    ]


def remaining(account: Account, project: str) -> list[str]:
    """Returns the names of a project's stacks and of what they keep."""
    stacks = [stack["StackName"] for stack in existing_stacks(account, project)]
    buckets = [it["Name"] for it in account.client("s3").list_buckets()["Buckets"]]
    repositories = [it["repositoryName"] for it in account.client("codecommit").list_repositories()["repositories"]]
    images = [
        it["repositoryName"]
        for page in account.client("ecr").get_paginator("describe_repositories").paginate()
        for it in page["repositories"]
    ]
    prefixed = [name for name in buckets if name.startswith(f"{project}-")]
    return stacks + prefixed + [name for name in repositories + images if name in (project, f"{project}-eda")]


def remove(account: Account, project: str) -> list[str]:
    """Removes every resource of a project; returns what is left."""
    cloudformation = account.client("cloudformation")
    s3, ecr, codecommit = (account.client(name) for name in ("s3", "ecr", "codecommit"))

    # What stacks keep when they are deleted.
    kept: list[tuple[str, str]] = []
    for stack in existing_stacks(account, project):
        for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack["StackName"]):
            kept += [
                (item["ResourceType"], item["PhysicalResourceId"])
                for item in page["StackResourceSummaries"]
                if item.get("PhysicalResourceId")
            ]
    deadline = time.monotonic() + 3600
    while (left := existing_stacks(account, project)) and time.monotonic() < deadline:
        # The newest depends on the others; one whose exports are in use is refused and tried again.
        for stack in sorted(left, key=lambda stack: stack["CreationTime"], reverse=True):
            try:
                cloudformation.delete_stack(StackName=stack["StackName"])
            except cloudformation.exceptions.ClientError as error:
                print(f"{stack['StackName']}: {error}", file=sys.stderr)
        time.sleep(0.2 if account.endpoint else 20)
    for kind, name in kept:
        try:
            if kind == "AWS::S3::Bucket":
                empty_bucket(account, name)
                s3.delete_bucket(Bucket=name)
            elif kind == "AWS::ECR::Repository":
                ecr.delete_repository(repositoryName=name, force=True)
            elif kind == "AWS::KMS::Key":
                account.client("kms").schedule_key_deletion(KeyId=name, PendingWindowInDays=7)
        except account.client("sts").exceptions.ClientError as error:
            # Already deleted with its stack.
            print(f"{name}: {error}", file=sys.stderr)
    for repository in (project, f"{project}-eda"):
        codecommit.delete_repository(repositoryName=repository)
    return remaining(account, project)


def check_claims(account: Account) -> dict[str, dict[str, str]]:
    """Asks AWS about each claim."""
    results = {}
    for identity, check in sorted(CLAIMS.items()):
        try:
            told, expected = check(account)
        except Exception as error:  # noqa: BLE001: a claim that cannot be checked does not end the others
            results[identity] = {"result": "not checked", "told": str(error)}
            continue
        # A message may say more than ours.
        result = "confirmed" if told.startswith(expected) else "refuted"
        results[identity] = {"result": result, "told": told, "expected": expected}
    return results


def main() -> int:
    """Runs everything and prints one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--claims", action="store_true", help="check the claims only")
    parser.add_argument("--endpoint-url", help="the endpoint of a local cloud")
    parser.add_argument("--mlops", default="mlops", help="the program")
    arguments = parser.parse_args()
    session = boto3.Session()
    caller = session.client("sts", endpoint_url=arguments.endpoint_url).get_caller_identity()
    if os.environ.get(VARIABLE) != caller["Account"]:
        print(f"{COST}\nTo run this in account {caller['Account']}, set {VARIABLE}={caller['Account']}.", file=sys.stderr)
        return 2
    name = f"mlops{uuid.uuid4().hex[:8]}"
    report: dict[str, object] = {"account": caller["Account"], "region": session.region_name, "project": name}
    failed = False
    with ExitStack() as undo:
        report["claims"] = check_claims(Account(session, arguments.endpoint_url, f"{name}-claim", undo))
    with ExitStack() as undo:
        account = Account(session, arguments.endpoint_url, name, undo)
        if not arguments.claims:
            directory = Path(undo.enter_context(tempfile.TemporaryDirectory()))
            story = Story(arguments.mlops, directory, name, arguments.endpoint_url, session.region_name)
            try:
                story.tell()
            except StoryError as error:
                report["error"], failed = str(error), True
            finally:
                try:
                    story.run("destroy", "--delete-data", "--yes")
                except StoryError as error:
                    # The remains are removed below.
                    report["destroy"], failed = str(error), True
                report["story"] = story.results
                report["left_by_destroy"] = remaining(account, name)
                report["left"] = remove(account, name)
    print(json.dumps(report, indent=2))
    return 1 if failed or report.get("left_by_destroy") or report.get("left") else 0


if __name__ == "__main__":
    sys.exit(main())
