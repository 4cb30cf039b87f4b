"""Where the chunks of a job stand in their chains.

vLLM hands a tier sets of keys, in no order; the request they come from knows how many tokens each one ends
at. From that follow order, depth and parent, and with them what eviction and holds of the node rest on. A
chunk of which it is not known (the tail of a prompt that recurrent state ends in) goes as a chain of its
own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from vllm.v1.kv_offload.base import OffloadKey, ReqContext, get_offload_block_hash, get_offload_group_idx


@dataclass(slots=True)
class Run:
    """Consecutive chunks of one chain in one KV group, and their rows in the primary tier (none where no
    bytes move)."""

    group: int
    depth: int
    """Of the first chunk in its chain."""
    parent: bytes | None
    """vLLM's hash of the chunk before the first; None at the start of a chain (depth 0), and where it is not
    known."""
    keys: list[OffloadKey]
    rows: list[int]

    def hashes(self) -> list[bytes]:
        """vLLM's hashes of the chunks."""
        return [get_offload_block_hash(key) for key in self.keys]

    def parts(self, limit: int) -> Iterator[Run]:
        """The same in runs of at most `limit` chunks."""
        for start in range(0, len(self.keys), limit):
            parent = get_offload_block_hash(self.keys[start - 1]) if start else self.parent
            stop = start + limit
            yield Run(self.group, self.depth + start, parent, self.keys[start:stop], self.rows[start:stop])


@dataclass(slots=True)
class Chain:
    """The chunks of one request, as far as vLLM has hashed them. Used by the scheduler's thread alone."""

    chunk_tokens: int
    _keys: dict[int, list[OffloadKey]] = field(default_factory=dict)
    """Of each KV group, from the first chunk of the prompt."""
    _seen: int = 0

    def follow(self, request: ReqContext) -> None:
        """Takes up the chunks that were hashed since the last time."""
        # A request tells the place of a key that it is shown; only its table also names the one before.
        positions = request._offload_key_positions
        for key, end_tokens in islice(positions.items(), self._seen, None):
            known = self._keys.setdefault(get_offload_group_idx(key), [])
            if end_tokens == (len(known) + 1) * self.chunk_tokens:
                known.append(key)
        self._seen = len(positions)

    def runs(self, request: ReqContext, keys: list[OffloadKey], rows: list[int]) -> list[Run]:
        """The chunks of a job as runs, shallow ones first: no chunk is put before its parent."""
        self.follow(request)
        placed: list[tuple[int, int, OffloadKey, int]] = []
        lone: list[Run] = []
        for key, row in zip(keys, rows, strict=True):
            group = get_offload_group_idx(key)
            end_tokens = request.get_offload_key_position(key)
            if end_tokens is None or end_tokens % self.chunk_tokens:
                lone.append(Run(group, 0, None, [key], [row]))
            else:
                placed.append((group, end_tokens // self.chunk_tokens - 1, key, row))
        runs: list[Run] = []
        for group, depth, key, row in sorted(placed):
            if not runs or runs[-1].group != group or depth != runs[-1].depth + len(runs[-1].keys):
                runs.append(Run(group, depth, self._before(group, depth), [], []))
            runs[-1].keys.append(key)
            runs[-1].rows.append(row)
        return sorted(runs, key=lambda run: run.depth) + lone

    def whole(self) -> list[Run]:
        """All that is known of the chain, one run a group; no rows."""
        return [Run(group, 0, None, list(keys), []) for group, keys in self._keys.items()]

    def of(self, group: int) -> list[OffloadKey]:
        """The chunks of one group, as far as they are known, from the first of the prompt."""
        return self._keys.get(group, [])

    def _before(self, group: int, depth: int) -> bytes | None:
        known = self._keys.get(group, [])
        return get_offload_block_hash(known[depth - 1]) if 0 < depth <= len(known) else None
