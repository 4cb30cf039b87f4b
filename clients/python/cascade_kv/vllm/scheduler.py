"""The scheduler's part: what is in the cache, what to load, what to save. It moves no bytes and waits for
nothing.

Order of vLLM's calls for a request: `matched` (any number of times, no effect), `allocated` (a hold is taken
and the load planned), `plan` (once a step), `delivered` (the load is over), `allocated` again with nothing to
load, then `plan` at each step that computes it, `finished`. A preempted request starts again at `matched`.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from cascade_kv import CascadeError, Hold, Miss
from cascade_kv.vllm.messages import Load, StepPlan
from cascade_kv.vllm.requests import Match, Tracked, stretch
from cascade_kv.vllm.stats import TransferStats

if TYPE_CHECKING:
    from vllm.v1.core.kv_cache_manager import KVCacheBlocks
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.outputs import KVConnectorOutput
    from vllm.v1.request import Request

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
        *,
        loads: bool,
        saves: bool,
        tells_overwritten: bool,
    ) -> None:
        """`loads`, `saves`: what the engine's kv_role allows. `tells_overwritten`: workers save after the
        step, and must know which blocks a later step writes."""
        self._groups = groups
        self._shares = groups.shares(ranks)
        self._namespaces = namespaces
        self._link = link
        self._loads = loads
        self._saves = saves
        self._tells_overwritten = tells_overwritten
        self._tracked: dict[str, Tracked] = {}
        self._new_loads: list[Load] = []
        self._stats = TransferStats()

    def arrived(self, request: Request) -> None:
        """A request was added."""
        self._tracked[request.request_id] = Tracked(request)

    def matched(self, request: Request, local_tokens: int) -> tuple[int, bool]:
        """Tokens beyond vLLM's own `local_tokens` that can be loaded, and whether they are loaded in the
        background.

        No effect but that it is remembered, so it may be asked again. May cover the whole prompt: vLLM then
        computes the last token again, into the loaded block. With a window that last token might need a block
        that vLLM gave up, so there the last block is left to be computed.
        """
        tracked = self._of(request)
        tracked.match = None
        client = self._link.client()
        namespace = self._namespaces.of(request.lora_request)
        if client is None or namespace is None:
            return 0, False
        keys = tracked.keys(namespace, self._namespaces.epoch)
        if self._groups.any_windowed:
            # Left out before the match: what a window needs differs from one boundary to the next.
            keys = keys[: (request.num_tokens - 1) // self._groups.block_tokens]
        try:
            blocks = client.match_chain(keys, self._shares) if keys else 0
        except CascadeError as error:
            self._link.lost(client, error)
            return 0, False
        tracked.match = Match(blocks, local_tokens // self._groups.block_tokens)
        if not self._loads or tracked.load_failed or request.skip_reading_prefix_cache:
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
        if external_tokens <= 0:
            return
        first = match.local_blocks
        last = first + external_tokens // self._groups.block_tokens
        assert first < last <= match.blocks, "vLLM accepts no more than was matched"
        keys = tracked.known_keys
        tracked.load = Load(request.request_id, stretch(keys, first, last, blocks.get_block_ids()))
        tracked.hold = self._hold(keys[:last])
        self._new_loads.append(tracked.load)
        self._stats.count("loads")

    def plan(self, step: SchedulerOutput) -> StepPlan:
        """The orders for the workers."""
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
            tracked.end_load()
        self._tracked.clear()
        self._link.close()

    def _of(self, request: Request) -> Tracked:
        tracked = self._tracked.get(request.request_id)
        if tracked is None:
            tracked = self._tracked[request.request_id] = Tracked(request)
        return tracked

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
            plan.saves.append(stretch(keys, tracked.saved_blocks, full, block_ids))
            tracked.saved_blocks = full


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
