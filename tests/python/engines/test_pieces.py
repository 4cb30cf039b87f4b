"""A piece that is damaged or gone costs its hit: the tokens stay, the reason is counted, and the block is cached anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from node_process import Node

from harness import damage
from harness.prompts import prompt
from harness.servers import BLOCK_TOKENS, Answer, Server
from harness.waiting import until

Oracle = Callable[..., Answer]

BLOCKS = 8
DAMAGED = 3


def cached(served: Server, node: Node, name: str) -> tuple[list[int], list[bytes]]:
    """A prompt of whole blocks that was served cold, and their keys, all of them in the cache."""
    asked = prompt(name, BLOCKS * BLOCK_TOKENS)
    before = len(served.saved_keys())
    served.complete(asked)
    # One block more may be full once the answer is appended; it is not the prompt's.
    keys = served.saved_keys()[before:][:BLOCKS]
    with node.connect() as client:
        assert client.match_chain(keys) == BLOCKS
    return asked, keys


@pytest.mark.short
@pytest.mark.parametrize(
    ("harm", "figure"),
    [
        # Seen only when it is read: vLLM keeps what comes before it, and computes the rest.
        (damage.scribble, "missed_corrupt"),
        (damage.shorten, "missed_length"),
        # Seen when it is looked for: never promised, so nothing failed.
        (damage.drop, None),
    ],
)
def test_a_damaged_piece_changes_no_token_and_is_counted(
    served: Server,
    served_node: Node,
    oracle: Oracle,
    harm: damage.Damage,
    figure: str | None,
) -> None:
    asked, keys = cached(served, served_node, f"damage {harm.__name__}")
    alone = oracle(asked)
    with served_node.connect() as client:
        harm(client, keys, DAMAGED)
    served.forget()
    counted = served.cascade(figure) if figure else 0
    failed, loaded = served.cascade("failed_loads"), served.loaded_tokens()
    assert served.complete(asked) == alone
    if figure:
        until(f"{figure} counts the piece", lambda: served.cascade(figure) == counted + 1)
        until("the load is counted as failed", lambda: served.cascade("failed_loads") == failed + 1)
    else:
        assert served.cascade("failed_loads") == failed
        assert served.loaded_tokens() - loaded == DAMAGED * BLOCK_TOKENS

    def loaded_when_asked_again() -> int:
        served.forget()
        before = served.loaded_tokens()
        assert served.complete(asked) == alone
        return served.loaded_tokens() - before

    until("the block is cached anew", lambda: loaded_when_asked_again() == BLOCKS * BLOCK_TOKENS)
    assert figure is None or served.cascade(figure) == counted + 1, "nobody met the damage again"


@pytest.mark.short
def test_bytes_that_no_checksum_could_tell_from_right_ones_change_the_tokens(
    served: Server, served_node: Node, oracle: Oracle
) -> None:
    """Shows that the other tests would see a wrong byte: the tokens do depend on what is loaded."""
    asked, keys = cached(served, served_node, "falsified")
    with served_node.connect() as client:
        damage.falsify(client, keys, 0)
    served.forget()
    assert served.complete(asked).tokens != oracle(asked).tokens
