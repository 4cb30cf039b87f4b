"""What the tests of the tier share: a small model, and nodes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "engines")]

# Before vLLM is imported: nothing is asked of the network, and its log is for humans.
os.environ.update(HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL="WARNING")
# Engines run in the process of the test, and leave its threads where they are.
os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_OMP_THREADS_BIND="nobind")

from nodes import Node, remove  # noqa: E402


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 4 layers in float32, with random weights."""
    from harness.models import make_llama

    return make_llama(tmp_path_factory.mktemp("models") / "llama", "float32")


@pytest.fixture
def absent_node(node: Node) -> Node:
    """A node that is not there; a test may start it."""
    return remove(node)
