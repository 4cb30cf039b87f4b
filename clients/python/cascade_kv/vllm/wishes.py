"""What a request wants from lower tiers: first asked where it lies, then brought into memory, while nobody
waits.

A wish is polled; it is over when all came that was worth waiting for, when the node says that it does not, or
when the time that `Patience` gave has passed, whatever the node does then. What it brought the node keeps
until it is released.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cascade_kv import Client, Pending, Promotion
    from cascade_kv._native import Located
    from cascade_kv.vllm.groups import Share
    from cascade_kv.vllm.patience import Patience
    from cascade_kv.vllm.stats import TransferStats

LOCATE_S = 0.05
"""How long the node may take to say where a chain lies. It looks at its books; but it may hang."""
GRACE_S = 0.02
"""How long after the time that was given the node's own word for its end is waited for."""


class Wish:
    """See the module. Used by the scheduler's thread alone. Raises `CascadeError` where the client does."""

    def __init__(
        self,
        client: Client,
        keys: Sequence[bytes],
        shares: Sequence[Share],
        block_tokens: int,
        patience: Patience,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Asks where the chain lies. Does not wait."""
        self._client = client
        self._keys = keys
        self._shares = shares
        self._block_tokens = block_tokens
        self._patience = patience
        self._clock = clock
        self._locating: Pending[Located] | None = client.locate_async(keys, shares, timeout_s=LOCATE_S)
        self._promoting: Pending[Promotion] | None = None
        self._promotion: Promotion | None = None
        self._had_blocks = 0
        self._began_s = clock()
        self._give_up_s = self._began_s + LOCATE_S + GRACE_S
        self.brought_blocks = 0
        """Blocks that came."""
        self.waited_s = 0.0
        """For how long they were waited for, from when they were asked for."""
        self.shortfall: str | None = None
        """Why not all came that was asked for: a reason of the node's, or "late"."""

    @property
    def is_settled(self) -> bool:
        """Whether `is_over` has said so."""
        return self._locating is None and self._promoting is None

    def is_over(self, own_blocks: int) -> bool:
        """Whether there is nothing more to wait for. `own_blocks`: leading blocks that the engine has itself,
        which nobody needs to bring."""
        if self._locating is not None:
            located = self._locating.poll()
            if located is None:
                return self._is_late()
            self._locating = None
            self._ask_for(located.blocks, max(located.memory_blocks, own_blocks))
        if self._promoting is not None:
            promotion = self._promoting.poll()
            if promotion is None:
                return self._is_late()
            self._arrived(promotion)
        return True

    def count(self, stats: TransferStats) -> None:
        """Adds what became of it, once it is over."""
        if self.brought_blocks:
            stats.count("promotions")
            stats.count("promoted_blocks", self.brought_blocks)
        if self.shortfall is not None:
            stats.count("promotions_short")
        stats.count("promotion_seconds", self.waited_s)

    def release(self) -> None:
        """Lets go of what was brought, and gives up what was not."""
        self._locating = self._promoting = None
        if self._promotion is not None:
            self._promotion.release()
            self._promotion = None

    def _ask_for(self, blocks: int, had_blocks: int) -> None:
        if blocks <= had_blocks:
            return
        patience_s = self._patience.of((blocks - had_blocks) * self._block_tokens)
        if not patience_s:
            return
        self._had_blocks, self._began_s = had_blocks, self._clock()
        self._give_up_s = self._began_s + patience_s + GRACE_S
        self._promoting = self._client.promote_async(self._keys[:blocks], self._shares, timeout_s=patience_s)

    def _arrived(self, promotion: Promotion) -> None:
        self._promoting, self._promotion = None, promotion
        self.brought_blocks = max(0, promotion.blocks - self._had_blocks)
        self.waited_s = self._clock() - self._began_s
        self.shortfall = promotion.reason
        # What the node did not try says nothing of its tiers' speed.
        if self.shortfall in (None, "expired"):
            self._patience.brought(self.brought_blocks * self._block_tokens, self.waited_s)

    def _is_late(self) -> bool:
        if self._clock() < self._give_up_s:
            return False
        if self._promoting is not None:
            self.waited_s = self._clock() - self._began_s
            self.shortfall = "late"
            self._patience.brought(0, self.waited_s)
        self.release()
        return True
