"""Loads: what counts as filled, and who fills it."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
import torch
from node_process import Node

from cascade_kv import Client, Miss, Namespace
from cascade_kv.vllm.link import Link
from cascade_kv.vllm.memory import HostMemory, Memory
from cascade_kv.vllm.messages import Blocks, Load, Run
from cascade_kv.vllm.transfers import Loads, run_anywhere

BLOCK_BYTES = 4096
SHORT, LONG, ABSENT = 1, 2, 3
WHOLE = [0, 4]
BLOCKS = 5


class RowsMemory(Memory):
    """Loads as a device's memory does, piece by piece into rows beside the engine's memory, but without a device:
    a piece that does not fill its row is answered with its length, not with a miss."""

    quick = False

    def __init__(self) -> None:
        self.block_bytes = [BLOCK_BYTES]
        self.run_blocks = [BLOCKS]

    def load(self, client: Client, run: Run, rank: int) -> list[int | Miss]:
        rows = list(np.empty((len(run.keys), BLOCK_BYTES), np.uint8))
        return client.get_batch_into(run.keys, rows, rank=rank, group=run.group)


class SharedWork(HostMemory):
    """Host memory of which a loading thread fills nothing until the thread that started the load took part."""

    def __init__(self) -> None:
        super().__init__([[torch.zeros((BLOCKS + 1, BLOCK_BYTES), dtype=torch.uint8)]])
        self.run_blocks = [1]
        self.caller = threading.current_thread()
        self.helped = threading.Event()

    def load(self, client: Client, run: Run, rank: int) -> list[int | Miss]:
        if threading.current_thread() is self.caller:
            self.helped.set()
        else:
            assert self.helped.wait(30.0), "nobody else took part"
        return super().load(client, run, rank)


HOST = HostMemory([[torch.zeros((BLOCKS + 1, BLOCK_BYTES), dtype=torch.uint8)]])


@pytest.mark.parametrize("memory", [HOST, RowsMemory()])
def test_a_piece_of_another_length_is_not_taken_for_a_block_and_makes_way(node: Node, memory: Memory) -> None:
    keys = Namespace(model="lengths", block_tokens=1).chain(range(BLOCKS))
    lengths = {SHORT: BLOCK_BYTES - 1, LONG: BLOCK_BYTES + 1, ABSENT: None}
    link = Link("a worker", socket=str(node.socket))
    link.open()
    loads = Loads(memory, 0, link, threads=1)
    with node.connect() as client:
        for depth, key in enumerate(keys):
            length = lengths.get(depth, BLOCK_BYTES)
            if length is not None:
                parent = keys[depth - 1] if depth else None
                assert client.put(key, bytes(length), parent=parent, depth=depth, wait=True)
        ids = [depth + 1 for depth in range(BLOCKS)]
        loads.start(Load("request", Blocks(first=0, parent=b"r" * 32, keys=keys, block_ids=(ids,))))
        finished = loads.finished(patience_s=30.0)
        assert [progress.request_id for progress in finished] == ["request"]
        assert finished[0].failed == {ids[SHORT], ids[LONG], ids[ABSENT]}
        counted = loads.take_stats().reduce()
        assert (counted["loaded_blocks"], counted["missed_length"], counted["missed_absent"]) == (len(WHOLE), 2, 1)
        loads.close()
        link.client().flush(30.0)
        assert [client.contains(key) for key in keys] == [depth in WHOLE for depth in range(BLOCKS)]
    link.close()


def test_a_thread_that_asks_for_finished_loads_takes_part_in_them(node: Node) -> None:
    keys = Namespace(model="shared work", block_tokens=1).chain(range(BLOCKS))
    link = Link("a worker", socket=str(node.socket))
    link.open()
    memory = SharedWork()
    loads = Loads(memory, 0, link, threads=1)
    with node.connect() as client:
        for depth, key in enumerate(keys):
            parent = keys[depth - 1] if depth else None
            assert client.put(key, bytes(BLOCK_BYTES), parent=parent, depth=depth, wait=True)
        ids = [depth + 1 for depth in range(BLOCKS)]
        loads.start(Load("request", Blocks(first=0, parent=b"r" * 32, keys=keys, block_ids=(ids,))))
        finished = loads.finished(patience_s=60.0)
        assert [(progress.request_id, progress.failed) for progress in finished] == [("request", set())]
        assert memory.helped.is_set()
        assert loads.take_stats().reduce()["loaded_blocks"] == BLOCKS
        loads.close()
    link.close()


def test_a_loading_thread_is_not_bound_to_the_processor_of_the_thread_that_started_it() -> None:
    everywhere = os.sched_getaffinity(0)
    ends = threading.Event()
    unbound = threading.Thread(target=ends.wait)
    unbound.start()
    found: list[set[int]] = []

    def loading() -> None:
        run_anywhere()
        found.append(os.sched_getaffinity(0))

    try:
        os.sched_setaffinity(0, {min(everywhere)})
        thread = threading.Thread(target=loading)
        thread.start()
        thread.join()
    finally:
        os.sched_setaffinity(0, everywhere)
        ends.set()
        unbound.join()
    assert found == [everywhere]
