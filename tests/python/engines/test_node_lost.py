"""The node may be absent, or die at any time: every request is answered as by vLLM alone, and hits come back with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Event

import pytest
from node_process import Node

from harness.prompts import prompt
from harness.servers import Answer, Server, Setup
from harness.waiting import until

Oracle = Callable[..., Answer]
Start = Callable[..., Server]

ABSENT, FOUND = "serves on without a cache", "has a node again"
PROCESSES = 2
"""The scheduler and one worker: each has a connection of its own, and a word to say about it."""


@pytest.fixture
def absent_node(node: Node) -> Node:
    """A node that is not running yet, and has never been as far as anybody can see."""
    node.kill()
    shutil.rmtree(node.directory)
    return node


def hits(server: Server, asked: list[int], expected: Answer) -> bool:
    """Whether the engine, having forgotten its own blocks, finds a prompt in the cache. The answer is right either way."""
    server.forget()
    before = server.loaded_tokens()
    assert server.complete(asked) == expected
    return server.loaded_tokens() > before


@pytest.mark.short
def test_an_engine_without_a_node_serves_says_so_once_and_finds_the_node_when_it_comes(
    absent_node: Node, llama: Path, oracle: Oracle, start: Start
) -> None:
    server = start(Setup(llama, absent_node)).ready()
    for number in range(5):
        asked = prompt(("absent", number))
        assert server.complete(asked) == oracle(asked)
    assert server.loaded_tokens() == 0
    said = [line for line in server.log().splitlines() if ABSENT in line]
    assert len(said) == PROCESSES
    assert all(f"{absent_node.instance}/node.sock" in line for line in said), "the paths that were tried"

    absent_node.start()
    until("scheduler and worker find the node", lambda: server.log().count(FOUND) == PROCESSES)
    asked = prompt("found")
    until("the first hit", lambda: hits(server, asked, oracle(asked)))


@pytest.mark.short
def test_a_node_killed_while_serving_costs_no_request_and_hits_come_back(
    node: Node, llama: Path, oracle: Oracle, start: Start
) -> None:
    server = start(Setup(llama, node)).ready()
    served: list[tuple[list[int], Answer]] = []
    enough = Event()

    def serve() -> None:
        for number in count():
            if enough.is_set():
                return
            # A new prompt is saved; an older one is loaded, as long as there is something to load from.
            server.forget()
            for asked in (prompt(("killed", number), 100), prompt(("killed", number // 2), 100)):
                served.append((asked, server.complete(asked)))

    with ThreadPoolExecutor(1) as background:
        serving = background.submit(serve)
        try:
            until("it serves from the cache", lambda: server.loaded_tokens() > 0)
            node.kill()
            until("it misses the node", lambda: ABSENT in server.log() or serving.done())
            node.start()
            until("it has found the node", lambda: FOUND in server.log() or serving.done())
        finally:
            enough.set()
        serving.result()
    for asked, answer in served:
        assert answer == oracle(asked)
    asked = prompt("after", 100)
    until("hits come back", lambda: hits(server, asked, oracle(asked)))
