"""A tenant finds what it has computed, and nothing of any other's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from node_process import Node

from harness.prompts import prompt
from harness.servers import Answer, Server, Setup

Oracle = Callable[..., Answer]
Start = Callable[..., Server]

PROMPT_TOKENS = 256


@pytest.mark.short
def test_requests_of_two_salts_never_share_and_those_of_one_do(served: Server, oracle: Oracle) -> None:
    asked = prompt("salted", PROMPT_TOKENS)
    alone = oracle(asked)
    loaded = []
    for salt in ("ours", "theirs", "ours", "theirs", None):
        served.forget()
        before = served.loaded_tokens()
        more = {} if salt is None else {"cache_salt": salt}
        assert served.complete(asked, **more) == alone
        loaded.append(served.loaded_tokens() - before)
    assert loaded == [0, 0, PROMPT_TOKENS, PROMPT_TOKENS, 0]


def test_engines_of_two_tenants_never_share(node: Node, llama: Path, oracle: Oracle, start: Start) -> None:
    asked = prompt("tenants", PROMPT_TOKENS)
    loaded = []
    for tenant in ("ours", "theirs", "ours"):
        server = start(Setup(llama, node, extra_config=(("tenant_salt", tenant),), recording=True)).ready()
        assert server.complete(asked) == oracle(asked)
        loaded.append(server.loaded_tokens())
        server.complete(asked)
    assert loaded == [0, 0, PROMPT_TOKENS]
