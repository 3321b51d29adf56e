"""The function behind Custom::Echo: it answers with its properties, and logs each request."""

import json
import urllib.request


def handler(event, _context):
    print(json.dumps(event))
    properties = event["ResourceProperties"]
    answer = {
        "Status": "SUCCESS",
        "PhysicalResourceId": f"echo-{properties['Text']}",
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
        "Data": {"Echo": json.dumps({name: properties[name] for name in ("Text", "Number", "List")})},
    }
    request = urllib.request.Request(event["ResponseURL"], json.dumps(answer).encode(), method="PUT")
    with urllib.request.urlopen(request, timeout=20) as response:
        response.read()
