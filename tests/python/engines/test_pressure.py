"""Many requests at once, and requests that nobody waits for any more."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from node_process import Node

from harness.prompts import prompt
from harness.servers import Answer, Server, Setup
from harness.waiting import until

Oracle = Callable[..., Answer]
Start = Callable[..., Server]

REQUESTS = 12
ANSWER_TOKENS = 64
BLOCK_BYTES = 256 << 10
"""Of one piece of the tiny Llama: 32 tokens, 4 layers, K and V of 4 heads of 64 floats."""
SCARCE = ("--max-model-len", "512", "--num-gpu-blocks-override", "24")
"""KV space for two of the requests, of eight blocks each at their end, while all are let in."""


@pytest.mark.short
def test_preempted_requests_continue_with_the_same_tokens(
    node: Node, llama: Path, oracle: Oracle, start: Start
) -> None:
    asked = [prompt(("pressure", number), 190) for number in range(REQUESTS)]
    alone = [oracle(one, ANSWER_TOKENS) for one in asked]
    server = start(Setup(llama, node, arguments=SCARCE)).ready()
    with ThreadPoolExecutor(REQUESTS) as clients:
        for _ in range(2):
            assert list(clients.map(lambda one: server.complete(one, ANSWER_TOKENS), asked)) == alone
    assert server.counter("vllm:num_preemptions_total") > 0
    assert server.loaded_tokens() > 0, "the second round finds what the first one computed"


@pytest.mark.short
@pytest.mark.node("segment.capacity=64MiB", "policy.name=lru")
def test_clients_that_hang_up_leave_no_claim_behind(
    node: Node, llama: Path, oracle: Oracle, start: Start
) -> None:
    server = start(Setup(llama, node, recording=True)).ready()
    asked = prompt("hang up", 1500)
    assert server.complete(asked) == oracle(asked)
    keys = server.saved_keys()
    for number in range(6):
        server.forget()
        server.complete_then_leave(asked, first_token=number % 2 == 0)
        until("vLLM notices", lambda: server.running() == 0)
    assert server.loaded_tokens() > 0
    assert server.complete(asked) == oracle(asked)

    # Whatever is claimed stays when the cache is filled with other blocks, and nothing else does.
    with node.connect() as client:
        assert client.match_chain(keys) == len(keys)
        claimed, others = [other_key(0)], [other_key(number) for number in range(1, 600)]
        assert client.put(claimed[0], bytes(BLOCK_BYTES), wait=True)
        with client.hold(claimed):
            for other in others:
                client.put(other, bytes(BLOCK_BYTES), wait=True)
            until("none of the prompt's blocks is left", lambda: not any(map(client.contains, keys)))
            assert client.contains(claimed[0])


def other_key(number: int) -> bytes:
    """A key that no engine uses."""
    return sha256(f"other {number}".encode()).digest()
