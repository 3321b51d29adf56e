"""Compares raw responses with the output shapes of AWS's own service models (included in botocore).

botocore's parser drops unknown members and fills in missing ones, so a test of parsed responses cannot
detect a misspelled member. This module checks the raw bytes.
"""

import datetime
import json
import xml.etree.ElementTree as ElementTree

import botocore.parsers

JSON_KINDS = {
    "string": str,
    "character": str,
    "blob": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float),
    "structure": dict,
    "map": dict,
    "list": list,
}

# Typed clients accept only a float for a number with decimals, and only a tagged value for a time.
CBOR_KINDS = {**JSON_KINDS, "float": float, "double": float, "timestamp": datetime.datetime}

# Values that AWS returns although its models do not list them.
BESIDE_THE_MODEL = {
    # Events of the stack itself carry the stack's status.
    ("ResourceStatus", "REVIEW_IN_PROGRESS"),
    ("ResourceStatus", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"),
    ("ResourceStatus", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"),
    # EC2 returns lower case; an attached internet gateway is "available" (EC2 API reference).
    ("State", "available"),
    ("AttachmentStatus", "available"),
    # The documentation's examples of UpdateFunctionCode contain it.
    ("LastUpdateStatusReasonCode", "Creating"),
}


def listed(shape, value):
    return not shape.enum or value in shape.enum or (shape.name, value) in BESIDE_THE_MODEL


def findings(operation, response):
    """Returns the violations of the operation's model in a response, as a list of strings."""
    if response.status_code >= 300 or operation.has_streaming_output or operation.has_event_stream_output:
        return []
    # The one that boto3 uses, of those that the service has.
    protocol = operation.service_model.resolved_protocol
    body = response.content
    if protocol == "json":
        kind = response.headers.get("Content-Type", "")
        found = [] if kind.startswith("application/x-amz-json-1.") else [f"Content-Type is {kind}"]
        if operation.output_shape is not None:
            found += list(walk_json(operation.output_shape, json.loads(body or b"{}"), ""))
    elif protocol == "smithy-rpc-v2-cbor":
        kind = response.headers.get("smithy-protocol")
        found = [] if kind == "rpc-v2-cbor" else [f"smithy-protocol is {kind}"]
        if operation.output_shape is not None:
            parser = botocore.parsers.RpcV2CBORParser()
            value = parser.parse_data_item(parser.get_peekable_stream_from_bytes(body))
            found += list(walk_json(operation.output_shape, value, "", CBOR_KINDS))
    elif protocol == "rest-json":
        found = list(walk_json(operation.output_shape, json.loads(body), "")) if body else []
    else:
        found = list(walk_document(operation, protocol, body))
    where = f"{operation.service_model.service_name} {operation.name}"
    return [f"{where}: {text}" for text in found]


def walk_json(shape, value, path, kinds=JSON_KINDS):
    kind = shape.type_name
    right = isinstance(value, kinds[kind])
    if isinstance(value, bool) and kind != "boolean":
        right = False
    if not right:
        yield f"{path or 'answer'} is {type(value).__name__}, not {kind}"
    elif kind == "structure":
        known = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for name, inner in value.items():
            if name not in known:
                yield f"{path}.{name} is not in the model"
            elif inner is None:
                yield f"{path}.{name} is null"
            else:
                yield from walk_json(known[name], inner, f"{path}.{name}", kinds)
        for name in shape.required_members:
            if shape.members[name].serialization.get("name", name) not in value:
                yield f"{path}.{name} is required and missing"
    elif kind == "list":
        for inner in value:
            yield from walk_json(shape.member, inner, f"{path}[]", kinds)
    elif kind == "map":
        for inner in value.values():
            yield from walk_json(shape.value, inner, path + "{}", kinds)
    elif kind == "string" and not listed(shape, value):
        yield f"{path} is {value!r}, none of {', '.join(shape.enum)}"


def local(element):
    return element.tag.rpartition("}")[2]


def walk_document(operation, protocol, body):
    shape = operation.output_shape
    if not body:
        return
    if protocol == "rest-xml" and shape is not None:
        payload = shape.serialization.get("payload")
        if payload and shape.members[payload].type_name != "structure":
            return
    root = ElementTree.fromstring(body)
    if protocol == "query":
        if local(root) != f"{operation.name}Response":
            yield f"the root is {local(root)}"
        parts = {local(part): part for part in root}
        wrapper = shape.serialization.get("resultWrapper") if shape is not None else None
        yield from (f"{name} in the root" for name in parts if name not in (wrapper, "ResponseMetadata"))
        if "ResponseMetadata" not in parts:
            yield "no ResponseMetadata"
        if wrapper and wrapper not in parts:
            yield f"no {wrapper}"
        elif wrapper:
            yield from walk_xml(shape, parts[wrapper], "")
    elif protocol == "ec2":
        if local(root) != f"{operation.name}Response":
            yield f"the root is {local(root)}"
        children = [child for child in root if local(child) != "requestId"]
        if len(children) == len(root):
            yield "no requestId"
        if shape is not None:
            yield from walk_members(shape, children, "")
    elif shape is not None:
        payload = shape.serialization.get("payload")
        inner = shape.members[payload] if payload else shape
        if inner.type_name == "structure":
            yield from walk_xml(inner, root, "")


def walk_members(shape, children, path):
    known = {}
    for name, member in shape.members.items():
        place = member.serialization
        if place.get("location") in ("header", "headers", "statusCode") or place.get("xmlAttribute"):
            continue
        if member.type_name == "list" and place.get("flattened"):
            name = place.get("name") or member.member.serialization.get("name", name)
        known[place.get("name", name)] = member
    seen = {}
    for child in children:
        name = local(child)
        if name not in known:
            yield f"{path}.{name} is not in the model"
            continue
        member = known[name]
        flattened = member.type_name in ("list", "map") and member.serialization.get("flattened")
        if name in seen and not flattened:
            yield f"{path}.{name} comes twice"
        seen[name] = True
        if flattened and member.type_name == "list":
            yield from walk_xml(member.member, child, f"{path}.{name}")
        else:
            yield from walk_xml(member, child, f"{path}.{name}")
    by_member = {id(member): name for name, member in known.items()}
    for name in shape.required_members:
        member = shape.members[name]
        if member.type_name not in ("list", "map") and by_member.get(id(member), name) not in seen:
            if id(member) in by_member:
                yield f"{path}.{name} is required and missing"


def walk_xml(shape, element, path):
    kind = shape.type_name
    text = (element.text or "").strip()
    if kind == "structure":
        yield from walk_members(shape, list(element), path)
        if text:
            yield f"{path} is text, not a structure"
    elif kind == "list":
        item = shape.member.serialization.get("name", "member")
        for child in element:
            if local(child) != item:
                yield f"{path} has <{local(child)}>, not <{item}>"
            yield from walk_xml(shape.member, child, f"{path}[]")
        if text:
            yield f"{path} is text, not a list"
    elif kind == "map":
        pass
    elif len(element):
        yield f"{path} has elements, not {kind}"
    elif kind == "boolean" and text not in ("true", "false"):
        yield f"{path} is {text!r}, not a boolean"
    elif kind in ("integer", "long", "float", "double"):
        try:
            float(text)
        except ValueError:
            yield f"{path} is {text!r}, not a number"
    elif kind == "timestamp" and (len(text) < 20 or text[10] != "T" or not text.endswith("Z")):
        yield f"{path} is {text!r}, not an ISO time"
    elif kind == "string" and not listed(shape, text):
        yield f"{path} is {text!r}, none of {', '.join(shape.enum)}"
