"""Speaks Lambda's Runtime API for a Python handler: what AWS's own runtime does, in small."""

import http.client
import importlib
import json
import logging
import os
import sys
import time
import traceback
from types import SimpleNamespace

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
ROOT = os.environ["LAMBDA_TASK_ROOT"]
REQUEST = SimpleNamespace(id="")


def call(method, path, body=None, headers=None):
    """One request to the Runtime API; no timeout, as the next event may be long in coming."""
    connection = http.client.HTTPConnection(API, timeout=None)
    connection.request(method, "/2018-06-01/runtime/" + path, body, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def problem(kind, message, stack=()):
    return {"errorMessage": message, "errorType": kind, "requestId": REQUEST.id, "stackTrace": list(stack)}


def report(path, found):
    lines = ["[ERROR] " + found["errorType"] + (": " + found["errorMessage"] if found["errorMessage"] else "")]
    if found["stackTrace"]:
        lines += ["Traceback (most recent call last):", *found["stackTrace"]]
    # One event of the log: CloudWatch shows a carriage return as a line's end.
    print("\r".join("\r".join(lines).splitlines()), flush=True)
    headers = {"Content-Type": "application/json", "Lambda-Runtime-Function-Error-Type": found["errorType"]}
    call("POST", path, json.dumps(found).encode(), headers)


def stack_of(error):
    frames = traceback.extract_tb(error.__traceback__)
    return traceback.format_list([f for f in frames if f.filename != "<string>" and "importlib" not in f.filename])


def load():
    """The handler that _HANDLER names, or why there is none."""
    handler = os.environ["_HANDLER"]
    try:
        name, function = handler.rsplit(".", 1)
    except ValueError as error:
        return None, problem("Runtime.MalformedHandlerName", f"Bad handler '{handler}': {error}")
    name = name.replace("/", ".")
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        return None, problem("Runtime.ImportModuleError", f"Unable to import module '{name}': {error}")
    except SyntaxError as error:
        where = f'  File "{error.filename}" Line {error.lineno}\n    {(error.text or "").rstrip()}\n'
        return None, problem("Runtime.UserCodeSyntaxError", f"Syntax error in module '{name}': {error}", [where])
    except Exception as error:
        return None, problem(type(error).__name__, str(error), stack_of(error))
    if not hasattr(module, function):
        return None, problem("Runtime.HandlerNotFound", f"Handler '{function}' missing on module '{name}'")
    return getattr(module, function), None


class Context:
    """The second argument of a handler."""

    def __init__(self, headers):
        self.aws_request_id = REQUEST.id
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.invoked_function_arn = headers["Lambda-Runtime-Invoked-Function-Arn"]
        self.identity = None
        self.client_context = None
        self._deadline = int(headers["Lambda-Runtime-Deadline-Ms"])
        if headers["Lambda-Runtime-Client-Context"]:
            given = json.loads(headers["Lambda-Runtime-Client-Context"])
            self.client_context = SimpleNamespace(
                client=given.get("client"), custom=given.get("custom"), env=given.get("env")
            )

    def get_remaining_time_in_millis(self):
        return max(self._deadline - int(time.time() * 1000), 0)

    def log(self, text):
        print(text, flush=True)


class Format(logging.Formatter):
    converter = time.gmtime

    def format(self, record):
        record.aws_request_id = REQUEST.id
        return super().format(record)


def main():
    sys.path.insert(0, ROOT)
    output = logging.StreamHandler(sys.stdout)
    output.setFormatter(Format("[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S"))
    logging.getLogger().addHandler(output)
    handler, broken = load()
    if broken:
        report("init/error", broken)
        sys.exit(1)
    while True:
        answer, event = call("GET", "invocation/next")
        if answer.status != 200:
            return
        REQUEST.id = answer.headers["Lambda-Runtime-Aws-Request-Id"]
        failed = None
        try:
            result = handler(json.loads(event), Context(answer.headers))
        except Exception as error:
            failed = problem(type(error).__name__, str(error), stack_of(error))
        else:
            try:
                body = json.dumps(result).encode()
            except Exception as error:
                failed = problem("Runtime.MarshalError", f"Unable to marshal response: {error}")
        sys.stdout.flush()
        sys.stderr.flush()
        if failed:
            report(f"invocation/{REQUEST.id}/error", failed)
        else:
            call("POST", f"invocation/{REQUEST.id}/response", body, {"Content-Type": "application/json"})


main()
