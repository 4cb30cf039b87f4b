"""CPU seconds of processes, as the kernel counts them.

A process counts with all its threads. The resolution is one tick (10 ms), so what is measured should take
seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def with_descendants(roots: Iterable[int]) -> set[int]:
    """Processes and all that they started, directly or not. An engine is three processes or more."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def used_s(pids: Iterable[int]) -> float:
    """User and system time that living processes have used so far."""
    stats = [_stat(pid) for pid in pids]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats if fields) / TICKS_PER_S


def machine_busy_s() -> float:
    """Time that the processors of this machine have spent on anything, other tenants' share of it (steal)
    included."""
    words = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) for word in words)
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; none for a process that has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    # The second field, a name in parentheses, may hold blanks and parentheses itself.
    return text.rpartition(")")[2].split()
