"""A test vehicle, not a product: vLLM's tiering on a machine without a GPU.

vLLM's `TieringOffloadingSpec` copies between GPU and host memory with CUDA streams and refuses a CPU
("CUDA-alike and XPU"). Everything above that copy (the connector, the primary tier, the secondary tiers) is
the same on any device. `CpuTieringSpec` replaces the copy alone, by one on the calling thread, so that the
rest is vLLM's own code under test:

    {"kv_connector": "OffloadingConnector", "kv_role": "kv_both", "kv_connector_extra_config": {
        "spec_name": "CpuTieringSpec", "spec_module_path": "cpu_spec",
        "cpu_bytes_to_use": ..., "secondary_tiers": [...]}}

The folder of this file must be on PYTHONPATH. Measures of copies between engine and primary tier say
nothing about a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from vllm.v1.kv_offload.base import (
    BlockIDsLoadStoreSpec,
    CanonicalKVCaches,
    GPULoadStoreSpec,
    LoadStoreSpec,
    OffloadingWorker,
    TransferResult,
)
from vllm.v1.kv_offload.cpu.shared_offload_region import SharedOffloadRegion
from vllm.v1.kv_offload.tiering.spec import TieringOffloadingSpec


class CpuTieringSpec(TieringOffloadingSpec):
    """vLLM's tiering with blocks that live in host memory already."""

    def get_worker(self, kv_caches: CanonicalKVCaches) -> OffloadingWorker:
        """The worker's side; vLLM's own method refuses the platform."""
        if self._worker is None:
            self._worker = self.create_worker(kv_caches)
        return self._worker

    def create_worker(self, kv_caches: CanonicalKVCaches) -> OffloadingWorker:
        """This rank's part of the primary tier, laid out as vLLM's own worker does."""
        region = SharedOffloadRegion(
            engine_id=self.config.engine_id,
            num_chunks=self.num_chunks,
            rank=self.config.parallel.rank,
            kv_bytes_per_chunk=self.kv_bytes_per_chunk,
            cpu_page_size=self.cpu_page_size_per_worker,
        )
        return CpuWorker(kv_caches, region, self.blocks_per_chunk)


class CpuWorker(OffloadingWorker):
    """Copies blocks between the engine's KV cache and the primary tier, at once."""

    def __init__(
        self, kv_caches: CanonicalKVCaches, region: SharedOffloadRegion, blocks_per_chunk: int
    ) -> None:
        self._region: SharedOffloadRegion | None = region
        self._blocks_per_chunk = blocks_per_chunk
        self._engine = [cache.tensor.view(torch.int8) for cache in kv_caches.tensors]
        self._primary = [
            region.create_next_worker_view(cache.page_size_bytes * blocks_per_chunk)
            for cache in kv_caches.tensors
        ]
        self._layers_of_group = kv_caches.group_data_refs
        self._finished: list[TransferResult] = []

    def submit_store(self, job_id: int, src_spec: GPULoadStoreSpec, dst_spec: LoadStoreSpec) -> bool:
        """Engine to primary tier."""
        return self._copy(job_id, src_spec, dst_spec, into_primary=True)

    def submit_load(self, job_id: int, src_spec: LoadStoreSpec, dst_spec: GPULoadStoreSpec) -> bool:
        """Primary tier to engine."""
        return self._copy(job_id, dst_spec, src_spec, into_primary=False)

    def get_finished(self) -> list[TransferResult]:
        """All transfers since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def wait(self, job_ids: set[int]) -> None:
        """Nothing is ever under way."""

    def shutdown(self) -> None:
        """Gives the primary tier back."""
        self._primary = []
        if self._region is not None:
            self._region.cleanup()
            self._region = None

    def _copy(
        self, job_id: int, blocks: GPULoadStoreSpec, chunks: LoadStoreSpec, *, into_primary: bool
    ) -> bool:
        assert isinstance(chunks, BlockIDsLoadStoreSpec)
        began, copied_bytes = time.perf_counter(), 0
        for group, block, chunk, part in self._pairs(blocks, chunks):
            for layer in self._layers_of_group[group]:
                page = layer.page_size_bytes
                row = self._primary[layer.tensor_idx]
                start = part * (row.shape[1] // self._blocks_per_chunk)
                inside, outside = (
                    self._engine[layer.tensor_idx][block, :page],
                    row[chunk, start : start + page],
                )
                if into_primary:
                    outside.copy_(inside)
                else:
                    inside.copy_(outside)
                copied_bytes += page
        self._finished.append(TransferResult(job_id, True, copied_bytes, time.perf_counter() - began))
        return True

    def _pairs(
        self, blocks: GPULoadStoreSpec, chunks: BlockIDsLoadStoreSpec
    ) -> Iterator[tuple[int, int, int, int]]:
        """(group, engine block, chunk, place in the chunk). The first block of a group may lie within its
        first chunk."""
        next_block, next_chunk = iter(blocks.block_ids.tolist()), iter(chunks.block_ids.tolist())
        for group, (count, first) in enumerate(zip(blocks.group_sizes, blocks.block_indices, strict=True)):
            for number in range(first, first + count):
                part = number % self._blocks_per_chunk
                if number == first or part == 0:
                    chunk = next(next_chunk)
                yield group, next(next_block), chunk, part
