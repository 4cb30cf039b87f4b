"""KV memory on a device, through pinned host memory. Written for CUDA in plain torch. Not run on a GPU.

A staging buffer is a stretch of pinned host memory and as much on the device. Blocks are gathered on the
device, layer by layer, so that one large copy crosses the bus; loads go the same way back. Order is kept by
streams and events alone:

- a load writes after all that vLLM's stream had been given when the load was ordered; it is reported when its
  event has passed;
- only whole, verified pieces leave the staging buffer: the engine's pages never hold what was read of a
  damaged one;
- a save gathers after the step that filled its blocks; the step that may write them again is made to wait, on
  the device, for that gathering (`fence`), so vLLM frees blocks whenever it likes;
- vLLM's thread waits for none of it: if all buffers are in use, blocks stay unsaved, and are counted.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch

from cascade_kv import CascadeError, Client, Miss, NodeLost
from cascade_kv.vllm.saves import count_stored
from cascade_kv.vllm.stats import TransferStats
from cascade_kv.vllm.support import Unsupported

if TYPE_CHECKING:
    from cascade_kv.vllm.link import Link
    from cascade_kv.vllm.messages import Run

log = logging.getLogger("vllm.cascade")

RUN_BYTES = 16 << 20
"""What crosses the bus at a time: one copy, and a kernel for each layer."""


class Buffer:
    """Host and device memory of one size; `rows` cuts both into pieces."""

    def __init__(self, size_bytes: int, device: torch.device) -> None:
        self._host = torch.empty(size_bytes, dtype=torch.uint8, pin_memory=device.type != "cpu")
        self._device = torch.empty(size_bytes, dtype=torch.uint8, device=device)

    def rows(self, count: int, block_bytes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The first pieces, [count, block_bytes] each: on the host, on the device."""
        size = count * block_bytes
        return self._host[:size].view(count, block_bytes), self._device[:size].view(count, block_bytes)


def gather(layers: Sequence[torch.Tensor], blocks: torch.Tensor, pieces: torch.Tensor) -> None:
    """Copies pages of all layers, [any, page_bytes] each, into pieces, [len(blocks), block_bytes]."""
    at = 0
    for pages in layers:
        end = at + pages.shape[1]
        wide_pages, wide_pieces = widest(pages, pieces[:, at:end])
        wide_pieces.copy_(wide_pages.index_select(0, blocks))
        at = end


def scatter(pieces: torch.Tensor, blocks: torch.Tensor, layers: Sequence[torch.Tensor]) -> None:
    """The way back of `gather`."""
    at = 0
    for pages in layers:
        end = at + pages.shape[1]
        wide_pages, wide_pieces = widest(pages, pieces[:, at:end])
        wide_pages.index_copy_(0, blocks, wide_pieces)
        at = end


def scatter_whole(
    pieces: torch.Tensor,
    answers: Sequence[int | Miss],
    block_ids: Sequence[int],
    layers: Sequence[torch.Tensor],
    numbers: Callable[[Sequence[int]], torch.Tensor],
) -> None:
    """`scatter` of the pieces that were answered with the length of a block. `numbers` makes indices where
    they are.

    The block of any other piece keeps what the engine had there, as a block does that is given to a new
    request: numbers, which the engine masks. What was read of a damaged piece may hold a NaN, and 0 times
    that goes into every token.
    """
    length = pieces.shape[1]
    whole = [at for at, answer in enumerate(answers) if not isinstance(answer, Miss) and answer == length]
    if whole:
        chosen = pieces if len(whole) == len(answers) else pieces[numbers(whole)]
        scatter(chosen, numbers([block_ids[at] for at in whole]), layers)


def widest(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both as rows of 8-byte words if they can be seen so: a device moves bytes one by one slowly."""
    if all(
        part.shape[1] % 8 == 0 and part.stride(0) % 8 == 0 and part.storage_offset() % 8 == 0
        for part in (first, second)
    ):
        return first.view(torch.int64), second.view(torch.int64)
    return first, second


class DeviceMemory:
    """KV memory on one device. See `memory.Memory` for the methods."""

    quick = False

    def __init__(self, groups: Sequence[list[torch.Tensor]], staging_bytes: int) -> None:
        """`groups`: of each KV group the pages of its layers. Raises `Unsupported` if staging is too small
        for a block."""
        self.groups = groups
        self.device = groups[0][0].device
        if self.device.type != "cuda":
            raise Unsupported(
                f"KV memory on {self.device.type}: Cascade knows memory of CPUs and of CUDA devices"
            )
        self.block_bytes = [sum(pages.shape[1] for pages in layers) for layers in groups]
        size = max(RUN_BYTES, *self.block_bytes)
        if staging_bytes < 2 * size:
            raise Unsupported(f"staging_mib must be at least {-(-2 * size >> 20)} for this model")
        self.run_blocks = [size // block_bytes for block_bytes in self.block_bytes]
        # Loads may wait for a buffer and saves may not, so neither takes the other's.
        count = staging_bytes // size
        self._load_buffers = free_buffers(count - count // 2, size, self.device)
        self.save_buffers = free_buffers(count // 2, size, self.device)
        self._stream = torch.cuda.Stream(self.device)
        self._ordered = torch.cuda.Event()

    def ready(self) -> None:
        """What vLLM's stream has been given so far, zeroing of blocks included, comes before the loads'
        writes."""
        ordered = torch.cuda.Event()
        ordered.record(torch.cuda.current_stream(self.device))
        self._ordered = ordered

    def load(self, client: Client, run: Run, rank: int) -> list[int | Miss]:
        """Fills the blocks of a run. Runs on a loading thread, which may wait."""
        ordered, block_bytes = self._ordered, self.block_bytes[run.group]
        buffer = self._load_buffers.get()
        try:
            host, device = buffer.rows(len(run.keys), block_bytes)
            answers = client.get_batch_into(run.keys, list(host.numpy()), rank=rank, group=run.group)
            with torch.cuda.stream(self._stream):
                self._stream.wait_event(ordered)
                device.copy_(host, non_blocking=True)
                scatter_whole(device, answers, run.block_ids, self.groups[run.group], self.numbers)
                done = torch.cuda.Event()
                done.record(self._stream)
            done.synchronize()
            return answers
        finally:
            self._load_buffers.put(buffer)

    def numbers(self, values: Sequence[int]) -> torch.Tensor:
        """Indices on the device, without making the host wait."""
        return torch.tensor(values, dtype=torch.int64).pin_memory().to(self.device, non_blocking=True)


class DeviceSaves:
    """Saves from a device: gathered at once, stored by a thread. See `saves.Saves`."""

    def __init__(self, memory: DeviceMemory, rank: int, link: Link, put_timeout_s: float) -> None:
        self._memory = memory
        self._rank = rank
        self._link = link
        self._put_timeout_s = put_timeout_s
        self._stream = torch.cuda.Stream(memory.device)
        self._pool = ThreadPoolExecutor(1, "cascade-save")
        self._gathering: list[tuple[torch.cuda.Event, frozenset[int]]] = []
        self._lock = threading.Lock()
        self._stats = TransferStats()

    def save(self, runs: Iterable[Run]) -> None:
        """Orders gathering and copying of all runs, as far as there are free buffers."""
        self._stream.wait_stream(torch.cuda.current_stream(self._memory.device))
        for run in runs:
            try:
                buffer = self._memory.save_buffers.get_nowait()
            except queue.Empty:
                self._count("unsaved_blocks", len(run.keys))
                continue
            host, device = buffer.rows(len(run.keys), self._memory.block_bytes[run.group])
            gathered, copied = torch.cuda.Event(), torch.cuda.Event()
            with torch.cuda.stream(self._stream):
                gather(self._memory.groups[run.group], self._memory.numbers(run.block_ids), device)
                gathered.record(self._stream)
                host.copy_(device, non_blocking=True)
                copied.record(self._stream)
            self._gathering.append((gathered, frozenset(run.block_ids)))
            self._pool.submit(self._store, run, buffer, host, copied)

    def fence(self, blocks: Iterable[int]) -> None:
        """Makes vLLM's stream wait for what still reads these blocks. The host does not wait."""
        self._gathering = [(event, reading) for event, reading in self._gathering if not event.query()]
        written = set(blocks)
        for event, reading in self._gathering:
            if not reading.isdisjoint(written):
                torch.cuda.current_stream(self._memory.device).wait_event(event)

    def take_stats(self) -> TransferStats:
        """See `Saves`."""
        with self._lock:
            taken, self._stats = self._stats, TransferStats()
            return taken

    def close(self) -> None:
        """Waits for what is under way."""
        self._pool.shutdown(wait=True)

    def _store(self, run: Run, buffer: Buffer, host: torch.Tensor, copied: torch.cuda.Event) -> None:
        began = time.perf_counter()
        try:
            copied.synchronize()
            client = self._link.client()
            if client is None:
                self._count("unsaved_blocks", len(run.keys))
                return
            answers = client.put_batch(
                run.keys,
                list(host.numpy()),
                rank=self._rank,
                group=run.group,
                parent=run.parent,
                depth=run.depth,
                timeout_s=self._put_timeout_s,
            )
            with self._lock:
                count_stored(self._stats, answers, self._memory.block_bytes[run.group])
        except CascadeError as error:
            if isinstance(error, NodeLost):
                self._link.lost(client, error)
            self._count("unsaved_blocks", len(run.keys))
        except Exception:
            log.exception("cascade: %d blocks are not saved", len(run.keys))
        finally:
            self._memory.save_buffers.put(buffer)
            self._count("save_seconds", time.perf_counter() - began)

    def _count(self, name: str, by: float) -> None:
        with self._lock:
            self._stats.count(name, by)


def free_buffers(count: int, size_bytes: int, device: torch.device) -> queue.SimpleQueue[Buffer]:
    """So many buffers, all free."""
    free: queue.SimpleQueue[Buffer] = queue.SimpleQueue()
    for _ in range(count):
        free.put(Buffer(size_bytes, device))
    return free
