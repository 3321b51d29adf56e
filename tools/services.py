#!/usr/bin/env python3
"""Generates crates/local-cloud/src/wire/services.tsv: the names of AWS's services in requests.

The local cloud rejects unsupported services by name and in the client's protocol. Both come from
botocore's service models:

    python tools/services.py > crates/local-cloud/src/wire/services.tsv     (botocore of tests/conformance)

Columns: signing name, protocols, service id, full name (empty when it contains the id), target
prefix, version of a query API, paths. Paths are the fixed prefixes of a REST API's paths; they
are listed if the signing name alone does not identify the service, or if requests are not signed
with version 4 (signing name `-`).
"""

import collections

import botocore
import botocore.session

SESSION = botocore.session.get_session()


def unsigned(model):
    """Returns true if any operation needs no SigV4 signature."""
    if model.metadata.get("signatureVersion") in ("bearer", "v2"):
        return True
    operations = (model.operation_model(name) for name in model.operation_names)
    return any(operation.auth_type == "none" for operation in operations)


def prefixes(model):
    """Returns the prefixes of paths up to the first label, without those that a shorter one covers."""
    found = set()
    for name in model.operation_names:
        path = model.operation_model(name).http["requestUri"].split("?")[0]
        found.add(path.split("{")[0].rstrip("/"))
    kept = []
    for path in sorted(found):
        if path and not any(path.startswith(shorter) for shorter in kept):
            kept.append(path)
    return kept


def main():
    models = [SESSION.get_service_model(name) for name in SESSION.get_available_services()]
    signers = collections.Counter(model.signing_name for model in models)
    print(f"# Made by tools/services.py from botocore {botocore.__version__}. Do not edit.")
    rows = []
    for model in models:
        metadata = model.metadata
        protocols = list(dict.fromkeys([model.resolved_protocol, *metadata.get("protocols", [])]))
        version_4 = metadata.get("signatureVersion") not in ("bearer", "v2")
        rest = model.resolved_protocol.startswith("rest-")
        query = {"query", "ec2"} & set(protocols)
        full = metadata["serviceFullName"]
        paths = prefixes(model) if rest and (signers[model.signing_name] > 1 or unsigned(model)) else []
        rows.append(
            (
                model.signing_name if version_4 else "-",
                ",".join(protocols),
                metadata["serviceId"],
                "" if metadata["serviceId"] in full else full,
                metadata.get("targetPrefix", ""),
                metadata["apiVersion"] if query else "",
                " ".join(paths),
            )
        )
    for row in sorted(rows):
        assert not any("\t" in cell for cell in row), row
        print("\t".join(row))


if __name__ == "__main__":
    main()
