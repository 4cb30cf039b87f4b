"""The face that vLLM sees: forwards each hook to the scheduler's part or to the worker's part.

vLLM makes one instance in the scheduler's process and one in each worker. Connections, threads and device
memory are made in the process that uses them. What happens is in `scheduler.py` and `worker.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorMetadata,
    KVConnectorRole,
    KVConnectorTransferResults,
    SupportsHMA,
)
from vllm.v1.metrics.cache_hit_source import CacheHitSource

from cascade_kv.vllm.groups import Groups
from cascade_kv.vllm.link import Link
from cascade_kv.vllm.messages import StepPlan
from cascade_kv.vllm.namespace import Namespaces, identify
from cascade_kv.vllm.patience import Patience
from cascade_kv.vllm.scheduler import SchedulerPart
from cascade_kv.vllm.settings import Settings
from cascade_kv.vllm.stats import PrometheusCounters, TransferStats
from cascade_kv.vllm.support import check_engine
from cascade_kv.vllm.worker import WorkerPart

if TYPE_CHECKING:
    import torch
    from vllm.config import VllmConfig
    from vllm.distributed.kv_transfer.kv_connector.v1.metrics import KVConnectorPromMetrics, KVConnectorStats
    from vllm.forward_context import ForwardContext
    from vllm.v1.attention.backend import AttentionMetadata
    from vllm.v1.core.kv_cache_manager import KVCacheBlocks
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.kv_cache_interface import KVCacheConfig
    from vllm.v1.outputs import KVConnectorOutput
    from vllm.v1.request import Request


class CascadeConnector(KVConnectorBase_V1, SupportsHMA):
    """Loads prompt prefixes from the node of this machine, and saves what is computed. See docs/vllm.md."""

    _cache_hit_source = CacheHitSource.HOST

    def __init__(
        self, vllm_config: VllmConfig, role: KVConnectorRole, kv_cache_config: KVCacheConfig
    ) -> None:
        """Raises `Unsupported`, naming the flag to set, for a configuration that the cache would harm."""
        super().__init__(vllm_config, role, kv_cache_config)
        check_engine(vllm_config)
        transfer, parallel = vllm_config.kv_transfer_config, vllm_config.parallel_config
        settings = Settings.of(transfer.kv_connector_extra_config)
        groups = Groups.of(
            kv_cache_config, vllm_config.cache_config.block_size, parallel.pipeline_parallel_size
        )
        self._scheduler: SchedulerPart | None = None
        self._worker: WorkerPart | None = None
        if role == KVConnectorRole.SCHEDULER:
            link = Link("the scheduler", instance=settings.instance, socket=settings.socket)
            self._scheduler = SchedulerPart(
                groups,
                parallel.tensor_parallel_size * parallel.pipeline_parallel_size,
                Namespaces(identify(vllm_config, groups, settings)),
                link,
                Patience(settings.prefill_tokens_per_s),
                loads=transfer.is_kv_consumer,
                saves=transfer.is_kv_producer,
                tells_overwritten=vllm_config.device_config.device_type != "cpu",
            )
            link.open()
        else:
            rank = rank_in_grid(parallel.tensor_parallel_size)
            link = Link(f"worker {rank}", instance=settings.instance, socket=settings.socket)
            self._worker = WorkerPart(groups, rank, settings, link)

    @property
    def requires_kv_delivery(self) -> bool:
        """No: a block that was not saved is computed again."""
        return False

    # ---- scheduler ----

    def on_new_request(self, request: Request) -> None:
        """A request was added."""
        self._scheduling.arrived(request)

    def get_num_new_matched_tokens(
        self, request: Request, num_computed_tokens: int
    ) -> tuple[int | None, bool]:
        """Tokens that can be loaded beyond vLLM's own; always in the background. None while lower tiers bring
        some."""
        return self._scheduling.matched(request, num_computed_tokens)

    def update_state_after_alloc(
        self, request: Request, blocks: KVCacheBlocks, num_external_tokens: int
    ) -> None:
        """vLLM gave the request its blocks."""
        self._scheduling.allocated(request, blocks, num_external_tokens)

    def build_connector_meta(self, scheduler_output: SchedulerOutput) -> KVConnectorMetadata:
        """The orders of one step."""
        return self._scheduling.plan(scheduler_output)

    def update_connector_output(self, connector_output: KVConnectorOutput) -> None:
        """What the workers report."""
        self._scheduling.delivered(connector_output)

    def request_finished(self, request: Request, block_ids: list[int]) -> tuple[bool, dict[str, Any] | None]:
        """vLLM may free the blocks at once: what still reads them is fenced before they are written."""
        self._scheduling.finished(request)
        return False, None

    def request_finished_all_groups(
        self, request: Request, block_ids: tuple[list[int], ...]
    ) -> tuple[bool, dict[str, Any] | None]:
        """As `request_finished`."""
        self._scheduling.finished(request)
        return False, None

    def reset_cache(self) -> bool:
        """Nothing that was stored before is found any more by this engine. It stays for the others."""
        self._scheduling.forget()
        return True

    # ---- worker ----

    def register_kv_caches(self, kv_caches: dict[str, torch.Tensor]) -> None:
        """The engine's KV memory."""
        self._working.register(kv_caches, self._kv_cache_config.num_blocks)

    def handle_preemptions(self, kv_connector_metadata: KVConnectorMetadata) -> None:
        """Comes before every step: waits for what still reads blocks that the step may write."""
        assert isinstance(kv_connector_metadata, StepPlan)
        self._working.fence(kv_connector_metadata)

    def start_load_kv(self, forward_context: ForwardContext, **kwargs: Any) -> None:
        """Starts the loads of this step; none is needed by its forward pass."""
        self._working.start_loads(self._plan)

    def wait_for_layer_load(self, layer_name: str) -> None:
        """Nothing to wait for: a request is computed after its load."""

    def save_kv_layer(
        self, layer_name: str, kv_layer: torch.Tensor, attn_metadata: AttentionMetadata, **kwargs: Any
    ) -> None:
        """Nothing to do: whole blocks are saved after the step."""

    def wait_for_save(self) -> None:
        """Saves what this step has filled."""
        self._working.save(self._plan)

    def get_finished(self, finished_req_ids: set[str]) -> tuple[set[str] | None, set[str] | None]:
        """As `get_transfer_results`."""
        return None, self.get_transfer_results(finished_req_ids).finished_recving or None

    def get_transfer_results(self, finished_req_ids: set[str]) -> KVConnectorTransferResults:
        """The loads that are over."""
        return self._working.finished(self._plan if self.has_connector_metadata() else None)

    def get_block_ids_with_load_errors(self) -> set[int]:
        """Blocks of those loads that were not filled."""
        return self._working.take_unfilled()

    # ---- both ----

    def get_kv_connector_stats(self) -> KVConnectorStats | None:
        """What this instance counted since the last call."""
        return (self._scheduler or self._working).take_stats()

    @classmethod
    def build_kv_connector_stats(cls, data: dict[str, Any] | None = None) -> KVConnectorStats | None:
        """Counts as vLLM carries them between processes."""
        return TransferStats(data or {})

    @classmethod
    def build_prom_metrics(
        cls,
        vllm_config: VllmConfig,
        metric_types: dict[Any, Any],
        labelnames: list[str],
        per_engine_labelvalues: dict[int, list[object]],
    ) -> KVConnectorPromMetrics:
        """The counters for vLLM's /metrics."""
        return PrometheusCounters(vllm_config, metric_types, labelnames, per_engine_labelvalues)

    def shutdown(self) -> None:
        """Ends transfers and gives everything back."""
        if self._scheduler is not None:
            self._scheduler.close()
        if self._worker is not None:
            self._worker.close()

    @property
    def _scheduling(self) -> SchedulerPart:
        assert self._scheduler is not None, "a scheduler's hook was called on a worker's instance"
        return self._scheduler

    @property
    def _working(self) -> WorkerPart:
        assert self._worker is not None, "a worker's hook was called on the scheduler's instance"
        return self._worker

    @property
    def _plan(self) -> StepPlan:
        plan = self._get_connector_metadata()
        assert isinstance(plan, StepPlan)
        return plan


def rank_in_grid(tensor_parallel: int) -> int:
    """This worker's place in the grid of pipeline stages and tensor ranks: the same in every data-parallel
    replica."""
    from vllm.distributed.parallel_state import get_pp_group, get_tp_group

    return get_pp_group().rank_in_group * tensor_parallel + get_tp_group().rank_in_group
