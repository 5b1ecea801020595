"""A pytest plugin that writes each phase of each test as a line of JSON, while the tests run.

``pytest -p tests.recorder --record FILE``, as `ianus regress` runs it. With workers (pytest-xdist) it writes in the
process that they report to. Lines are ``{"collected": n}`` or a phase as ``host_runtime/regress/record.py`` reads it.
"""

from __future__ import annotations

import json
from typing import Any, TextIO

import pytest

OPTION = "--record"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        OPTION, metavar="FILE", help="write each phase of each test to FILE, a line of JSON each"
    )


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption(OPTION)
    if path and not hasattr(config, "workerinput"):
        stream = open(path, "w", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed when pytest ends
        config.add_cleanup(stream.close)
        config.pluginmanager.register(_Recorder(stream), "ianus-recorder")


class _Recorder:
    def __init__(self, stream: TextIO):
        self._stream = stream
        self._told = False

    def _write(self, line: dict[str, Any]) -> None:
        self._stream.write(json.dumps(line) + "\n")

    def _collected(self, count: int) -> None:
        if not self._told:
            self._told = True
            self._write({"collected": count})

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.config.getoption("numprocesses", None) in (None, 0):
            self._collected(len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: list[str]) -> None:
        self._collected(len(ids))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        sections = dict(report.sections)
        self._write(
            {
                "id": report.nodeid,
                "when": report.when,
                "outcome": report.outcome,
                "seconds": report.duration,
                "text": report.longreprtext if report.failed else "",
                "message": _message(report) if report.failed else "",
                "reason": report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else "",
                "reproduce": sections.get("reproduce", ""),
                "stimulus": dict(report.user_properties).get("stimulus", ""),
            }
        )


def _message(report: pytest.TestReport) -> str:
    """What was raised, without the way there; of what is no traceback the last line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return crash.message if crash is not None else report.longreprtext.strip().rpartition("\n")[2]
