"""What the scheduler tells the workers, once a step.

Plain values only: keys, block numbers, request ids. vLLM carries them between its own processes in its own
way; Cascade neither serialises nor reads them. A block number of 0 is vLLM's null block: a block outside of
the attention window, which is neither loaded nor saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorMetadata

NULL_BLOCK = 0


@dataclass(slots=True)
class Blocks:
    """Consecutive blocks of one chain, and where vLLM keeps them.

    Invariant: every list of `block_ids` (one per KV group) is as long as `keys`.
    """

    first: int
    """Blocks of the chain before the first of these."""
    parent: bytes
    """Key of the block before the first; at the start of a chain the namespace's root."""
    keys: list[bytes]
    block_ids: tuple[list[int], ...]

    def __post_init__(self) -> None:
        assert all(len(ids) == len(self.keys) for ids in self.block_ids), "a block number per key and group"

    def runs(self, group: int, limit: int) -> Iterator[Run]:
        """The stretches of one group that are there (no null blocks), of at most `limit` blocks each."""
        ids = self.block_ids[group]
        start = 0
        while start < len(ids):
            if ids[start] == NULL_BLOCK:
                start += 1
                continue
            stop = start + 1
            while stop < len(ids) and stop - start < limit and ids[stop] != NULL_BLOCK:
                stop += 1
            parent = self.keys[start - 1] if start else self.parent
            # The root is the first of every chain.
            yield Run(group, self.first + start + 1, parent, self.keys[start:stop], ids[start:stop])
            start = stop

    def ids(self) -> set[int]:
        """All block numbers but the null block."""
        return {block for ids in self.block_ids for block in ids} - {NULL_BLOCK}


@dataclass(slots=True)
class Run:
    """Consecutive blocks of one chain in one KV group: what one call of the client moves."""

    group: int
    depth: int
    """Blocks between the first of these and the start of everything: those before it, and the namespace's
    root."""
    parent: bytes
    keys: Sequence[bytes]
    block_ids: Sequence[int]


@dataclass(slots=True)
class Load:
    """A request whose blocks are to be filled from the cache while it waits."""

    request_id: str
    blocks: Blocks


@dataclass(slots=True)
class StepPlan(KVConnectorMetadata):
    """The orders of one step."""

    loads: list[Load] = field(default_factory=list)
    saves: list[Blocks] = field(default_factory=list)
    """Blocks that are full once this step has run."""
    overwritten: list[int] = field(default_factory=list)
    """Block numbers that this step may write: what still reads them must be done before."""
    idle: bool = False
    """No token is computed in this step."""
