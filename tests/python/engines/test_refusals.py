"""Settings under which the cache would do harm are refused at the start, with the flag that mends them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from node_process import Node

from harness.servers import Server, Setup
from harness.waiting import until

Start = Callable[..., Server]


@pytest.mark.short
@pytest.mark.parametrize(
    ("arguments", "extra_config", "advice"),
    [
        (("--prefix-caching-hash-algo", "xxhash"), (), "Set --prefix-caching-hash-algo sha256"),
        ((), (("instanse", "a"),), "did you mean 'instance'?"),
    ],
)
def test_an_engine_that_would_do_harm_does_not_start_and_says_what_to_set(
    served_node: Node,
    llama: Path,
    start: Start,
    arguments: tuple[str, ...],
    extra_config: tuple[tuple[str, str], ...],
    advice: str,
) -> None:
    server = start(Setup(llama, served_node, arguments=arguments, extra_config=extra_config))
    until("the engine refuses", server.ended)
    assert advice in server.log(), server.log_tail()
