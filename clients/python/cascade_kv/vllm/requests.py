"""What the scheduler knows of one request: its keys, how far it is saved, what it wants from lower tiers, and a
load under way.

Invariants: `keys` are those of the leading blocks of the request as it is now; a request whose load failed
once is never offered another; a hold lives as long as the load that it protects; lower tiers are waited for
once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cascade_kv.vllm.messages import Blocks, Load

if TYPE_CHECKING:
    from vllm.v1.request import Request

    from cascade_kv import Hold, Namespace
    from cascade_kv.vllm.wishes import Wish


@dataclass(frozen=True)
class Match:
    """What was found for a request when vLLM last asked."""

    blocks: int
    """Leading blocks of which every piece was there."""
    local_blocks: int
    """Leading blocks that vLLM has itself."""


class Tracked:
    """One request, from its arrival to its end."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.match: Match | None = None
        """None once it was acted on."""
        self.saved_blocks = 0
        """Leading blocks that are in the cache as far as we know: believed until a load fails."""
        self.load: Load | None = None
        self.hold: Hold | None = None
        self.load_failed = False
        self.wish: Wish | None = None
        """What it wants from lower tiers, until its load is planned."""
        self.has_wished = False
        self.root = b""
        """The root of the namespace that the keys are in."""
        self._keys: list[bytes] = []
        self._last_hash: bytes | None = None
        self._epoch = -1

    def keys(self, namespace: Namespace, epoch: int) -> list[bytes]:
        """The keys of all whole blocks. Each is made once: a prompt of 65,536 blocks is asked about at every
        step.

        vLLM's hashes are chained, so if the last one that we know is still in its place, all before it are.
        If not (a streaming session drops blocks), all is forgotten, the saved blocks too.
        """
        self.root = namespace.root
        hashes = self.request.block_hashes
        known = len(self._keys)
        moved = known and (len(hashes) < known or bytes(hashes[known - 1]) != self._last_hash)
        if moved or epoch != self._epoch:
            self._keys, self._epoch, self.saved_blocks, self.match = [], epoch, 0, None
            known = 0
        if len(hashes) > known:
            fresh = [bytes(value) for value in hashes[known:]]
            self._keys.extend(namespace.wrap(fresh))
            self._last_hash = fresh[-1]
        return self._keys

    @property
    def known_keys(self) -> list[bytes]:
        """The keys as `keys` returned them last."""
        return self._keys

    def full_blocks(self, scheduled_tokens: int, block_tokens: int) -> int:
        """Leading blocks that are full of confirmed tokens, all computed, once a step of so many tokens has
        run.

        A block has a hash only when all its tokens are confirmed, so drafts that may be rejected never count.
        """
        computed = self.request.num_computed_tokens + scheduled_tokens
        return min(computed // block_tokens, len(self.request.block_hashes))

    def end_wish(self) -> None:
        """Nothing is wanted from lower tiers any more; what they brought is kept no longer."""
        if self.wish is not None:
            self.wish.release()
            self.wish = None

    def end_load(self) -> None:
        """The load is over, however it went."""
        self.load = None
        if self.hold is not None:
            self.hold.release()
            self.hold = None

    def forget_after_failure(self) -> None:
        """A load failed: no more of them for this request, and what it computes anew is saved anew."""
        self.load_failed = True
        self.saved_blocks = 0


def stretch(
    root: bytes, keys: list[bytes], first: int, last: int, block_ids: tuple[list[int], ...]
) -> Blocks:
    """The blocks from `first` up to `last` of a chain in the namespace with that root. `block_ids`: of each
    group, for the whole request."""
    return Blocks(
        first=first,
        parent=keys[first - 1] if first else root,
        keys=keys[first:last],
        block_ids=tuple(list(ids[first:last]) for ids in block_ids),
    )
