"""Whether anybody else is at work, be it another engine of ours: figures of a machine that others use say less."""

from __future__ import annotations

import os
import time

from engines import cpu

WATCH_S = 2.0
SETTLE_S = 0.5
"""What a request leaves behind (threads that spin, stores in the background) has ended by then."""


def settle() -> None:
    """Waits until the engine that was asked last is at rest: its threads spin on for a while, on the processors
    that the next engine wants."""
    time.sleep(SETTLE_S)


def others_cpu_ratio() -> float:
    """The share of the machine's processors that was busy while we slept. Call it when nothing of ours
    runs."""
    before_s = cpu.machine_busy_s()
    time.sleep(WATCH_S)
    return (cpu.machine_busy_s() - before_s) / (WATCH_S * (os.cpu_count() or 1))
