"""What a run found out: figures by name, how sure each is, and why one is missing.

A figure that rests on repetitions is their median; `<name>_spread` holds the quartiles and `samples` every
value, in the order in which it was taken. A figure that could not be measured has an entry in `absent`, with
the reason, and none elsewhere: nothing is ever estimated or stood in for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Figures:
    """The figures of one run. Names end in their unit, or in `_ratio`."""

    values: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def enter(self, name: str, value: float | int) -> None:
        """One value that was measured once, or is a count."""
        self.values[name] = value

    def enter_samples(self, name: str, samples: Sequence[float]) -> None:
        """The median of repetitions, with its spread. There must be at least one."""
        assert samples, f"{name} was never measured"
        self.samples[name] = list(samples)
        self.values[name] = quantile(samples, 0.5)
        self.values[f"{name}_spread"] = [quantile(samples, 0.25), quantile(samples, 0.75)]

    def enter_ratio(self, name: str, subject: Sequence[float], reference: Sequence[float]) -> None:
        """The median of subject over reference, pair by pair: what disturbed one of a pair disturbed the
        other."""
        self.enter_samples(name, [ours / theirs for ours, theirs in zip(subject, reference, strict=True)])

    def leave_out(self, name: str, why: str) -> None:
        """Says why a figure is not there. The first reason stays."""
        self.absent.setdefault(name, why)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for a report."""
        return {**self.values, "absent": self.absent, "samples": self.samples}


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the others is not above (nearest rank, as in the reports of
    cascade-bench)."""
    ordered = sorted(values)
    return ordered[round((len(ordered) - 1) * share)]
