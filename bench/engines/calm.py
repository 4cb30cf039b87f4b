"""Whether anybody else is at work, be it another engine of ours: figures of a machine that others use say less."""

from __future__ import annotations

import os
import time

from engines import cpu

WATCH_S = 2.0
SETTLE_S = 1.5
"""What a request leaves behind has ended by then: stores in the background, threads of OpenMP that spin, and a
worker of vLLM's, which looks for its next order for a second without a pause."""


def settle() -> None:
    """Waits until the engine that was asked last is at rest, and leaves the processors to the next one."""
    time.sleep(SETTLE_S)


def others_cpu_ratio() -> float:
    """The share of the machine's processors that was busy while we slept. Call it when nothing of ours
    runs."""
    before_s = cpu.machine_busy_s()
    time.sleep(WATCH_S)
    return (cpu.machine_busy_s() - before_s) / (WATCH_S * (os.cpu_count() or 1))
