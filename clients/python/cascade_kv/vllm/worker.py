"""A worker's part: it moves the bytes of its rank, as the scheduler planned.

Order of vLLM's calls in a step: `fence` (before anything is written), the forward pass, `start_loads`,
`save`, `finished`. All on one thread. With a drafter `finished` comes before `save`; nothing rests on their
order.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING

import torch
from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorTransferResults

from cascade_kv.vllm.memory import HostMemory, Memory
from cascade_kv.vllm.messages import StepPlan
from cascade_kv.vllm.pages import group_pages
from cascade_kv.vllm.saves import HostSaves, Saves
from cascade_kv.vllm.stats import TransferStats
from cascade_kv.vllm.transfers import Loads

if TYPE_CHECKING:
    from cascade_kv.vllm.groups import Groups
    from cascade_kv.vllm.link import Link
    from cascade_kv.vllm.settings import Settings

IDLE_PATIENCE_S = 0.010
"""How long a step without tokens works on loads, or waits for them: enough for the load of a prompt of thousands
of tokens, and less than a step with tokens takes, as a request that arrives meanwhile waits so long. vLLM takes
such steps in a loop while requests are being loaded, and each turn costs some milliseconds; a load that ends
within a step is computed with at once."""


class WorkerPart:
    """Moves bytes; see the module."""

    def __init__(self, groups: Groups, rank: int, settings: Settings, link: Link) -> None:
        self._groups = groups
        self._rank = rank
        self._settings = settings
        self._link = link
        self._memory: Memory | None = None
        self._loads: Loads | None = None
        self._saves: Saves | None = None
        self._unfilled: set[int] = set()

    def register(self, caches: Mapping[str, torch.Tensor], blocks: int) -> None:
        """Takes the engine's KV memory. Raises `Unsupported` for a layout whose blocks cannot be moved as
        bytes."""
        groups = [group_pages(group, caches, blocks) for group in self._groups.groups]
        put_timeout_s = self._settings.put_timeout_ms / 1000
        if groups[0][0].device.type == "cpu":
            host = HostMemory(groups)
            self._memory, self._saves = host, HostSaves(host, self._rank, self._link, put_timeout_s)
        else:
            from cascade_kv.vllm.staging import DeviceMemory, DeviceSaves

            device = DeviceMemory(groups, self._settings.staging_mib << 20)
            self._memory, self._saves = device, DeviceSaves(device, self._rank, self._link, put_timeout_s)
        self._loads = Loads(self._memory, self._rank, self._link, self._settings.load_threads)
        self._link.open()

    def fence(self, plan: StepPlan) -> None:
        """Before a step: what it may write is not being read any more."""
        if self._saves is not None and plan.overwritten:
            self._saves.fence(plan.overwritten)

    def start_loads(self, plan: StepPlan) -> None:
        """Starts the loads of a step."""
        if plan.loads:
            assert self._memory is not None and self._loads is not None, (
                "memory is registered before the first step"
            )
            self._memory.ready()
            for load in plan.loads:
                self._loads.start(load)

    def save(self, plan: StepPlan) -> None:
        """Saves what a step has filled."""
        if plan.saves:
            assert self._memory is not None and self._saves is not None, (
                "memory is registered before the first step"
            )
            limits = enumerate(self._memory.run_blocks)
            self._saves.save(
                chain.from_iterable(
                    blocks.runs(group, limit) for group, limit in limits for blocks in plan.saves
                )
            )

    def finished(self, plan: StepPlan | None) -> KVConnectorTransferResults:
        """The loads that are over.

        Where block numbers tell vLLM which blocks are not filled, it keeps those before them; with several KV
        groups it wants the request named, and computes all of it.
        """
        results = KVConnectorTransferResults()
        if self._loads is None:
            return results
        for progress in self._loads.finished(IDLE_PATIENCE_S if plan is not None and plan.idle else 0.0):
            results.finished_recving.add(progress.request_id)
            if progress.failed and len(self._groups) > 1:
                results.failed_recving.add(progress.request_id)
            else:
                self._unfilled |= progress.failed
        return results

    def take_unfilled(self) -> set[int]:
        """The blocks of finished loads that were not filled, once."""
        taken, self._unfilled = self._unfilled, set()
        return taken

    def take_stats(self) -> TransferStats | None:
        """What was counted since the last call."""
        if self._loads is None or self._saves is None:
            return None
        stats = self._loads.take_stats().aggregate(self._saves.take_stats())
        return None if stats.is_empty() else stats

    def close(self) -> None:
        """Ends all transfers: the memory is the engine's alone again."""
        if self._loads is not None and self._saves is not None:
            self._loads.close()
            self._saves.close()
        self._link.close()
