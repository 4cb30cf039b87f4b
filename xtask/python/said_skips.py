"""A pytest plugin: a skip is one line `SKIPPED name: why`, as every test of this project says it.

pytest's own summary of skips begins with the same word and means something else, so its report leaves them out.
"""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Takes skips out of pytest's short summary (`-r`)."""
    config.option.reportchars = "fEX"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says each skip by the name of its test (or of the file, if that could not be collected)."""
    for report in terminalreporter.stats.get("skipped", []):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.write_line(f"SKIPPED {report.nodeid}: {why.removeprefix('Skipped: ')}")
