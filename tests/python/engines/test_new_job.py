"""A job ends and another begins on the same store: its node is a new process with empty memory, and its first requests hit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from node_process import Node

from harness.prompts import prompt
from harness.servers import BLOCK_TOKENS, Answer, Server, Setup

Oracle = Callable[..., Answer]
Start = Callable[..., Server]


@pytest.fixture
def stored_node(tmp_path: Path) -> Iterator[Node]:
    """A node whose store is a folder of the test's own."""
    with Node("job", "segment.capacity=256MiB", f"lustre.directory={tmp_path}/store") as node:
        yield node


@pytest.mark.short
def test_the_first_requests_of_a_new_job_load_what_the_last_one_computed(
    stored_node: Node, llama: Path, oracle: Oracle, start: Start
) -> None:
    prompts = [prompt(("job", number), 320) for number in range(3)]
    first = start(Setup(llama, stored_node)).ready()
    for asked in prompts:
        assert first.complete(asked) == oracle(asked)
    assert first.loaded_tokens() == 0
    first.stop()
    stored_node.stop()
    assert not stored_node.directory.exists(), "nothing of the job is left in memory"

    stored_node.start()
    # A tiny model computes these in no time, for which nobody would wait: this one says that it is slow.
    slow = (("prefill_tokens_per_s", 10),)
    second = start(Setup(llama, stored_node, extra_config=slow)).ready()
    for asked in prompts:
        before = second.loaded_tokens()
        assert second.complete(asked) == oracle(asked)
        assert second.loaded_tokens() - before == len(asked) // BLOCK_TOKENS * BLOCK_TOKENS
    assert stored_node.status()["counters"]["promoted_pieces"] > 0
