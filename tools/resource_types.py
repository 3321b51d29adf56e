#!/usr/bin/env python3
"""Generates crates/local-cloud/src/cloudformation/resources/schemas.json: the properties of the local
cloud's CloudFormation types according to AWS's provider schemas.

    python tools/resource_types.py            # with the cfn-lint of tests/conformance/requirements.txt
    python tools/resource_types.py --check    # exits 1 if the file is out of date

Each line is the schema of one type. It is JSON schema, reduced to `properties`, `definitions`, `required`,
`type`, `enum`, `items`, `$ref` and `additionalProperties` (the schema of a map's values), with three members
of its own: `create_only` and `read_only` (paths such as GitConfig/Branch), and `system_tags` (whether
CloudFormation adds its own tags).
"""

import json
import re
import sys
from pathlib import Path

import cfnlint
from cfnlint.version import __version__

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "crates/local-cloud/src/cloudformation/resources"
TARGET = TABLES / "schemas.json"
SCHEMAS = Path(cfnlint.__file__).parent / "data/schemas"
REGION = "us-east-1"


def reduced(node):
    """Returns the parts of a node that define its values."""
    if not isinstance(node, dict):
        return {}
    kept = {name: node[name] for name in ("type", "enum", "$ref", "required") if name in node}
    if isinstance(kept.get("type"), list):
        kept["type"] = sorted(kept["type"])
    for name in ("properties", "definitions"):
        if node.get(name):
            kept[name] = {member: reduced(value) for member, value in sorted(node[name].items())}
    if "items" in node:
        kept["items"] = reduced(node["items"])
    values = node.get("patternProperties") or {}
    other = node.get("additionalProperties")
    if len(values) == 1 and "properties" not in kept:
        kept["additionalProperties"] = reduced(next(iter(values.values())))
    elif isinstance(other, dict):
        kept["additionalProperties"] = reduced(other)
    elif other is not False and "properties" in kept:
        kept["additionalProperties"] = {}
    # Alternatives of one type: use the first that defines it.
    if "type" not in kept and "$ref" not in kept and "properties" not in kept:
        alternatives = [reduced(one) for key in ("oneOf", "anyOf") for one in node.get(key, [])]
        alternatives = [one for one in alternatives if "type" in one or "$ref" in one]
        if alternatives:
            kept |= alternatives[0]
    return kept


def paths(schema, *keys):
    """Returns property paths (JSON pointers below /properties), without those inside another listed one."""
    found = sorted({path.removeprefix("/properties/") for key in keys for path in schema.get(key) or []})
    return [path for path in found if not any(path.startswith(f"{outer}/") for outer in found)]


def referenced(node, definitions, seen):
    if isinstance(node, list):
        for value in node:
            referenced(value, definitions, seen)
    elif isinstance(node, dict):
        name = node.get("$ref", "") if isinstance(node.get("$ref"), str) else ""
        name = name.removeprefix("#/definitions/")
        if name and name not in seen:
            seen.add(name)
            referenced(definitions.get(name, {}), definitions, seen)
        for value in node.values():
            referenced(value, definitions, seen)
    return seen


def schema_of(name, index):
    source = json.loads((SCHEMAS / f"resources/{index[name]}.json").read_text())
    schema = reduced(source)
    schema.pop("type", None)
    schema.pop("additionalProperties", None)
    definitions = schema.pop("definitions", {})
    used = referenced(schema, definitions, set())
    schema["definitions"] = {key: value for key, value in definitions.items() if key in used}
    schema["create_only"] = paths(source, "createOnlyProperties", "conditionalCreateOnlyProperties")
    schema["read_only"] = paths(source, "readOnlyProperties")
    schema["system_tags"] = source.get("tagging", {}).get("cloudFormationSystemTags", True)
    return schema


def main():
    names = set()
    for path in TABLES.glob("*.rs"):
        names |= set(re.findall(r'(?:Type::new|kind)\(\s*"(AWS::\w+::\w+)"', path.read_text()))
    index = json.loads((SCHEMAS / f"providers/{REGION}.json").read_text())
    lines = [f'"cfn-lint": "{__version__}"']
    lines += [f'"{name}": {json.dumps(schema_of(name, index), separators=(",", ":"))}' for name in sorted(names)]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    if TARGET.exists() and TARGET.read_text() == text:
        return 0
    if "--check" in sys.argv:
        print(f"out of date: {TARGET.name}")
        return 1
    TARGET.write_text(text)
    print(f"wrote {TARGET.name}: {len(names)} types, {len(text) // 1024} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
