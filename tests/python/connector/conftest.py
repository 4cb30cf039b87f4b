"""What the tests of the connector's parts share: a node."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tier")]

# Before vLLM is imported: nothing is asked of the network, and its log is for humans.
os.environ.update(HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL="WARNING")

from nodes import PROGRAM, Node  # noqa: E402


@pytest.fixture
def absent_node(tmp_path: Path) -> Iterator[Node]:
    """A node that a test may start."""
    if PROGRAM is None:
        pytest.skip("no cascade-node on PATH: install the wheel, or set CASCADE_NODE")
    node = Node(tmp_path)
    yield node
    node.stop()


@pytest.fixture
def node(absent_node: Node) -> Node:
    """A node that runs."""
    return absent_node.start()
