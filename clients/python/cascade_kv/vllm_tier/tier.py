"""CascadeTier: what vLLM's scheduler asks of a tier, each call answered at once.

`lookup` looks into shared memory and says HIT or MISS, or RETRY while lower tiers bring what they have of the
request's chain (`cascade_kv.vllm.wishes`). `submit_load` claims what was found, so that it is not evicted in between, and hands the copying to threads, as
`submit_store` does. A tier without a node answers MISS and drops what it is given; the link looks for the
node in the background.

All methods run on vLLM's scheduler thread, and none of them waits, except `drain_jobs` and `shutdown`,
which are to.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from vllm.v1.kv_offload.base import (
    Locality,
    LookupResult,
    Medium,
    OffloadingMetricMetadata,
    OffloadKey,
    ReqContext,
    RequestOffloadingContext,
    get_offload_block_hash,
    get_offload_group_idx,
)
from vllm.v1.kv_offload.tiering.base import JobResult, SecondaryTierManager, TransferJob

from cascade_kv import CascadeError, Client, Hold, Namespace
from cascade_kv.vllm.link import Link
from cascade_kv.vllm.namespace import Namespaces
from cascade_kv.vllm.patience import Patience
from cascade_kv.vllm.settings import Settings
from cascade_kv.vllm.stats import TransferStats
from cascade_kv.vllm.support import Unsupported
from cascade_kv.vllm.wishes import Wish
from cascade_kv.vllm_tier.chains import Chain
from cascade_kv.vllm_tier.engine import Engine
from cascade_kv.vllm_tier.jobs import Job, Outcome, UnderWay
from cascade_kv.vllm_tier.metrics import definitions, report
from cascade_kv.vllm_tier.mover import Mover
from cascade_kv.vllm_tier.threads import Priority, Threads

if TYPE_CHECKING:
    from vllm.distributed.kv_transfer.kv_connector.v1.offloading.metrics import OffloadingConnectorStats
    from vllm.v1.kv_offload.tiering.backpressure import BackpressureDetector
    from vllm.v1.kv_offload.tiering.spec import TieringOffloadingSpec


LOAD_BYTES = 16 << 20
"""What one thread loads at a time, so that a long prompt is copied by all of them."""

PUT_TIMEOUT_MS = 100
"""How long a put may wait, by default: more than the connector's, since no step of the engine waits for
it."""


class CascadeTier(SecondaryTierManager):
    """The node of this machine as a tier below vLLM's primary one. See the module."""

    medium: ClassVar[Medium] = Medium.CPU
    """Hits count as vLLM's cache hits from host memory."""

    def __init__(
        self,
        offloading_spec: TieringOffloadingSpec,
        primary_kv_view: memoryview,
        tier_type: str,
        backpressure_detector: BackpressureDetector | None = None,
        **settings: Any,
    ) -> None:
        """`settings`: the rest of the tier's entry in `secondary_tiers`. Raises `Unsupported` with the
        setting or flag to change; never for want of a node."""
        super().__init__(offloading_spec, primary_kv_view, tier_type, backpressure_detector)
        self.locality = Locality.LOCAL
        chosen = settings_of(settings)
        engine = Engine.under_construction()
        engine.check()
        self._groups = engine.groups()
        self._blocks_per_chunk = offloading_spec.blocks_per_chunk
        identity = engine.identity(self._groups, offloading_spec, chosen)
        self._patience = Patience(chosen.prefill_tokens_per_s)
        self._chunk_tokens = identity.block_tokens
        self._namespaces = Namespaces(identity)
        self._link = Link(f"tier {tier_type}", instance=chosen.instance, socket=chosen.socket)
        self._mover = Mover(primary_kv_view, self._link, chosen.put_timeout_ms / 1000)
        self._threads = Threads(chosen.load_threads)
        self._chunks_a_part = max(1, LOAD_BYTES // self.block_size_bytes)
        self._under_way: dict[int, UnderWay] = {}
        self._ended: deque[Outcome] = deque()
        """Of jobs and parts of jobs: filled by the threads, emptied by the scheduler's."""
        self._failed: dict[str, set[OffloadKey]] = {}
        """Of each request that is not finished: chunks that could not be loaded for it."""
        self._wishes: dict[tuple[str, int], Wish] = {}
        """Of each request that is not finished, in each KV group: what it wanted from lower tiers."""
        self._stats = TransferStats()
        self._link.open()

    # ---- what vLLM asks while it schedules

    def lookup(self, key: OffloadKey, req_context: ReqContext) -> LookupResult:
        """Whether the node has the chunk in memory at this moment, or may soon have. A chunk that failed this
        request once is not offered to it again."""
        client = self._link.client()
        if client is None or key in self._failed.get(req_context.req_id, ()):
            return LookupResult.MISS
        wrapped, group = self._namespace().wrap([get_offload_block_hash(key)])[0], get_offload_group_idx(key)
        try:
            there = client.contains(wrapped, group=group)
            if not there:
                self._wish(client, key, req_context)
            is_coming = self._is_waited_for(req_context, group)
            # It may be what was waited for.
            there = there or client.contains(wrapped, group=group)
        except CascadeError as error:
            self._end_wishes(req_context)
            self._link.lost(client, error)
            return LookupResult.MISS
        if there:
            return LookupResult.HIT
        return LookupResult.RETRY if is_coming else LookupResult.MISS

    def submit_load(self, job_metadata: TransferJob) -> None:
        """Claims the chunks and has them copied into their rows, by all threads."""
        job = self._job(job_metadata)
        self._stats.count("loads")
        self._start(Priority.LOAD, job, list(job.parts(self._chunks_a_part)), self._hold(job))

    def submit_store(self, job_metadata: TransferJob) -> None:
        """Has the chunks copied into the node, by one thread, since parents go first."""
        job = self._job(job_metadata)
        self._start(Priority.STORE, job, [job], [])

    def get_finished_jobs(self) -> Iterable[JobResult]:
        """What became of jobs since the last call."""
        results = []
        while self._ended:
            part = self._ended.popleft()
            under_way = self._under_way[part.job.number]
            under_way.outcome.add(part)
            under_way.parts_left -= 1
            if not under_way.parts_left:
                results.append(self._end(self._under_way.pop(part.job.number)))
        return results

    def on_new_request(self, req_context: ReqContext) -> RequestOffloadingContext:
        """A request was added. Chunks are kept as they are computed."""
        self._failed[req_context.req_id] = set()
        return RequestOffloadingContext()

    def on_request_finished(self, req_context: ReqContext) -> None:
        """The request is over. What it shared with others was in use, also where vLLM had it closer by."""
        self._failed.pop(req_context.req_id, None)
        self._end_wishes(req_context)
        chain = self._chain(req_context)
        chain.follow(req_context)
        self._threads.submit(Priority.TOUCH, partial(self._mover.touch, self._namespace(), chain.whole()))

    # ---- the engine's life

    def drain_jobs(self) -> None:
        """Returns when no transfer touches the primary tier. vLLM asks for it when it is told to forget its
        cache (sleep, other weights): what is in the node stays there for others, and this engine finds none
        of it any more."""
        self._threads.drain()
        self._namespaces.forget(secrets.token_hex(16))

    def shutdown(self) -> None:
        """Stores what was handed over, and lets go of threads, connection and the primary tier."""
        self._threads.stop()
        for wish in self._wishes.values():
            wish.release()
        self._wishes.clear()
        self._mover.close()
        self._link.close()

    @classmethod
    def build_metric_definitions(cls, extra_config: dict[str, Any]) -> dict[str, OffloadingMetricMetadata]:
        """See `metrics`."""
        return definitions()

    def get_stats(self) -> OffloadingConnectorStats | None:
        """What was counted since the last call."""
        counted, self._stats = self._stats, TransferStats()
        return report(counted, self._link.client() is not None)

    # ---- helpers

    def _namespace(self) -> Namespace:
        namespace = self._namespaces.of(None)
        assert namespace is not None, "only adapters are without one, and there are none"
        return namespace

    def _wish(self, client: Client, key: OffloadKey, request: ReqContext) -> None:
        """A chunk is not in memory: has what lower tiers have of the chain from there on brought, once for each
        request and KV group."""
        group = get_offload_group_idx(key)
        if not self._link.has_lower_tiers or (request.req_id, group) in self._wishes:
            return
        share = self._groups.share_of_chunks(group, self._blocks_per_chunk)
        keys = self._wanted(key, request, is_windowed=len(share) > 2)
        wrapped = self._namespace().wrap([get_offload_block_hash(key) for key in keys])
        wish = Wish(client, wrapped, [share], self._chunk_tokens, self._patience)
        self._wishes[request.req_id, group] = wish

    def _is_waited_for(self, request: ReqContext, group: int) -> bool:
        """Whether something of the request is on its way."""
        wish = self._wishes.get((request.req_id, group))
        if wish is None or wish.is_settled:
            return False
        if not wish.is_over(0):
            return True
        wish.count(self._stats)
        return False

    def _wanted(self, key: OffloadKey, request: ReqContext, *, is_windowed: bool) -> list[OffloadKey]:
        """The chunks of the request from this one on; with a window, which is looked for from its end, all."""
        chain = self._chain(request)
        chain.follow(request)
        known = chain.of(get_offload_group_idx(key))
        if is_windowed and known:
            return known
        return known[known.index(key) :] if key in known else [key]

    def _end_wishes(self, request: ReqContext) -> None:
        """What was brought for the request is kept no longer."""
        for group in range(len(self._groups)):
            wish = self._wishes.pop((request.req_id, group), None)
            if wish is not None:
                wish.release()

    def _chain(self, request: ReqContext) -> Chain:
        chain = request.get_state(Chain)
        if chain is None:
            chain = Chain(self._chunk_tokens)
            request.set_state(chain)
        return chain

    def _job(self, job: TransferJob) -> Job:
        request = job.req_context
        runs = self._chain(request).runs(request, list(job.keys), job.chunk_ids.tolist())
        return Job(job.job_id, request.req_id, runs, self._namespace(), is_load=job.is_promotion)

    def _hold(self, job: Job) -> list[Hold]:
        """Claims on what is to be loaded. Without one (too many at once, no node) it may fail: what it
        lacks is computed."""
        client = self._link.client()
        holds: list[Hold] = []
        try:
            for run in job.runs if client is not None else ():
                found = client.hold(job.namespace.wrap(run.hashes()), [(0, run.group)])
                if isinstance(found, Hold):
                    holds.append(found)
        except CascadeError as error:
            self._link.lost(client, error)
        if len(holds) < len(job.runs):
            self._stats.count("loads_without_hold")
        return holds

    def _start(self, priority: Priority, job: Job, parts: list[Job], holds: list[Hold]) -> None:
        self._under_way[job.number] = UnderWay(Outcome(job), len(parts), holds)
        for part in parts:
            self._threads.submit(priority, partial(self._move, part))

    def _move(self, part: Job) -> None:
        self._ended.append(self._mover.move(part))

    def _end(self, ended: UnderWay) -> JobResult:
        for hold in ended.holds:
            hold.release()
        outcome, result = ended.outcome, ended.outcome.result()
        self._stats.aggregate(outcome.stats)
        if outcome.job.is_load and not result.success:
            self._stats.count("failed_loads")
            failed = set(outcome.job.keys()).difference(outcome.moved)
            # Unless the request is over.
            self._failed.get(outcome.job.request, set()).update(failed)
        return result


def settings_of(options: dict[str, Any]) -> Settings:
    """The connector's settings; `staging_mib` is of no effect here. Raises `Unsupported` with a
    suggestion."""
    try:
        return Settings.of({"put_timeout_ms": PUT_TIMEOUT_MS, **options})
    except Unsupported as error:
        raise Unsupported(f"secondary_tiers, CascadeTier: {error}") from None
