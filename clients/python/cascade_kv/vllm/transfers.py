"""Loads in the background: a few threads copy blocks from the cache into the engine's memory while the model
runs. Where it does not run, for want of these blocks, vLLM's own thread copies with them.

Every load that is started is reported exactly once, whatever happens on the way: vLLM waits for it for ever.
Blocks that could not be filled are named, and computed instead.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cascade_kv import CascadeError, Client, Miss, NodeLost
from cascade_kv.vllm.stats import TransferStats

if TYPE_CHECKING:
    from cascade_kv.vllm.link import Link
    from cascade_kv.vllm.memory import Memory
    from cascade_kv.vllm.messages import Load, Run

log = logging.getLogger("vllm.cascade")


@dataclass(slots=True)
class Progress:
    """A load under way."""

    request_id: str
    runs_left: int
    failed: set[int] = field(default_factory=set)
    """Block numbers that could not be filled."""


class Loads:
    """The loads of one worker. `start` and `finished` are for vLLM's thread."""

    def __init__(self, memory: Memory, rank: int, link: Link, threads: int) -> None:
        self._memory = memory
        self._rank = rank
        self._link = link
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "cascade-load", initializer=run_anywhere)
        self._waiting: deque[tuple[Progress, Run]] = deque()
        """Runs that no thread has begun with. A thread takes the next in a single step of the interpreter."""
        self._changed = threading.Condition()
        self._under_way = 0
        self._finished: list[Progress] = []
        self._stats = TransferStats()

    def start(self, load: Load) -> None:
        """Starts filling the blocks of a request. Returns at once."""
        runs = [
            run
            for group, limit in enumerate(self._memory.run_blocks)
            for run in load.blocks.runs(group, limit)
        ]
        progress = Progress(load.request_id, len(runs))
        with self._changed:
            self._under_way += 1
            if not runs:
                self._end(progress)
        self._waiting.extend((progress, run) for run in runs)
        for _ in range(min(self._threads, len(runs))):
            self._pool.submit(self._drain)

    def finished(self, patience_s: float = 0.0) -> list[Progress]:
        """The loads that ended since the last call. If there are none, but some are under way, works on them,
        or waits, until one ends: for about so long."""
        until_s = time.monotonic() + patience_s
        while not self._finished and self._under_way and time.monotonic() < until_s:
            if not self._memory.quick or not self._fill_next():
                with self._changed:
                    self._changed.wait_for(lambda: self._finished, until_s - time.monotonic())
        with self._changed:
            done, self._finished = self._finished, []
            return done

    def take_stats(self) -> TransferStats:
        """What was counted since the last call."""
        with self._changed:
            taken, self._stats = self._stats, TransferStats()
            return taken

    def close(self) -> None:
        """Waits for what is being copied, and leaves the rest; the memory is the engine's again."""
        self._waiting.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _drain(self) -> None:
        while self._fill_next():
            pass

    def _fill_next(self) -> bool:
        """Fills the blocks of the next run, and says whether there was one. Any thread."""
        try:
            progress, run = self._waiting.popleft()
        except IndexError:
            return False
        self._run(progress, run)
        return True

    def _run(self, progress: Progress, run: Run) -> None:
        stats = TransferStats()
        failed = set(run.block_ids)
        try:
            failed = self._fill(run, stats)
        except Exception:
            # Anything at all: an exception that ended here unreported would hang the request.
            log.exception("cascade: loading %d blocks failed; they are computed instead", len(run.keys))
            stats.count("missed_unreachable", len(run.keys))
        finally:
            with self._changed:
                self._stats.aggregate(stats)
                progress.failed |= failed
                progress.runs_left -= 1
                if not progress.runs_left:
                    self._end(progress)

    def _end(self, progress: Progress) -> None:
        self._under_way -= 1
        self._finished.append(progress)
        self._changed.notify_all()

    def _fill(self, run: Run, stats: TransferStats) -> set[int]:
        client = self._link.client()
        if client is None:
            stats.count("missed_unreachable", len(run.keys))
            return set(run.block_ids)
        began = time.perf_counter()
        try:
            answers = self._memory.load(client, run, self._rank)
        except CascadeError as error:
            if isinstance(error, NodeLost):
                self._link.lost(client, error)
            stats.count("missed_unreachable", len(run.keys))
            return set(run.block_ids)
        stats.count("load_seconds", time.perf_counter() - began)
        failed: set[int] = set()
        block_bytes = self._memory.block_bytes[run.group]
        for key, block, answer in zip(run.keys, run.block_ids, answers, strict=True):
            if answer == block_bytes:
                stats.count("loaded_blocks")
                stats.count("loaded_bytes", block_bytes)
            else:
                failed.add(block)
                stats.count(self._reason(client, key, run.group, answer))
        return failed

    def _reason(self, client: Client, key: bytes, group: int, answer: int | Miss) -> str:
        """The figure that an unfilled block adds to. A piece of another length than a block can never be of use: it is
        dropped, so that the right one can be put."""
        if not isinstance(answer, Miss) or answer.reason in ("too_short", "too_long"):
            client.discard(key, rank=self._rank, group=group)
            return "missed_length"
        return "missed_corrupt" if answer.reason == "corrupt" else "missed_absent"


def run_anywhere() -> None:
    """Lets the calling thread run on every processor that a thread of this process may run on.

    A new thread inherits its processors, and OpenMP may have bound the engine's own thread to a single one: there
    all loading threads would wait for it, and it for them. Where this is not allowed, that is how it stays.
    """
    with suppress(OSError):
        processors: set[int] = set()
        for thread in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):
                processors |= os.sched_getaffinity(int(thread))
        os.sched_setaffinity(0, processors)
