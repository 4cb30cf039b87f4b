"""What the tests of engines share: tiny models, the nursery, vLLM alone as the oracle, a node and an engine with the cache.

Starting an engine is what costs; so tests that leave one as they found it share it. Marked `short`: what CI runs on every
change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from node_process import Node

from harness import models
from harness.servers import Answer, Nursery, Server, Setup

Start = Callable[..., Server]

NODE_SETTINGS = ("segment.capacity=256MiB",)


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for models, logs and records."""
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """What forks servers."""
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def llama(nursery: Nursery, scratch: Path) -> Path:
    """A tiny Llama in float32: there cold, reloaded and recomputed prompts give the same tokens."""
    # After the nursery, which imports vLLM meanwhile.
    return models.make_llama(scratch / "llama", "float32")


@pytest.fixture
def start(nursery: Nursery, scratch: Path) -> Iterator[Start]:
    """Starts servers that end with the test: `start(Setup(...))`, and `spawned=True` for one that forks nothing."""
    with ExitStack() as ends:

        def started(setup: Setup, *, spawned: bool = False) -> Server:
            server = Server(setup, scratch, None if spawned else nursery)
            ends.callback(server.stop)
            return server

        yield started


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node of the test's own, which it may kill. More settings: `@pytest.mark.node("policy.name=lru")`."""
    mark = request.node.get_closest_marker("node")
    with Node("engine", *NODE_SETTINGS, *(mark.args if mark else ())) as node:
        yield node


@pytest.fixture(scope="session")
def oracle(nursery: Nursery, llama: Path, scratch: Path) -> Iterator[Callable[..., Answer]]:
    """What vLLM alone answers: `oracle(prompt, tokens)`."""
    with Server(Setup(llama), scratch, nursery) as server:
        yield server.complete


@pytest.fixture(scope="session")
def served_node() -> Iterator[Node]:
    """The node that `served` uses."""
    with Node("served", *NODE_SETTINGS) as node:
        yield node


@pytest.fixture(scope="session")
def served(nursery: Nursery, llama: Path, served_node: Node, scratch: Path) -> Iterator[Server]:
    """An engine with the cache, which notes the keys of what it saves."""
    with Server(Setup(llama, served_node, recording=True), scratch, nursery) as server:
        yield server
