"""The scheduler's part: what is in the cache, what to load, what to save. It moves no bytes and waits for
nothing.

What is in memory is matched here. What lower tiers have beyond that is wanted (`wishes.py`) when the request
arrives; until it is in memory, or not worth waiting for, vLLM is told to ask again.

Order of vLLM's calls for a request: `matched` (any number of times, no effect), `allocated` (a hold is taken
and the load planned), `plan` (once a step), `delivered` (the load is over), `allocated` again with nothing to
load, then `plan` at each step that computes it, `finished`. A preempted request starts again at `matched`.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from cascade_kv import CascadeError, DeadlinePassed, Hold, Miss
from cascade_kv.vllm.messages import Load, StepPlan
from cascade_kv.vllm.patience import Patience
from cascade_kv.vllm.requests import Match, Tracked, stretch
from cascade_kv.vllm.stats import TransferStats
from cascade_kv.vllm.wishes import Wish

if TYPE_CHECKING:
    from vllm.v1.core.kv_cache_manager import KVCacheBlocks
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.outputs import KVConnectorOutput
    from vllm.v1.request import Request

    from cascade_kv import Client, Namespace
    from cascade_kv.vllm.groups import Groups
    from cascade_kv.vllm.link import Link
    from cascade_kv.vllm.namespace import Namespaces


class SchedulerPart:
    """Decides; see the module. Used by vLLM's scheduler thread alone."""

    def __init__(
        self,
        groups: Groups,
        ranks: int,
        namespaces: Namespaces,
        link: Link,
        patience: Patience,
        *,
        loads: bool,
        saves: bool,
        tells_overwritten: bool,
    ) -> None:
        """`patience`: with lower tiers. `loads`, `saves`: what the engine's kv_role allows.
        `tells_overwritten`: workers save after the step, and must know which blocks a later step writes."""
        self._groups = groups
        self._shares = groups.shares(ranks)
        self._namespaces = namespaces
        self._link = link
        self._patience = patience
        self._loads = loads
        self._saves = saves
        self._tells_overwritten = tells_overwritten
        self._tracked: dict[str, Tracked] = {}
        self._new_loads: list[Load] = []
        self._stats = TransferStats()

    def arrived(self, request: Request) -> None:
        """A request was added. What lower tiers have of it is asked for now, so that the answer is there when
        the request is scheduled."""
        tracked = self._tracked[request.request_id] = Tracked(request)
        client = self._link.client()
        keys = self._keys(tracked) if client is not None and self._may_load(tracked) else None
        if client is not None and keys:
            try:
                self._wish(tracked, client, keys, 0)
            except CascadeError as error:
                self._link.lost(client, error)

    def matched(self, request: Request, local_tokens: int) -> tuple[int | None, bool]:
        """Tokens beyond vLLM's own `local_tokens` that can be loaded, and whether they are loaded in the
        background. None while lower tiers bring some: ask again at the next step.

        No effect but that it is remembered, so it may be asked again. May cover the whole prompt: vLLM then
        computes the last token again, into the loaded block. With a window that last token might need a block
        that vLLM gave up, so there the last block is left to be computed.
        """
        tracked = self._of(request)
        tracked.match = None
        client = self._link.client()
        keys = self._keys(tracked)
        if client is None or keys is None:
            return 0, False
        local_blocks = local_tokens // self._groups.block_tokens
        try:
            blocks = client.match_chain(keys, self._shares) if keys else 0
            if self._may_load(tracked):
                self._wish(tracked, client, keys, max(blocks, local_blocks))
                if self._is_waited_for(tracked, local_blocks):
                    return None, False
                if tracked.wish is not None and tracked.wish.brought_blocks:
                    blocks = client.match_chain(keys, self._shares)
        except CascadeError as error:
            tracked.end_wish()
            self._link.lost(client, error)
            return 0, False
        tracked.match = Match(blocks, local_blocks)
        if not self._may_load(tracked):
            return 0, False
        tokens = max(0, blocks * self._groups.block_tokens - local_tokens)
        return tokens, tokens > 0

    def allocated(self, request: Request, blocks: KVCacheBlocks, external_tokens: int) -> None:
        """vLLM has blocks for the request: of so many tokens the content is to be loaded."""
        tracked = self._of(request)
        match, tracked.match = tracked.match, None
        if match is None:
            return
        tracked.saved_blocks = match.blocks
        if external_tokens > 0:
            first = match.local_blocks
            last = first + external_tokens // self._groups.block_tokens
            assert first < last <= match.blocks, "vLLM accepts no more than was matched"
            self._plan_load(tracked, first, last, blocks)
        # After the hold, which takes over what was kept.
        tracked.end_wish()

    def _plan_load(self, tracked: Tracked, first: int, last: int, blocks: KVCacheBlocks) -> None:
        keys = tracked.known_keys
        to_fill = stretch(tracked.root, keys, first, last, blocks.get_block_ids())
        tracked.load = Load(tracked.request.request_id, to_fill)
        tracked.hold = self._hold(keys[:last])
        self._new_loads.append(tracked.load)
        self._stats.count("loads")

    def plan(self, step: SchedulerOutput) -> StepPlan:
        """The orders for the workers."""
        self._patience.stepped(step.total_num_scheduled_tokens, time.monotonic())
        plan = StepPlan(
            loads=self._new_loads,
            idle=step.total_num_scheduled_tokens == 0,
        )
        self._new_loads = []
        if self._tells_overwritten:
            plan.overwritten = overwritten(step, plan.loads)
        if self._saves and self._link.client() is not None:
            self._plan_saves(step, plan)
        return plan

    def delivered(self, output: KVConnectorOutput) -> None:
        """What the workers report: loads that are over, and those among them that failed."""
        for request_id in output.finished_recving or ():
            tracked = self._tracked.get(request_id)
            if tracked is None or tracked.load is None:
                continue
            failed = (
                request_id in output.failed_recving or tracked.load.blocks.ids() & output.invalid_block_ids
            )
            tracked.end_load()
            if failed:
                tracked.forget_after_failure()
                self._stats.count("failed_loads")
            if tracked.request.is_finished():
                del self._tracked[request_id]

    def finished(self, request: Request) -> None:
        """The request is over. If it is being loaded (it was aborted), that goes on, under its hold, until it
        is delivered."""
        tracked = self._tracked.get(request.request_id)
        if tracked is not None:
            tracked.end_wish()
        if tracked is not None and tracked.load is None:
            del self._tracked[request.request_id]

    def forget(self) -> None:
        """The engine was told to drop its cache: what is stored stays with those who may use it, and is not
        found any more."""
        self._namespaces.forget(secrets.token_hex(16))

    def take_stats(self) -> TransferStats | None:
        """What was counted since the last time."""
        taken, self._stats = self._stats, TransferStats()
        return None if taken.is_empty() else taken

    def close(self) -> None:
        """Gives back all holds and the connection."""
        for tracked in self._tracked.values():
            tracked.end_wish()
            tracked.end_load()
        self._tracked.clear()
        self._link.close()

    def _of(self, request: Request) -> Tracked:
        tracked = self._tracked.get(request.request_id)
        if tracked is None:
            tracked = self._tracked[request.request_id] = Tracked(request)
        return tracked

    def _may_load(self, tracked: Tracked) -> bool:
        return self._loads and not tracked.load_failed and not tracked.request.skip_reading_prefix_cache

    def _keys(self, tracked: Tracked) -> list[bytes] | None:
        """The keys of the blocks that may be loaded; None while the request has no namespace."""
        request = tracked.request
        namespace = self._namespaces.of(request.lora_request)
        if namespace is None:
            return None
        keys = tracked.keys(namespace, self._namespaces.epoch)
        if self._groups.any_windowed:
            # Left out before the match: what a window needs differs from one boundary to the next.
            keys = keys[: (request.num_tokens - 1) // self._groups.block_tokens]
        return keys

    def _wish(self, tracked: Tracked, client: Client, keys: list[bytes], had_blocks: int) -> None:
        """Asks, once, for what lower tiers have beyond what is at hand."""
        if tracked.has_wished or not self._link.has_lower_tiers or had_blocks >= len(keys):
            return
        tracked.has_wished = True
        tracked.wish = Wish(client, keys, self._shares, self._groups.block_tokens, self._patience)

    def _is_waited_for(self, tracked: Tracked, local_blocks: int) -> bool:
        """Whether a wish is still open that is worth waiting for."""
        wish = tracked.wish
        if wish is None or wish.is_settled:
            return False
        if not wish.is_over(local_blocks):
            return True
        wish.count(self._stats)
        return False

    def _hold(self, keys: list[bytes]) -> Hold | None:
        """A claim on what is to be loaded. Without one (too many at once, no node) the load may fail: it is
        then recomputed."""
        client = self._link.client()
        if client is None:
            return None
        try:
            held = client.hold(keys, self._shares)
        except CascadeError as error:
            self._link.lost(client, error)
            return None
        if isinstance(held, Miss):
            self._stats.count("loads_without_hold")
            return None
        return held

    def _plan_saves(self, step: SchedulerOutput, plan: StepPlan) -> None:
        state = step.kv_connector_block_state
        namespaces: set[Namespace] = set()
        for request_id, tokens in step.num_scheduled_tokens.items():
            tracked = self._tracked.get(request_id)
            if tracked is None:
                continue
            full = tracked.full_blocks(tokens, self._groups.block_tokens)
            if full <= tracked.saved_blocks:
                continue
            namespace = self._namespaces.of(tracked.request.lora_request)
            block_ids = state.get_block_ids(request_id) if state is not None else None
            if namespace is None or block_ids is None:
                continue
            keys = tracked.keys(namespace, self._namespaces.epoch)
            # After `keys`, which starts at 0 again if the chain has become another one.
            plan.saves.append(stretch(namespace.root, keys, tracked.saved_blocks, full, block_ids))
            tracked.saved_blocks = full
            namespaces.add(namespace)
        for namespace in namespaces:
            self._describe(namespace)

    def _describe(self, namespace: Namespace) -> None:
        """Puts what the namespace is under its root, once it is used. A slot for that may be at hand only at a
        later step."""
        client = self._link.client()
        if client is None:
            return
        try:
            client.describe(namespace, timeout_s=0)
        except DeadlinePassed:
            pass
        except CascadeError as error:
            self._link.lost(client, error)


def overwritten(step: SchedulerOutput, loads: list[Load]) -> list[int]:
    """The blocks that a step may write: those newly given to its requests, and the targets of its loads."""
    blocks: set[int] = set()
    for load in loads:
        blocks |= load.blocks.ids()
    for fresh in step.scheduled_new_reqs:
        blocks.update(*fresh.block_ids)
    for added in step.scheduled_cached_reqs.new_block_ids:
        if added is not None:
            blocks.update(*added)
    return sorted(blocks)
