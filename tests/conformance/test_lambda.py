"""Lambda with boto3: functions that run for real."""

import base64
import hashlib
import io
import json
import os
import threading
import time
import urllib.error
import urllib.request
import uuid
import zipfile

import pytest
import roles
from botocore.exceptions import ClientError

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}

# A custom runtime in Python: the loop of the Runtime API's documentation.
BOOTSTRAP = b"""#!/usr/bin/env python3
import http.client, json, os, sys
print("starts", flush=True)
api = os.environ["AWS_LAMBDA_RUNTIME_API"]
def call(method, path, body=None):
    connection = http.client.HTTPConnection(api)
    connection.request(method, "/2018-06-01/runtime/" + path, body)
    answer = connection.getresponse()
    return answer.headers, answer.read()
while True:
    headers, body = call("GET", "invocation/next")
    id = headers["Lambda-Runtime-Aws-Request-Id"]
    event = json.loads(body)
    print("got", body.decode(), flush=True)
    if "exit" in event:
        sys.exit(event["exit"])
    if "error" in event:
        call("POST", f"invocation/{id}/error", json.dumps({"errorType": "Oops", "errorMessage": event["error"]}))
    else:
        found = {"event": event, "arn": headers["Lambda-Runtime-Invoked-Function-Arn"], "environment": dict(os.environ),
                 "deadline": int(headers["Lambda-Runtime-Deadline-Ms"]), "files": sorted(os.listdir(os.environ["LAMBDA_TASK_ROOT"]))}
        call("POST", f"invocation/{id}/response", json.dumps(found))
"""

HANDLER = b"""
import json, logging, os, sys, time
COUNT = 0
def handler(event, context):
    global COUNT
    COUNT += 1
    print("hello from", context.function_name)
    if event.get("raise"):
        raise ValueError(event["raise"])
    if event.get("sleep"):
        time.sleep(event["sleep"])
    if event.get("exit") is not None:
        os._exit(event["exit"])
    if event.get("large"):
        return "x" * event["large"]
    if event.get("set"):
        return {1, 2}
    if event.get("partial"):
        sys.stdout.write("no end of line")
        sys.stdout.flush()
    logging.getLogger().error("logged")
    return {"event": event, "count": COUNT, "stream": context.log_stream_name, "remaining": context.get_remaining_time_in_millis(),
            "id": context.aws_request_id, "memory": context.memory_limit_in_mb, "stage": os.environ.get("STAGE"),
            "file": __file__, "root": os.environ["LAMBDA_TASK_ROOT"], "home": os.environ.get("HOME"),
            "client": context.client_context.custom if context.client_context else None}
"""


def archive(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o755 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(entry, content)
    return data.getvalue()


def refused(code, text=""):
    return pytest.raises(ClientError, match=f"(?s){code}.*{text}")


@pytest.fixture(scope="module")
def functions(client):
    return client("lambda")


@pytest.fixture(scope="module")
def logs(client):
    return client("logs")


@pytest.fixture(scope="module")
def role(client):
    return roles.make(client("iam"), *roles.EXECUTION, services=["lambda"])


@pytest.fixture(scope="module")
def make(functions, role):
    """Creates an active function; returns its name."""

    def make(files, **settings):
        name = f"f-{uuid.uuid4().hex[:8]}"
        code = settings.pop("Code", None) or {"ZipFile": archive(files)}
        functions.create_function(
            **{"FunctionName": name, "Runtime": "python3.11", "Handler": "app.handler", "Role": role, "Code": code, **settings}
        )
        functions.get_waiter("function_active_v2").config.delay = 0
        wait(functions, name)
        return name

    return make


def wait(functions, name):
    for _ in range(400):
        found = functions.get_function_configuration(FunctionName=name)
        if found["State"] != "Pending" and found.get("LastUpdateStatus") != "InProgress":
            return found
        time.sleep(0.05)
    raise AssertionError(found)


@pytest.fixture(scope="module")
def python(make):
    return make({"app.py": HANDLER}, Environment={"Variables": {"STAGE": "test"}}, MemorySize=256)


def invoke(functions, name, event=None, **settings):
    answer = functions.invoke(FunctionName=name, Payload=json.dumps(event or {}).encode(), **settings)
    return answer, json.loads(answer["Payload"].read())


def lines(logs, name):
    group = f"/aws/lambda/{name}"
    return [event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]]


# --- records ----------------------------------------------------------------------------------


def test_a_function_is_pending_then_active(functions, role):
    name = f"f-{uuid.uuid4().hex[:8]}"
    code = archive({"app.py": HANDLER})
    made = functions.create_function(
        FunctionName=name, Runtime="python3.11", Handler="app.handler", Role=role, Code={"ZipFile": code}, Tags={"team": "a"}
    )
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (made["State"], made["StateReasonCode"]) == ("Pending", "Creating")
    found = wait(functions, name)
    assert (found["State"], found["LastUpdateStatus"]) == ("Active", "Successful")
    assert found["FunctionArn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    assert (found["Timeout"], found["MemorySize"], found["Version"]) == (3, 128, "$LATEST")
    assert found["CodeSize"] == len(code)
    assert found["CodeSha256"] == base64.b64encode(hashlib.sha256(code).digest()).decode()
    assert found["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"}
    assert "StateReason" not in found
    whole = functions.get_function(FunctionName=found["FunctionArn"])
    assert whole["Configuration"]["RevisionId"] == found["RevisionId"]
    assert whole["Tags"] == {"team": "a"}
    # Issue 8, 3.4: Code.Location downloads the zip, and only with the returned URL.
    location = whole["Code"]["Location"]
    with urllib.request.urlopen(location) as answer:
        assert answer.read() == code
    for changed in (location[:-1] + ("0" if location[-1] != "0" else "1"), location.replace("Expires=", "Expires=9")):
        with pytest.raises(urllib.error.HTTPError) as denied:
            urllib.request.urlopen(changed)
        assert denied.value.code == 403
    assert name in [f["FunctionName"] for page in functions.get_paginator("list_functions").paginate() for f in page["Functions"]]
    with refused("ResourceConflictException", "Function already exist: " + name):
        functions.create_function(FunctionName=name, Runtime="python3.11", Handler="a.b", Role=role, Code={"ZipFile": code})
    functions.delete_function(FunctionName=name)
    with refused("ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:" + name):
        functions.get_function(FunctionName=name)
    with refused("ResourceNotFoundException"):
        functions.delete_function(FunctionName=name)
    with refused("ResourceNotFoundException"):
        functions.invoke(FunctionName=name)


def test_tags(functions, python):
    arn = functions.get_function_configuration(FunctionName=python)["FunctionArn"]
    functions.tag_resource(Resource=arn, Tags={"a": "1", "b": "2"})
    functions.untag_resource(Resource=arn, TagKeys=["a"])
    assert functions.list_tags(Resource=arn)["Tags"] == {"b": "2"}


def test_invalid_functions_are_rejected(functions, role, client):
    code = {"ZipFile": archive({"app.py": HANDLER})}
    good = {"FunctionName": "refused", "Runtime": "python3.11", "Handler": "app.handler", "Role": role, "Code": code}

    def create(**changes):
        functions.create_function(**{**good, **changes})

    sagemaker = {**TRUST, "Statement": [{**TRUST["Statement"][0], "Principal": {"Service": "sagemaker.amazonaws.com"}}]}
    other = client("iam").create_role(RoleName=f"x-{uuid.uuid4().hex[:8]}", AssumeRolePolicyDocument=json.dumps(sagemaker))
    for wrong in (other["Role"]["Arn"], "arn:aws:iam::000000000000:role/nowhere"):
        with refused("InvalidParameterValueException", "cannot be assumed by Lambda"):
            create(Role=wrong)
    with refused("InvalidParameterValueException", "Could not unzip"):
        create(Code={"ZipFile": b"not a zip"})
    with refused("InvalidParameterValueException", "Could not unzip"):
        create(Code={"ZipFile": archive({"../app.py": HANDLER})})
    with refused("InvalidParameterValueException", "NoSuchBucket"):
        create(Code={"S3Bucket": f"none-{uuid.uuid4().hex}", "S3Key": "k"})
    with refused("InvalidParameterValueException", "AWS_REGION"):
        create(Environment={"Variables": {"AWS_REGION": "x"}})
    with refused("ValidationException", "memorySize"):
        create(MemorySize=20000)
    with refused("ValidationException", "timeout"):
        create(Timeout=1000)
    with refused("NotImplemented", "nodejs22.x"):
        create(Runtime="nodejs22.x")
    with refused("NotImplemented", "Layers"):
        create(Layers=["arn:aws:lambda:us-east-1:000000000000:layer:x:1"])
    with refused("NotImplemented", "VpcConfig"):
        create(VpcConfig={"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]})
    with refused("NotImplemented"):
        functions.publish_version(FunctionName="refused")
    with refused("ResourceNotFoundException"):
        functions.get_function(FunctionName="refused")


def test_more_than_250_mb_is_rejected(functions, role):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        out.writestr("zeros", bytes(263_000_000))
    with refused("InvalidParameterValueException", "Unzipped size must be smaller than 262144000 bytes"):
        functions.create_function(
            FunctionName="large", Runtime="python3.11", Handler="a.b", Role=role, Code={"ZipFile": data.getvalue()}
        )


# --- python -----------------------------------------------------------------------------------


def test_a_python_function_responds(functions, python, logs):
    answer, payload = invoke(functions, python, {"a": [1, None, "ä"]}, LogType="Tail")
    assert answer["StatusCode"] == 200
    assert answer["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in answer
    assert payload["event"] == {"a": [1, None, "ä"]}
    assert payload["id"] == answer["ResponseMetadata"]["RequestId"]
    assert payload["stage"] == "test"
    assert payload["memory"] == "256"
    assert 0 < payload["remaining"] <= 3000
    assert payload["file"].startswith(payload["root"])
    tail = base64.b64decode(answer["LogResult"]).decode().splitlines()
    assert tail[0] == f"START RequestId: {payload['id']} Version: $LATEST"
    assert tail[1] == f"hello from {python}"
    assert tail[2].startswith("[ERROR]\t") and tail[2].endswith("logged")
    assert tail[3] == f"END RequestId: {payload['id']}"
    assert tail[4].startswith(f"REPORT RequestId: {payload['id']}\tDuration: ")
    assert "Memory Size: 256 MB" in tail[4]
    written = lines(logs, python)
    assert [line for line in written if payload["id"] in line and "[ERROR]" not in line] == [tail[0], tail[3], tail[4]]


def test_one_environment_is_reused_and_more_run_in_parallel(functions, make):
    name = make({"app.py": HANDLER}, Timeout=20)
    first, second = invoke(functions, name)[1], invoke(functions, name)[1]
    assert (first["count"], second["count"]) == (1, 2)
    assert first["stream"] == second["stream"]
    found = []
    threads = [threading.Thread(target=lambda: found.append(invoke(functions, name, {"sleep": 1.5})[1])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({payload["stream"] for payload in found}) == 3
    assert sorted(payload["count"] for payload in found) == [1, 1, 3]


def test_an_exception_is_an_unhandled_error(functions, python):
    answer, payload = invoke(functions, python, {"raise": "boom"}, LogType="Tail")
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert payload["errorType"] == "ValueError"
    assert payload["errorMessage"] == "boom"
    assert payload["requestId"] == answer["ResponseMetadata"]["RequestId"]
    assert "app.py" in payload["stackTrace"][0] and "line 9" in payload["stackTrace"][0]
    assert "[ERROR] ValueError: boom\rTraceback" in base64.b64decode(answer["LogResult"]).decode()
    assert invoke(functions, python)[1]["count"] > 1


def test_output_without_a_line_end_is_logged_in_its_invocation(functions, python):
    answer, _ = invoke(functions, python, {"partial": True}, LogType="Tail")
    tail = base64.b64decode(answer["LogResult"]).decode().splitlines()
    assert any(line.startswith("no end of line") for line in tail[:-2]), tail


def test_a_function_that_exits_or_takes_too_long(functions, make):
    name = make({"app.py": HANDLER}, Timeout=1)
    answer, payload = invoke(functions, name, {"exit": 7})
    id = answer["ResponseMetadata"]["RequestId"]
    assert answer["FunctionError"] == "Unhandled"
    assert payload == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {id} Error: Runtime exited with error: exit status 7",
    }
    assert invoke(functions, name, {"exit": 0})[1]["errorMessage"].endswith("Runtime exited without providing a reason")
    start = time.monotonic()
    answer, payload = invoke(functions, name, {"sleep": 60}, LogType="Tail")
    assert time.monotonic() - start < 30
    id = answer["ResponseMetadata"]["RequestId"]
    assert answer["FunctionError"] == "Unhandled"
    assert payload == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {id} Error: Task timed out after 1.00 seconds",
    }
    tail = base64.b64decode(answer["LogResult"]).decode()
    assert f"{id} Task timed out after 1.00 seconds\n" in tail
    assert f"hello from {name}\n" in tail
    assert invoke(functions, name)[1]["count"] == 1


@pytest.mark.parametrize(
    "files, kind, message",
    [
        ({"other.py": b""}, "Runtime.ImportModuleError", "Unable to import module 'app': No module named 'app'"),
        ({"app.py": b"x = 1"}, "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"),
        ({"app.py": b"def ("}, "Runtime.UserCodeSyntaxError", "Syntax error in module 'app': invalid syntax (app.py, line 1)"),
        ({"app.py": b"1/0"}, "ZeroDivisionError", "division by zero"),
    ],
)
def test_functions_that_cannot_start_report_why(functions, make, files, kind, message):
    answer, payload = invoke(functions, make(files))
    assert answer["FunctionError"] == "Unhandled"
    assert (payload["errorType"], payload["errorMessage"]) == (kind, message)


def test_responses_have_a_limit_and_must_be_json(functions, make):
    name = make({"app.py": HANDLER}, Timeout=30)
    answer, payload = invoke(functions, name, {"large": 6_291_556 - 2})
    assert "FunctionError" not in answer and len(payload) == 6_291_554
    answer, payload = invoke(functions, name, {"large": 6_291_556})
    assert (answer["FunctionError"], payload["errorType"]) == ("Unhandled", "Function.ResponseSizeTooLarge")
    answer, payload = invoke(functions, name, {"set": True})
    assert (answer["FunctionError"], payload["errorType"]) == ("Unhandled", "Runtime.MarshalError")


def test_payloads_have_limits(functions, python):
    with refused("RequestTooLargeException", "6291456"):
        functions.invoke(FunctionName=python, Payload=b'"' + b"x" * (6 << 20) + b'"')
    with refused("InvalidRequestContentException", "Could not parse request body into json"):
        functions.invoke(FunctionName=python, Payload=b"{")
    assert functions.invoke(FunctionName=python, InvocationType="DryRun")["StatusCode"] == 204
    assert invoke(functions, python, ClientContext=json.dumps({"custom": {"k": "v"}}))[1]["client"] == {"k": "v"}


def test_an_asynchronous_event_is_accepted_and_runs_later(functions, python, logs):
    mark = uuid.uuid4().hex
    answer = functions.invoke(FunctionName=python, InvocationType="Event", Payload=json.dumps({"mark": mark}).encode())
    assert answer["StatusCode"] == 202
    assert answer["Payload"].read() == b""
    id = answer["ResponseMetadata"]["RequestId"]
    for _ in range(200):
        if any(line.startswith(f"REPORT RequestId: {id}") for line in lines(logs, python)):
            return
        time.sleep(0.05)
    raise AssertionError("the event did not run")


# --- provided.al2023 ----------------------------------------------------------------------------


def test_a_bootstrap_uses_the_runtime_api(functions, make, client, logs):
    bucket, key = f"code-{uuid.uuid4().hex[:8]}", "code.zip"
    s3 = client("s3")
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket=bucket, Key=key, Body=archive({"bootstrap": BOOTSTRAP, "data/x": b"1"}))["VersionId"]
    s3.put_object(Bucket=bucket, Key=key, Body=b"newer, and no zip")
    code = {"S3Bucket": bucket, "S3Key": key, "S3ObjectVersion": version}
    name = make({}, Code=code, Runtime="provided.al2023", Handler="any", Environment={"Variables": {"MINE": "1"}})
    before = time.time() * 1000
    answer, payload = invoke(functions, name, {"k": "v"}, LogType="Tail")
    assert "FunctionError" not in answer, payload
    assert payload["event"] == {"k": "v"}
    assert payload["arn"].endswith(f":function:{name}")
    assert before < payload["deadline"] < before + 60_000
    assert payload["files"] == ["bootstrap", "data"]
    environment = payload["environment"]
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == name
    assert environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "128"
    assert environment["AWS_LAMBDA_LOG_GROUP_NAME"] == f"/aws/lambda/{name}"
    assert (environment["_HANDLER"], environment["TZ"], environment["MINE"]) == ("any", ":UTC", "1")
    assert environment["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert "MLOPS_BIN" not in environment and environment["HOME"] != os.environ["HOME"]
    assert "got {" in base64.b64decode(answer["LogResult"]).decode()
    assert "starts" in lines(logs, name)
    answer, payload = invoke(functions, name, {"error": "no"})
    assert answer["FunctionError"] == "Unhandled"
    assert payload == {"errorType": "Oops", "errorMessage": "no"}
    answer, payload = invoke(functions, name, {"exit": 3})
    assert payload["errorMessage"].endswith("Runtime exited with error: exit status 3")
    assert invoke(functions, name, {"again": 1})[1]["event"] == {"again": 1}


def test_a_function_without_a_bootstrap_cannot_start(functions, make):
    name = make({"other": b""}, Runtime="provided.al2023")
    answer, payload = invoke(functions, name)
    assert answer["FunctionError"] == "Unhandled"
    assert payload["errorType"] == "Runtime.InvalidEntrypoint"
    assert payload["errorMessage"].endswith("Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]")


def test_a_bootstrap_that_exits_immediately(functions, make):
    name = make({"bootstrap": b"#!/bin/sh\necho sorry\nexit 5\n"}, Runtime="provided.al2")
    answer, payload = invoke(functions, name, LogType="Tail")
    assert payload["errorType"] == "Runtime.ExitError"
    assert payload["errorMessage"].endswith("Runtime exited with error: exit status 5")


# --- updates ------------------------------------------------------------------------------------


def test_updates_stop_the_old_environments(functions, make):
    name = make({"app.py": b"def handler(e, c): return 1"})
    assert invoke(functions, name)[1] == 1
    before = functions.get_function_configuration(FunctionName=name)
    code = archive({"app.py": b"import os\ndef handler(e, c): return os.environ.get('STAGE', 'none')"})
    dry = functions.update_function_code(FunctionName=name, ZipFile=code, DryRun=True)
    assert dry["CodeSha256"] != before["CodeSha256"]
    assert functions.get_function_configuration(FunctionName=name)["CodeSha256"] == before["CodeSha256"]
    with refused("PreconditionFailedException"):
        functions.update_function_code(FunctionName=name, ZipFile=code, RevisionId=str(uuid.uuid4()))
    made = functions.update_function_code(FunctionName=name, ZipFile=code, RevisionId=before["RevisionId"])
    assert made["LastUpdateStatus"] == "InProgress"
    assert wait(functions, name)["LastUpdateStatus"] == "Successful"
    assert invoke(functions, name)[1] == "none"
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": {"STAGE": "new"}}, Timeout=9, Description="d")
    found = wait(functions, name)
    assert (found["Timeout"], found["Description"], found["Handler"]) == (9, "d", "app.handler")
    assert invoke(functions, name)[1] == "new"
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": {}})
    assert "Environment" not in wait(functions, name)
    assert invoke(functions, name)[1] == "none"


# --- CloudFormation -----------------------------------------------------------------------------

TEMPLATE = """
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      ManagedPolicyArns: [arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole]
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement:
          - {Effect: Allow, Principal: {Service: lambda.amazonaws.com}, Action: "sts:AssumeRole"}
  Log:
    Type: AWS::Logs::LogGroup
    Properties: {LogGroupName: !Sub "/aws/lambda/${AWS::StackName}"}
  Function:
    Type: AWS::Lambda::Function
    Properties:
      FunctionName: !Ref AWS::StackName
      Runtime: python3.12
      Handler: index.handler
      Role: !GetAtt Role.Arn
      TIMEOUT
      LoggingConfig: {LogGroup: !Ref Log}
      Environment: {Variables: {TEXT: "1"}}
      Tags: [{Key: a, Value: TAG}]
      Code:
        ZipFile: |
          import os
          def handler(event, context):
              return [WORD, os.environ["TEXT"]]
Outputs:
  Arn: {Value: !GetAtt Function.Arn}
  Name: {Value: !Ref Function}
"""


def test_a_stack_creates_updates_and_deletes_a_function(functions, client, logs):
    cfn, stack = client("cloudformation"), f"s-{uuid.uuid4().hex[:8]}"

    def template(word, tag, timeout="Timeout: 7"):
        return TEMPLATE.replace("WORD", repr(word)).replace("TAG", tag).replace("TIMEOUT", timeout)

    def ended(wanted):
        for _ in range(600):
            found = cfn.describe_stacks(StackName=stack)["Stacks"][0]
            if not found["StackStatus"].endswith("_IN_PROGRESS"):
                events = cfn.describe_stack_events(StackName=stack)["StackEvents"]
                assert found["StackStatus"] == wanted, [e["ResourceStatusReason"] for e in events if "ResourceStatusReason" in e]
                return {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}
            time.sleep(0.05)

    cfn.create_stack(StackName=stack, TemplateBody=template("one", "x"), Capabilities=["CAPABILITY_IAM"])
    outputs = ended("CREATE_COMPLETE")
    assert outputs["Name"] == stack
    assert invoke(functions, outputs["Arn"])[1] == ["one", "1"]
    assert any(line.startswith("REPORT") for line in lines(logs, stack))
    cfn.update_stack(StackName=stack, TemplateBody=template("two", "y", "MemorySize: 192"), Capabilities=["CAPABILITY_IAM"])
    ended("UPDATE_COMPLETE")
    assert invoke(functions, stack)[1] == ["two", "1"]
    found = functions.get_function(FunctionName=stack)
    assert (found["Configuration"]["Timeout"], found["Configuration"]["MemorySize"]) == (3, 192)
    assert found["Tags"]["a"] == "y"
    cfn.delete_stack(StackName=stack)
    cfn.get_waiter("stack_delete_complete").wait(StackName=stack, WaiterConfig={"Delay": 1})
    with refused("ResourceNotFoundException"):
        functions.get_function(FunctionName=stack)


PERMITTED = """
Resources:
  Log:
    Type: AWS::Logs::LogGroup
    Properties: {LogGroupName: !Sub "/aws/lambda/${AWS::StackName}"}
  Role:
    Type: AWS::IAM::Role
    Properties:
      ManagedPolicyArns: [arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole]
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement:
          - {Effect: Allow, Principal: {Service: lambda.amazonaws.com}, Action: "sts:AssumeRole"}
  Function:
    Type: AWS::Lambda::Function
    Properties:
      Runtime: python3.12
      Handler: index.handler
      Role: !GetAtt Role.Arn
      LoggingConfig: {LogGroup: !Ref Log}
      Code:
        ZipFile: |
          import json
          def handler(event, context):
              print(json.dumps(event["detail"]))
  Rule:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {source: [!Ref AWS::StackName]}
      Targets: [{Id: function, Arn: !GetAtt Function.Arn}]
  Permission:
    Type: AWS::Lambda::Permission
    Properties:
      Action: lambda:InvokeFunction
      FunctionName: !Ref Function
      Principal: events.amazonaws.com
      SourceArn: SOURCE
Outputs:
  Function: {Value: !Ref Function}
  Permission: {Value: !Ref Permission}
"""


def test_a_stack_permits_a_rule_to_invoke_a_function(client, functions, logs):
    cfn, stack = client("cloudformation"), f"s-{uuid.uuid4().hex[:8]}"

    def deployed(source, operation):
        template = PERMITTED.replace("SOURCE", source)
        getattr(cfn, f"{operation}_stack")(StackName=stack, TemplateBody=template, Capabilities=["CAPABILITY_IAM"])
        cfn.get_waiter(f"stack_{operation}_complete").wait(StackName=stack, WaiterConfig={"Delay": 1})
        outputs = cfn.describe_stacks(StackName=stack)["Stacks"][0]["Outputs"]
        return {output["OutputKey"]: output["OutputValue"] for output in outputs}

    def sent(number):
        entry = {"Source": stack, "DetailType": "d", "Detail": json.dumps({"number": number})}
        assert client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0

    def received():
        return {line.strip() for line in lines(logs, stack) if line.startswith("{")}

    # Another rule may invoke it: this one may not.
    first = deployed("!Sub arn:aws:events:${AWS::Region}:${AWS::AccountId}:rule/other", "create")
    name = first["Function"]
    statement = json.loads(functions.get_policy(FunctionName=name)["Policy"])["Statement"][0]
    assert statement["Sid"] == first["Permission"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    sent(1)
    # A change of any property replaces the statement.
    second = deployed("!GetAtt Rule.Arn", "update")
    assert second["Permission"] != first["Permission"]
    policy = json.loads(functions.get_policy(FunctionName=name)["Policy"])
    assert [statement["Sid"] for statement in policy["Statement"]] == [second["Permission"]]
    sent(2)
    for _ in range(600):
        if received():
            break
        time.sleep(0.05)
    assert received() == {'{"number": 2}'}
    drift = cfn.detect_stack_drift(StackName=stack)["StackDriftDetectionId"]
    for _ in range(600):
        status = cfn.describe_stack_drift_detection_status(StackDriftDetectionId=drift)
        if status["DetectionStatus"] != "DETECTION_IN_PROGRESS":
            break
        time.sleep(0.05)
    assert status["StackDriftStatus"] == "IN_SYNC", status
    cfn.delete_stack(StackName=stack)
    cfn.get_waiter("stack_delete_complete").wait(StackName=stack, WaiterConfig={"Delay": 1})


def test_the_policy_of_a_function(client, cloud, functions, make):
    name = make({"app.py": "def handler(event, context):\n    return 1\n"})
    arn = functions.get_function(FunctionName=name)["Configuration"]["FunctionArn"]
    invoker = roles.make(client("iam"))
    session = roles.assume(client, cloud, invoker).client("lambda")
    with refused("AccessDeniedException", "lambda:InvokeFunction on resource: " + arn):
        session.invoke(FunctionName=name)
    with refused("ResourceNotFoundException"):
        functions.get_policy(FunctionName=name)
    permission = {"FunctionName": name, "StatementId": "s", "Action": "lambda:InvokeFunction"}
    added = functions.add_permission(**permission, Principal=invoker)
    assert json.loads(added["Statement"]) == {
        "Sid": "s", "Effect": "Allow", "Principal": {"AWS": invoker}, "Action": "lambda:InvokeFunction", "Resource": arn
    }
    with refused("ResourceConflictException"):
        functions.add_permission(**permission, Principal="events.amazonaws.com")
    assert json.load(session.invoke(FunctionName=name)["Payload"]) == 1
    functions.add_permission(**{**permission, "StatementId": "t"}, Principal="events.amazonaws.com", SourceArn="arn:aws:events:us-east-1:000000000000:rule/r")
    policy = json.loads(functions.get_policy(FunctionName=name)["Policy"])
    assert [statement["Sid"] for statement in policy["Statement"]] == ["s", "t"]
    assert policy["Statement"][1]["Condition"] == {"ArnLike": {"AWS:SourceArn": "arn:aws:events:us-east-1:000000000000:rule/r"}}
    functions.remove_permission(FunctionName=name, StatementId="s")
    with refused("AccessDeniedException"):
        session.invoke(FunctionName=name)
    with refused("ResourceNotFoundException"):
        functions.remove_permission(FunctionName=name, StatementId="s")
