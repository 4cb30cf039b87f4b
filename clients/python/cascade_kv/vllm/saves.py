"""Saves from host memory: right after the step, on vLLM's own thread.

Copying what a step computed takes about a thousandth of computing it. So it is done before the step returns:
nothing is in flight afterwards, and no block must be kept from being freed, preempted or overwritten.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from cascade_kv import CascadeError, NodeLost, Stored
from cascade_kv.vllm.stats import TransferStats

if TYPE_CHECKING:
    from cascade_kv.vllm.link import Link
    from cascade_kv.vllm.memory import HostMemory
    from cascade_kv.vllm.messages import Run


class Saves(Protocol):
    """What the worker asks of whoever saves."""

    def save(self, runs: Iterable[Run]) -> None:
        """Saves blocks that are full and will not change before a `fence` that names them."""

    def fence(self, blocks: Iterable[int]) -> None:
        """Once it has returned, the engine's next work may write these blocks."""

    def take_stats(self) -> TransferStats:
        """What was counted since the last call."""

    def close(self) -> None:
        """Ends what is under way."""


class HostSaves:
    """Saves at once. See `Saves`."""

    def __init__(self, memory: HostMemory, rank: int, link: Link, put_timeout_s: float) -> None:
        self._memory = memory
        self._rank = rank
        self._link = link
        self._put_timeout_s = put_timeout_s
        self._stats = TransferStats()

    def save(self, runs: Iterable[Run]) -> None:
        """Copies all runs; after the first that found no room in time, or no node, the rest of the step is
        not saved."""
        began = time.perf_counter()
        client = self._link.client()
        for run in runs:
            if client is None:
                self._stats.count("unsaved_blocks", len(run.keys))
                continue
            try:
                answers = self._memory.save(client, run, self._rank, self._put_timeout_s)
            except CascadeError as error:
                if isinstance(error, NodeLost):
                    self._link.lost(client, error)
                client = None
                self._stats.count("unsaved_blocks", len(run.keys))
                continue
            count_stored(self._stats, answers, self._memory.block_bytes[run.group])
        self._stats.count("save_seconds", time.perf_counter() - began)

    def fence(self, blocks: Iterable[int]) -> None:
        """Nothing is ever in flight."""

    def take_stats(self) -> TransferStats:
        """See `Saves`."""
        taken, self._stats = self._stats, TransferStats()
        return taken

    def close(self) -> None:
        """Nothing is ever under way."""


def count_stored(stats: TransferStats, answers: Iterable[Stored], block_bytes: int) -> None:
    """Counts what became of the puts of one run."""
    for answer in answers:
        if answer.outcome == "already_present":
            stats.count("present_blocks")
        elif answer.outcome == "refused":
            stats.count("refused_blocks")
        else:
            stats.count("saved_blocks")
            stats.count("saved_bytes", block_bytes)
