"""The figures for people: one a line, with their spread; then what is absent, and why."""

from __future__ import annotations

from typing import Any

from engines.figures import Figures

WIDTH = 36


def table(figures: Figures, origin: dict[str, Any]) -> str:
    """All of it as text."""
    versions = ", ".join(f"{name} {version or 'absent'}" for name, version in origin["versions"].items())
    host = origin["host"]
    lines = [f"{origin['commit']} on {host['cpus']} x {host['cpu_model']}, {host['kernel']}", versions, ""]
    for name, value in figures.values.items():
        if name.endswith("_spread"):
            continue
        lower, upper = figures.values.get(f"{name}_spread", (None, None))
        spread = f"  ({_short(lower)} .. {_short(upper)})" if lower is not None else ""
        lines.append(f"{name:<{WIDTH}}{_short(value)}{spread}")
    lines += [f"{name:<{WIDTH}}absent: {why.splitlines()[0]}" for name, why in figures.absent.items()]
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) and value < 1000 else f"{value:.0f}"
