"""The clock of a local cloud: reads and advances it through a signed request."""

import datetime
import json
import urllib.request

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

PATH = "/_mlops/clock"

# Longer than the local cloud waits for hung work, so that its error arrives.
TIMEOUT = 900


def request(endpoint, method="GET", body=None, credentials=None):
    """The signed request, as urllib wants it."""
    data = None if body is None else json.dumps(body).encode()
    signed = AWSRequest(method, endpoint + PATH, data=data, headers={"Content-Type": "application/json"})
    credentials = credentials or Credentials("test", "test")
    SigV4Auth(credentials, "mlops", "us-east-1").add_auth(signed)
    return urllib.request.Request(endpoint + PATH, data, dict(signed.headers), method=method)


def time_of(prepared):
    """Sends a request and returns the time in the response."""
    with urllib.request.urlopen(prepared, timeout=TIMEOUT) as answer:
        return datetime.datetime.fromisoformat(json.load(answer)["now"])


def now(endpoint):
    """The time of the local cloud."""
    return time_of(request(endpoint))


def advance(endpoint, seconds):
    """Advances the clock and returns the time that it reached; everything due by then has happened."""
    return time_of(request(endpoint, "POST", {"seconds": seconds}))
