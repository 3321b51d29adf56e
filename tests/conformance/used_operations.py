"""Every operation that the local cloud lists is used with success by at least one test.

With `--all-operations`, the session fails if an operation in docs/local-cloud.md is used by no test. Workers of
pytest-xdist send what they used to the controller, which checks.
"""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/local-cloud.md"

# (service, operation) of every call with a successful response, in this process and in its workers.
USED = set()


def listed():
    """The operations in the documentation."""
    found = {
        (service, operation)
        for service, names in re.findall(r"^\*\*(\S+)\*\* \(\d+\): (.+)$", PAGE.read_text(), re.MULTILINE)
        for operation in names.split(", ")
    }
    assert len(found) > 250
    return found


class Plugin:
    """Collects used operations and checks them when the session ends."""

    def __init__(self, config):
        self.config = config

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node, error):
        del error
        USED.update(map(tuple, getattr(node, "workeroutput", {}).get("used", [])))

    def pytest_sessionfinish(self, session):
        output = getattr(self.config, "workeroutput", None)
        if output is not None:
            output["used"] = sorted(map(list, USED))
            return
        missing = sorted(listed() - USED) if self.config.getoption("--all-operations") else []
        if missing:
            self.missing = "no test uses " + ", ".join(" ".join(pair) for pair in missing)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        if text := getattr(self, "missing", None):
            terminalreporter.section("operations without a test", red=True)
            terminalreporter.line(text)
