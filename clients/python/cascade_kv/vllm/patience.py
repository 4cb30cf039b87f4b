"""How long it pays to wait for what lower tiers have of a prompt: never longer than computing it would take.

Two speeds decide, both in tokens per second: that of prefill, which the steps of the engine tell once there
were some (until then it is assumed), and that of the lower tiers, which what they brought tells. The first
request of all waits for half of the time of computing, so that a fresh engine over a good store begins warm.
Of tiers that turned out to be slower than prefill only a small part of it is waited for, and only now and
then: to find out whether they have become faster.

Pure: the clock is the caller's.
"""

from __future__ import annotations

import statistics
from collections import deque

PREFILL_STEP_TOKENS = 256
"""Steps of fewer tokens are of decoding, whose time says nothing of prefill."""
STEPS = 9
"""Steps that the speed of prefill is the median of: a pause of the engine, or two steps planned at once, are
outliers."""
FADE = 0.8
"""What earlier experience of the tiers counts for beside a new one."""
WORTHWHILE = 0.75
"""Tiers that need more of the time of computing than this are slow."""
SLACK = 2.0
"""What is waited for beside what is expected."""
FIRST = 0.5
"""The part of the time of computing that is risked on tiers of which nothing is known."""
PROBE = 0.04
"""The part of it that is risked on slow ones."""
LARGEST_PROBE = 0.32
"""The same where smaller ones were over before anything came."""
PROBE_EVERY = 16
"""Of slow tiers every so manieth request is risked."""


class Patience:
    """See the module. Used by the scheduler's thread alone."""

    def __init__(self, prefill_tokens_per_s: float) -> None:
        """`prefill_tokens_per_s`: assumed until steps tell."""
        self._assumed = prefill_tokens_per_s
        self._rates: deque[float] = deque(maxlen=STEPS)
        self._last_step: tuple[int, float] | None = None
        self._brought_tokens = 0.0
        self._waited_s = 0.0
        self._probe = PROBE
        self._passed_over = 0

    @property
    def prefill_tokens_per_s(self) -> float:
        """How fast the engine computes prompts."""
        return statistics.median(self._rates) if len(self._rates) >= STEPS // 2 else self._assumed

    @property
    def tier_tokens_per_s(self) -> float | None:
        """How fast the lower tiers bring what was asked for; None while that is not known."""
        return self._brought_tokens / self._waited_s if self._waited_s > 0 else None

    def stepped(self, tokens: int, now_s: float) -> None:
        """A step of so many tokens is planned: the one before is computed."""
        if self._last_step is not None:
            before, since_s = self._last_step
            if before >= PREFILL_STEP_TOKENS and now_s > since_s:
                self._rates.append(before / (now_s - since_s))
        self._last_step = tokens, now_s

    def brought(self, tokens: int, waited_s: float) -> None:
        """So many tokens came from lower tiers while they were waited for."""
        self._brought_tokens = FADE * self._brought_tokens + tokens
        self._waited_s = FADE * self._waited_s + waited_s
        self._probe = PROBE if tokens else min(2 * self._probe, LARGEST_PROBE)

    def of(self, tokens: int) -> float:
        """Seconds that may be waited for so many tokens; 0: compute them."""
        computing_s = tokens / self.prefill_tokens_per_s
        tier = self.tier_tokens_per_s
        if tier is None:
            return FIRST * computing_s
        if tier * WORTHWHILE < self.prefill_tokens_per_s:
            self._passed_over = (self._passed_over + 1) % PROBE_EVERY
            return 0.0 if self._passed_over else self._probe * computing_s
        expected_s = tokens / tier
        return min(computing_s, max(SLACK * expected_s, PROBE * computing_s))
