"""Which engine a tier belongs to, and under which name its chunks are kept.

The connector's namespace says what an engine is (`cascade_kv.vllm.namespace`); here it is made one of
chunks: several blocks of all ranks in a row of the primary tier are other bytes than a block of one rank.
So tier and connector never read each other's pieces.

vLLM describes the engine to a tier by an `OffloadingConfig`, which leaves out half of what decides the
bytes: the revision, overrides of the model's configuration, quantisation, the hash of the prefix cache. The
full configuration stands one call further up, in the scheduler that is being built at that moment, and is
looked for there: a name that is too coarse would serve wrong bytes.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vllm.distributed.kv_transfer.kv_connector.v1.offloading.scheduler import OffloadingConnectorScheduler

from cascade_kv.vllm.groups import Groups
from cascade_kv.vllm.namespace import Identity, identify
from cascade_kv.vllm.support import Unsupported, check_sharing

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.kv_cache_interface import KVCacheConfig
    from vllm.v1.kv_offload.tiering.spec import TieringOffloadingSpec

    from cascade_kv.vllm.settings import Settings

FORMAT = 1
"""Grows when vLLM's primary tier lays out a chunk in another way, within the supported versions."""


@dataclass(frozen=True)
class Engine:
    """The configuration of the engine whose scheduler is being built."""

    config: VllmConfig
    cache: KVCacheConfig

    @classmethod
    def under_construction(cls) -> Engine:
        """The engine on whose behalf this thread builds a tier. Raises `Unsupported` if there is none."""
        frame = sys._getframe(1)
        while frame is not None:
            known = frame.f_locals
            if isinstance(known.get("self"), OffloadingConnectorScheduler) and "vllm_config" in known:
                return cls(known["vllm_config"], known["kv_cache_config"])
            frame = frame.f_back
        raise Unsupported(
            "CascadeTier is made by vLLM's OffloadingConnector, which knows the engine, and not by hand"
        )

    def check(self) -> None:
        """Refuses engines whose chunks cannot be told apart or are not whole on this machine. Raises
        `Unsupported`."""
        check_sharing(self.config)
        if self.config.lora_config is not None:
            raise Unsupported(
                "vLLM does not tell a tier which LoRA adapter a chunk belongs to, so an adapter that was "
                "altered could not be told from the former one: drop --enable-lora, or use CascadeConnector "
                "(cascade_kv.vllm), which is told"
            )
        if self.config.parallel_config.nnodes_within_dp > 1:
            raise Unsupported(
                "vLLM's primary tier holds the ranks of one machine only, so a chunk would lack those of the "
                "others: keep tensor and pipeline parallelism within a node, or use CascadeConnector "
                "(cascade_kv.vllm)"
            )

    def groups(self) -> Groups:
        """The KV groups. Raises `Unsupported`."""
        parallel = self.config.parallel_config
        return Groups.of(self.cache, self.config.cache_config.block_size, parallel.pipeline_parallel_size)

    def identity(self, groups: Groups, spec: TieringOffloadingSpec, settings: Settings) -> Identity:
        """What the engine's chunks are. Hashes its weight files; raises `Unsupported` if they are not
        found."""
        parallel = self.config.parallel_config
        blocks = identify(self.config, groups, settings)
        chunk = {
            "format": FORMAT,
            "blocks_of": blocks.layout,
            "blocks_per_chunk": spec.blocks_per_chunk,
            "row_bytes": spec.kv_bytes_per_chunk,
            "rank_bytes": spec.cpu_page_size_per_worker,
            "ranks": parallel.world_size,
            "one_copy": spec.replicated_layout,
            "canonical": spec.config.canonical_layout,
        }
        return replace(
            blocks,
            layout="vllm tiering chunk " + json.dumps(chunk, sort_keys=True),
            block_tokens=groups.block_tokens * spec.blocks_per_chunk,
        )
