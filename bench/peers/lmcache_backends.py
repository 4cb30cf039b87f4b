"""LMCache's storage backends, without an engine: LocalCPUBackend when hot, LocalDiskBackend when cold.

A put is what its cache engine does: memory from the pool, the bytes copied into it, the object submitted; where a
thread stores it, the put ends when that is done. A get ends in memory of the caller's: without the copy out, it would
be a pointer that changes hands.
"""

from __future__ import annotations

import asyncio
import os
import threading
from importlib import metadata
from typing import Any

# Read when the library is imported.
os.environ.update(LMCACHE_TRACK_USAGE="false", LMCACHE_LOG_LEVEL="ERROR", LMCACHE_DISABLE_BANNER="1")

import lmcache
import torch
from lmcache.utils import CacheEngineKey
from lmcache.v1.config import LMCacheEngineConfig
from lmcache.v1.memory_management import MemoryFormat
from lmcache.v1.metadata import LMCacheMetadata
from lmcache.v1.storage_backend.local_cpu_backend import LocalCPUBackend
from lmcache.v1.storage_backend.local_disk_backend import LocalDiskBackend
from peer import Peer, Setup, Unavailable

TOKENS, HEADS, HEAD_SIZE = 256, 4, 128
LAYER_BYTES = 2 * TOKENS * HEADS * HEAD_SIZE * 2
"""Keys and values of one layer in bfloat16: a block is so many layers."""

POOL_RATIO = 1.5
"""The pool over the bytes of all blocks."""

DISK_RATIO = 64
"""The disk's bound over the bytes of all blocks: the backend never takes a removed block off its count."""

STORE_LIMIT_S = 60


class LmcacheBackend(Peer):
    """One backend."""

    def __init__(self, setup: Setup) -> None:
        layers, rest = divmod(setup.block_bytes, LAYER_BYTES)
        if rest:
            raise Unavailable(f"blocks of {setup.block_bytes} bytes are no whole layers of {LAYER_BYTES}")
        torch.set_num_threads(1)
        self._blocks = setup.blocks
        self._shape = torch.Size([2, layers, TOKENS, HEADS * HEAD_SIZE])
        self._sources, self._targets = (
            [torch.from_numpy(block).view(torch.bfloat16).view(self._shape) for block in half]
            for half in setup.blocks_of_stage()
        )
        total_gib = setup.blocks * setup.block_bytes / (1 << 30)
        config = LMCacheEngineConfig.from_defaults(
            chunk_size=TOKENS,
            local_cpu=not setup.cold,
            max_local_cpu_size=total_gib * POOL_RATIO,
            local_disk=setup.store if setup.cold else None,
            max_local_disk_size=total_gib * DISK_RATIO if setup.cold else 0,
        )
        described = LMCacheMetadata(
            model_name="bench",
            world_size=1,
            local_world_size=1,
            worker_id=0,
            local_worker_id=0,
            kv_dtype=torch.bfloat16,
            kv_shape=(layers, 2, TOKENS, HEADS, HEAD_SIZE),
            role="worker",
        )
        self._pool = LocalCPUBackend(config, described, "cpu")
        self._stores_later = setup.cold
        self._backend: Any = self._pool
        self._loop = asyncio.new_event_loop()
        if setup.cold:
            threading.Thread(target=self._loop.run_forever, daemon=True).start()
            self._backend = LocalDiskBackend(config, self._loop, self._pool, "cpu", None, described)

    def identity(self) -> dict[str, str]:
        done = "a put ends when its file is written" if self._stores_later else "copied in and out"
        return {
            "version": metadata.version("lmcache"),
            "path": lmcache.__file__,
            "setup": f"{type(self._backend).__name__}, torch {torch.__version__}; {done}",
        }

    def put(self, number: int) -> bool:
        memory = self._pool.allocate(self._shape, torch.bfloat16, MemoryFormat.KV_2LTD)
        if memory is None:
            return False
        memory.tensor.copy_(self._sources[number])
        stored = threading.Event()
        self._backend.batched_submit_put_task(
            [_key(number)], [memory], on_complete_callback=lambda _: stored.set()
        )
        # Never for what was there already: nothing was moved then.
        done = stored.wait(STORE_LIMIT_S if self._stores_later else 0)
        memory.ref_count_down()
        return done

    def get(self, number: int) -> bool:
        memory = self._backend.get_blocking(_key(number))
        if memory is None:
            return False
        self._targets[number].copy_(memory.tensor)
        memory.ref_count_down()
        return True

    def clear(self) -> None:
        for number in range(self._blocks):
            self._backend.remove(_key(number))

    def close(self) -> None:
        self._backend.close()
        self._loop.call_soon_threadsafe(self._loop.stop)


def _key(number: int) -> CacheEngineKey:
    # By the fraction of the golden ratio: hashes of chunks lie all over.
    chunk = (number + 1) * 0x9E3779B97F4A7C15 & (1 << 63) - 1
    return CacheEngineKey("bench", 1, 0, chunk, torch.bfloat16)
