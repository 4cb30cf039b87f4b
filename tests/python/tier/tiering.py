"""vLLM's own tiering over a CascadeTier, without a model that runs.

Everything is vLLM's real code, built from a real engine configuration: the connector's scheduler side, the
primary tier in shared memory, the manager that moves chunks between tiers. Only the GPU is left out:
`Tiering` writes and reads rows of the primary tier itself, where vLLM's workers would.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from vllm.config import VllmConfig
from vllm.config.kv_transfer import KVTransferConfig
from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorRole
from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector
from vllm.engine.arg_utils import EngineArgs
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec, KVCacheTensor
from vllm.v1.kv_offload.base import LookupResult, OffloadKey, ReqContext, ScheduleEndContext, make_offload_key
from vllm.v1.kv_offload.tiering.manager import TieringOffloadingManager

from cascade_kv.vllm_tier import CascadeTier

PATIENCE_S = 20.0
"""Long enough for anything that happens at all."""

BLOCK_TOKENS = 16
LAYERS = 4
NOTHING = ScheduleEndContext((), ())


class Tiering:
    """The scheduler's half of an engine with a CascadeTier."""

    def __init__(
        self,
        model: Path,
        socket: Path | str,
        *,
        chunks: int = 64,
        blocks_per_chunk: int = 1,
        engine: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """`chunks`: rows of the primary tier. `engine`: more of vLLM's engine arguments. `settings`: the
        tier's."""
        tier = {
            "type": "CascadeTier",
            "module_path": "cascade_kv.vllm_tier",
            "socket": str(socket),
            **settings,
        }
        spec = FullAttentionSpec(block_size=BLOCK_TOKENS, num_kv_heads=4, head_size=64, dtype=torch.float32)
        page = spec.page_size_bytes
        transfer = KVTransferConfig(
            kv_connector="OffloadingConnector",
            kv_role="kv_both",
            kv_connector_extra_config={
                "spec_name": "TieringOffloadingSpec",
                "cpu_bytes_to_use": chunks * blocks_per_chunk * LAYERS * page,
                "blocks_per_chunk": blocks_per_chunk,
                "secondary_tiers": [tier],
            },
        )
        self.config = engine_config(model, transfer, **(engine or {}))
        layers = [f"model.layers.{number}.self_attn.attn" for number in range(LAYERS)]
        cache = KVCacheConfig(
            num_blocks=8,
            kv_cache_tensors=[KVCacheTensor(8 * LAYERS * page, layers, 8 * page, page)],
            kv_cache_groups=[KVCacheGroupSpec(layers, spec)],
            kv_cache_layout="LBHNC",
            hash_block_size=BLOCK_TOKENS,
        )
        self.connector = OffloadingConnector(self.config, KVConnectorRole.SCHEDULER, cache)
        manager = self.connector.scheduler.manager
        assert isinstance(manager, TieringOffloadingManager)
        self.manager = manager
        self.tier = manager.secondary_tiers[0]
        assert isinstance(self.tier, CascadeTier)
        self.row_bytes = self.tier.block_size_bytes
        self._rows = manager.primary_tier.get_kv_memoryview().cast("B")
        self.chunk_tokens = BLOCK_TOKENS * blocks_per_chunk

    def close(self) -> None:
        """As vLLM ends an engine."""
        self._rows.release()
        self.connector.shutdown()

    def request(self, name: str, keys: Sequence[OffloadKey]) -> ReqContext:
        """A new request whose prompt consists of these chunks."""
        context = ReqContext(req_id=name)
        for number, key in enumerate(keys):
            context.set_offload_key_position(key, (number + 1) * self.chunk_tokens)
        self.manager.on_new_request(context)
        return context

    def store(self, request: ReqContext, chunks: dict[OffloadKey, bytes]) -> None:
        """As if the engine had computed these chunks: into the primary tier, and on to the tier below.
        Waits for the end."""
        plan = self.manager.prepare_store(list(chunks), request)
        assert plan is not None and len(plan.keys_to_store) == len(chunks), "the primary tier has no room"
        for key, row in zip(plan.keys_to_store, plan.store_spec.block_ids.tolist(), strict=True):
            self.write(row, chunks[key])
        # As a set, which is how vLLM's scheduler names them.
        self.manager.complete_store(set(chunks), request)
        self.settle()

    def load(self, request: ReqContext, keys: Sequence[OffloadKey]) -> list[bytes]:
        """The leading chunks that the scheduler finds, after promotion. Waits for the end."""
        self.look(request, keys)
        self.manager.on_schedule_end(NOTHING)
        self.settle()
        found = self.look(request, keys)
        assert LookupResult.HIT_PENDING not in found, "everything that was under way has ended"
        rows = self.manager.prepare_load(keys[: len(found)], request).block_ids.tolist()
        content = [bytes(self.row(row)) for row in rows]
        self.manager.complete_load(keys[: len(found)], request)
        return content

    def look(self, request: ReqContext, keys: Sequence[OffloadKey]) -> list[LookupResult]:
        """vLLM's lookup of a prefix: one chunk after the other, up to the first that is nowhere."""
        found = []
        for key in keys:
            result = self.manager.lookup(key, request)
            if result is LookupResult.MISS:
                break
            found.append(result)
        return found

    def settle(self) -> None:
        """Steps as an idle engine does, until nothing is under way."""
        until(lambda: self.manager.on_schedule_end(NOTHING) or not self.manager.has_pending_work())

    def row(self, number: int) -> memoryview:
        """One row of the primary tier."""
        return self._rows[number * self.row_bytes : (number + 1) * self.row_bytes]

    def write(self, number: int, content: bytes) -> None:
        """As a worker does."""
        self.row(number)[:] = content

    def chunk(self, seed: int) -> bytes:
        """Bytes of a chunk, other ones for each seed."""
        return b"".join(
            (seed * 1_000_003 + place).to_bytes(8, "little") for place in range(self.row_bytes // 8)
        )

    def figures(self) -> dict[str, float]:
        """What the tier counted since the last call, by the names of `metrics.FIGURES`."""
        stats = self.tier.get_stats()
        assert stats is not None
        return {
            name.removeprefix("vllm:kv_offload_cascade_"): value for name, value in stats.reduce().items()
        }


def keys_of(prompt: str, count: int, group: int = 0) -> list[OffloadKey]:
    """Keys of a prompt's chunks, with hashes as long as vLLM's."""
    import hashlib

    return [
        make_offload_key(hashlib.sha256(f"{prompt} {number}".encode()).digest(), group)
        for number in range(count)
    ]


def engine_config(model: Path, transfer: KVTransferConfig, **arguments: Any) -> VllmConfig:
    """What an engine with these arguments is configured as."""
    arguments = {"dtype": "float32", "max_model_len": 2048, "block_size": BLOCK_TOKENS, **arguments}
    return EngineArgs(model=str(model), kv_transfer_config=transfer, **arguments).create_engine_config()


def until(done: Callable[[], object]) -> None:
    """Asks until it is so; fails if it never is."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.001)
