"""Waiting for what another process will do. How long it takes decides no verdict; that it never happens does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 120.0
"""Far above what anything here takes on two busy cores."""
PAUSE_S = 0.05


def until(what: str, probe: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Asks until the answer is true, and returns it. `AssertionError` names `what` never was."""
    deadline = time.monotonic() + patience_s
    while True:
        answer = probe()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {patience_s:.0f} s: {what}"
        time.sleep(PAUSE_S)
