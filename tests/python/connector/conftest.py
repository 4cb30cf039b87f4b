"""What the tests of the connector's parts share: a node."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tier")]

# Before vLLM is imported: nothing is asked of the network, and its log is for humans.
os.environ.update(HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL="WARNING")

from nodes import Node, remove  # noqa: E402


@pytest.fixture
def absent_node(node: Node) -> Node:
    """A node that is not there; a test may start it."""
    return remove(node)
