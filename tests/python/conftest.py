"""Fixtures of all suites of Python: a node of the test's own, and clients of it."""

import re
from collections.abc import Iterator

import pytest

from cascade_kv import Client
from node_process import Node


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node with 64 MiB, which nobody else uses. More settings:
    `@pytest.mark.node("segment.clients_max=2")`."""
    mark = request.node.get_closest_marker("node")
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", request.node.name)
    with Node(name, *(mark.args if mark else ())) as node:
        yield node


@pytest.fixture
def client(node: Node) -> Iterator[Client]:
    """A client of that node."""
    with node.connect() as client:
        yield client
