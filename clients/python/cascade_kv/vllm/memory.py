"""The memory that a worker's blocks live in, and how one run of blocks gets in and out of it.

Two kinds: host memory, which the client reads and writes in place, and device memory (`staging.py`). A run is
a stretch of consecutive blocks of one chain in one KV group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from cascade_kv import Client, Miss, PagedCache, Stored
from cascade_kv.vllm.messages import Run

RUN_BYTES = 4 << 20
"""What one thread copies at a time, so that a prompt is copied by all of them, and they end together: some
tenths of a millisecond."""


class Memory(Protocol):
    """What loads ask of either kind."""

    block_bytes: Sequence[int]
    """Of each KV group: the length of its pieces."""
    run_blocks: Sequence[int]
    """Of each KV group: the longest run."""

    quick: bool
    """Whether a run may be loaded on vLLM's own thread: nothing is waited for but the copying."""

    def ready(self) -> None:
        """Called on vLLM's thread before loads: what it has ordered so far comes before their writes."""

    def load(self, client: Client, run: Run, rank: int) -> list[int | Miss]:
        """Fills the blocks of a run; for each, its length or why not. Returns when they may be read. Any
        thread."""


class HostMemory:
    """KV memory that the CPU reads: bytes go straight between it and shared memory, in one verified pass."""

    quick = True

    def __init__(self, groups: Sequence[list[torch.Tensor]]) -> None:
        """`groups`: of each KV group the pages of its layers, [blocks, page_bytes] each."""
        self._groups = groups
        self._caches = [PagedCache([pages.numpy() for pages in layers]) for layers in groups]
        self.block_bytes = [cache.block_bytes for cache in self._caches]
        self.run_blocks = [max(1, RUN_BYTES // block_bytes) for block_bytes in self.block_bytes]

    def ready(self) -> None:
        """The CPU's work is done when it returns."""

    def load(self, client: Client, run: Run, rank: int) -> list[int | Miss]:
        """See `Memory`."""
        missed = set(run.block_ids)
        try:
            answers = client.get_blocks(
                self._caches[run.group], run.keys, run.block_ids, rank=rank, group=run.group
            )
            missed = {
                block for block, answer in zip(run.block_ids, answers, strict=True) if isinstance(answer, Miss)
            }
            return answers
        finally:
            # What was copied before the checksum failed may hold a NaN. The engine masks what it has not computed
            # in a block, but a masked NaN is still one: 0 times it goes into every token of the next request there.
            for block in missed:
                for pages in self._groups[run.group]:
                    pages[block].zero_()

    def save(self, client: Client, run: Run, rank: int, timeout_s: float) -> list[Stored]:
        """Stores the blocks of a run. Returns when the engine may write them again."""
        return client.put_blocks(
            self._caches[run.group],
            run.keys,
            run.block_ids,
            rank=rank,
            group=run.group,
            parent=run.parent,
            depth=run.depth,
            timeout_s=timeout_s,
        )
