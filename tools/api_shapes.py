#!/usr/bin/env python3
"""Generates crates/pipeline/src/shapes/*.txt: the input shapes of the local cloud's operations.

    python tools/api_shapes.py            # with the botocore of tests/conformance/requirements.txt
    python tools/api_shapes.py --check    # exits 1 if a file is out of date

One line describes one shape:

    > OPERATION SHAPE                  an operation and its input
    { NAME MEMBER[!][~]=SHAPE …        a structure; ! is required, ~ is sent as text (path, query, header)
    [ NAME SHAPE [MIN] [MAX]           a list
    % NAME KEY VALUE [MIN] [MAX]       a map
    s NAME [MIN] [MAX] [PATTERN]       text, - for a limit that does not exist
    e NAME VALUE|VALUE                 text that is one of these
    i, f NAME [MIN] [MAX]              a whole number, a number
    b, t, x, d NAME                    a boolean, a time, bytes, any JSON
"""

import re
import sys
from pathlib import Path

import botocore
import botocore.session

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/local-cloud.md"
TARGET = ROOT / "crates/pipeline/src/shapes"

# Services that Cloud::call reaches. S3 and SageMaker Runtime have separate decoders.
SERVICES = [
    "application-autoscaling", "cloudformation", "cloudwatch", "codebuild", "codecommit", "codeconnections",
    "codepipeline", "ec2", "ecr", "events", "iam", "kms", "lambda", "logs", "sagemaker", "scheduler", "sns", "sqs",
    "ssm", "sts",
]
# Operations behind steps of a pipeline definition that `mlops train` checks but the local cloud
# rejects.
STEPS = {
    "sagemaker": ["CreateAutoMLJob", "CreateHyperParameterTuningJob", "CreateTransformJob"],
}
# Enumerations that change every few weeks (instance types) are plain text here.
LONGEST_ENUM = 60
# Small local jobs pass a whole script as one word of a command, which AWS limits to 256 characters.
UNLIMITED = {
    # AWS accepts 50,000 characters (aws/aws-cdk#19767), and the model has 1,000.
    "ActionConfigurationValue",
    "ContainerArgument",
    "ContainerEntrypointString",
    "TrainingContainerArgument",
    "TrainingContainerEntrypointString",
}
# The local CodeCommit's clone URLs use plain HTTP on loopback, which AWS rejects; the handlers
# check them.
WITHOUT_PATTERN = {"CodeRepositoryNameOrUrl", "GitConfigUrl"}


def wire_name(protocol, name, shape):
    """Returns the member's name in a request as the local cloud decodes it."""
    place = shape.serialization
    if protocol == "ec2":
        if "queryName" in place:
            return place["queryName"]
        name = place.get("name", name)
        return name[0].upper() + name[1:]
    if protocol == "query":
        return place.get("name", name)
    return name


def limits(shape):
    metadata = shape.metadata
    return [str(metadata.get("min", "-")), str(metadata.get("max", "-"))]


def for_regex(pattern):
    """Converts a Java pattern to one that the Rust crate `regex` can compile."""
    # A repeated end, a class specific to Java, and surrogates.
    pattern = re.sub(r"\$\{\d+,\d+\}$", "", pattern).replace(r"\p{Alnum}", "a-zA-Z0-9")
    pattern = pattern.replace(r"\p{Print}", r"[\x20-\x7E]")
    pattern = pattern.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")
    # The length is checked separately; a class repeated a thousand times is a huge automaton.
    return re.sub(r"\{(\d+),(?:\d{4,}|[3-9]\d\d|2[5-9]\d)\}", r"{\1,}", pattern)


def line(protocol, shape):
    kind = shape.type_name
    if kind == "structure":
        members = []
        for name, member in shape.members.items():
            flags = "!" if name in shape.required_members else ""
            if member.serialization.get("location") in ("uri", "querystring", "header"):
                flags += "~"
            members.append(f"{wire_name(protocol, name, member)}{flags}={member.name}")
        return " ".join(["{", shape.name, *members])
    if kind == "list":
        words = ["[", shape.name, shape.member.name, *limits(shape)]
    elif kind == "map":
        words = ["%", shape.name, shape.key.name, shape.value.name, *limits(shape)]
    elif kind == "string":
        if 0 < len(shape.enum) <= LONGEST_ENUM:
            return f"e {shape.name} {'|'.join(shape.enum)}"
        words = ["s", shape.name, *(["-", "-"] if shape.name in UNLIMITED else limits(shape))]
        pattern = shape.metadata.get("pattern") if shape.name not in WITHOUT_PATTERN else None
        if pattern and pattern not in (".*", "^.*$", "[\\s\\S]*", "^[\\s\\S]*$"):
            pattern = for_regex(pattern)
            assert "\n" not in pattern and not pattern.startswith(" "), pattern
            return " ".join([*words, pattern])
    elif kind in ("integer", "long"):
        words = ["i", shape.name, *limits(shape)]
    elif kind in ("float", "double"):
        words = ["f", shape.name, *limits(shape)]
    else:
        words = [{"boolean": "b", "timestamp": "t", "blob": "x"}[kind], shape.name]
    while words[-1] == "-":
        words.pop()
    return " ".join(words)


def table(service, operations):
    model = botocore.session.get_session().get_service_model(service)
    protocol = model.metadata["protocol"]
    seen, lines = {}, []

    def visit(shape):
        if shape.name in seen:
            return
        seen[shape.name] = line(protocol, shape)
        kind = shape.type_name
        if kind == "structure":
            for member in shape.members.values():
                visit(member)
        elif kind == "list":
            visit(shape.member)
        elif kind == "map":
            visit(shape.key)
            visit(shape.value)

    for name in operations:
        shape = model.operation_model(name).input_shape
        lines.append(f"> {name} {shape.name if shape else '-'}")
        if shape:
            visit(shape)
    lines += [seen[name] for name in sorted(seen)]
    return f"# Made by tools/api_shapes.py from botocore {botocore.__version__}.\n" + "\n".join(lines) + "\n"


def main():
    listed = dict(re.findall(r"^\*\*(\S+)\*\* \(\d+\): (.+)$", PAGE.read_text(), re.MULTILINE))
    stale = []
    for service in SERVICES:
        operations = sorted(set(listed[service].split(", ")) | set(STEPS.get(service, [])))
        text = table(service, operations)
        path = TARGET / f"{service}.txt"
        if not path.exists() or path.read_text() != text:
            stale.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(text)
    if stale:
        print(("out of date: " if "--check" in sys.argv else "wrote ") + ", ".join(stale))
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
