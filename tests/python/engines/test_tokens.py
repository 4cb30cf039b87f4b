"""No token differs because of the cache: what is loaded continues as what was computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from node_process import Node

from harness.prompts import prompt
from harness.servers import BLOCK_TOKENS, Answer, Server, Setup

Oracle = Callable[..., Answer]
Start = Callable[..., Server]


def whole_blocks(tokens: list[int]) -> int:
    """Tokens of a prompt that lie in whole blocks."""
    return len(tokens) // BLOCK_TOKENS * BLOCK_TOKENS


@pytest.mark.short
@pytest.mark.parametrize("length", [31, 32, 33, 200, 1024, 1500])
def test_a_reloaded_prompt_continues_as_a_cold_one(served: Server, oracle: Oracle, length: int) -> None:
    asked = prompt("reload", length)
    alone = oracle(asked)
    assert served.complete(asked) == alone
    served.forget()
    before = served.loaded_tokens()
    assert served.complete(asked) == alone
    assert served.loaded_tokens() - before == whole_blocks(asked)


@pytest.mark.short
def test_a_longer_prompt_loads_what_it_has_in_common(served: Server, oracle: Oracle) -> None:
    shorter, longer = prompt("common", 320), prompt("common", 320) + prompt("tail", 300)
    served.complete(shorter)
    served.forget()
    before = served.loaded_tokens()
    assert served.complete(longer) == oracle(longer)
    assert served.loaded_tokens() - before == whole_blocks(shorter)


@pytest.mark.short
def test_an_engine_finds_what_another_one_on_the_machine_computed(
    served: Server, served_node: Node, llama: Path, oracle: Oracle, start: Start
) -> None:
    asked = prompt("two engines", 320)
    served.complete(asked)
    other = start(Setup(llama, served_node, recording=True)).ready()
    assert other.complete(asked) == oracle(asked)
    assert other.loaded_tokens() == whole_blocks(asked)

    back = prompt("and back", 320)
    other.complete(back)
    before = served.loaded_tokens()
    assert served.complete(back) == oracle(back)
    assert served.loaded_tokens() - before == whole_blocks(back)


@pytest.mark.short
def test_a_restarted_engine_starts_warm_forked_or_spawned(
    node: Node, llama: Path, oracle: Oracle, start: Start
) -> None:
    asked = prompt("restart", 320)
    loaded = []
    for spawned in (False, True):
        server = start(Setup(llama, node), spawned=spawned).ready()
        assert server.complete(asked) == oracle(asked)
        loaded.append(server.loaded_tokens())
        server.stop()
    assert loaded == [0, whole_blocks(asked)]
