"""Last: every operation that the local cloud says it has was used with success by this session."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/local-cloud.md"


def test_every_operation_of_the_local_cloud_is_used(used):
    listed = {
        (service, operation)
        for service, names in re.findall(r"^\*\*(\S+)\*\* \(\d+\): (.+)$", PAGE.read_text(), re.MULTILINE)
        for operation in names.split(", ")
    }
    assert len(listed) > 250
    missing = sorted(listed - used)
    assert not missing, "no test uses " + ", ".join(" ".join(pair) for pair in missing)
