"""Many requests at once, and requests that nobody waits for any more."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness.prompts import prompt
from harness.servers import Answer, Server, Setup
from harness.waiting import until
from node_process import Node

Oracle = Callable[..., Answer]
Start = Callable[..., Server]

REQUESTS = 12
ANSWER_TOKENS = 64
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
@pytest.mark.parametrize("warm", [False, True])
def test_a_client_that_hangs_up_leaves_no_claim_behind(
    served: Server, served_node: Node, oracle: Oracle, warm: bool
) -> None:
    asked = prompt(("hang up", warm), 500)
    if warm:
        served.complete(asked)
        served.forget()
    served.complete_then_leave(asked)
    until("vLLM notices", lambda: served.running() == 0)
    until("nothing is claimed", lambda: claims(served_node) == 0)
    assert served.complete(asked) == oracle(asked)


def claims(node: Node) -> int:
    """Chains and pieces that clients of the node claim."""
    status = node.status()
    return sum(status["clients"][kind] for kind in ("holds", "pins"))
