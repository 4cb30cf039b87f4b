"""Engines that keep KV otherwise: in bfloat16, split over two ranks, or with sliding windows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from node_process import Node

from harness import damage, models
from harness.prompts import prompt
from harness.servers import BLOCK_TOKENS, Server, Setup
from harness.waiting import until

Start = Callable[..., Server]

BLOCKS = 10
TWO_RANKS = ("--tensor-parallel-size", "2")


def test_in_bfloat16_a_loaded_prefix_continues_as_one_that_vllm_still_has(
    node: Node, scratch: Path, start: Start
) -> None:
    """A cold request is no oracle here: in bfloat16 the sizes of batches show in the tokens."""
    model = models.make_llama(scratch / "bf16", "bfloat16")
    server = start(Setup(model, node, dtype="bfloat16", recording=True)).ready()
    for seed in range(5):
        asked = prompt(("bfloat16", seed), BLOCKS * BLOCK_TOKENS + 7)
        server.complete(asked)
        own, loaded = server.own_hit_tokens(), server.loaded_tokens()
        native = server.complete(asked)
        assert server.own_hit_tokens() - own == BLOCKS * BLOCK_TOKENS
        assert server.loaded_tokens() == loaded
        server.forget()
        assert server.complete(asked) == native
        assert server.loaded_tokens() - loaded == BLOCKS * BLOCK_TOKENS


def test_two_tensor_ranks_hit_only_where_the_pieces_of_both_are_there(
    node: Node, llama: Path, start: Start
) -> None:
    asked = prompt("ranks", BLOCKS * BLOCK_TOKENS)
    alone = start(Setup(llama, arguments=TWO_RANKS)).ready()
    expected = alone.complete(asked)
    alone.stop()

    server = start(Setup(llama, node, arguments=TWO_RANKS, recording=True)).ready()
    assert server.complete(asked) == expected
    keys = server.saved_keys()[:BLOCKS]
    both = [(0, 0), (1, 0)]
    with node.connect() as client:
        until("both ranks have saved", lambda: client.match_chain(keys, both) == BLOCKS)
        server.forget()
        assert server.complete(asked) == expected
        assert server.loaded_tokens() == BLOCKS * BLOCK_TOKENS

        # The pieces of a block leave together; then rank 0's alone is put back.
        whole = client.get(keys[4])
        assert isinstance(whole, bytes)
        damage.drop(client, keys, 4)
        assert client.put(keys[4], whole, parent=keys[3], depth=4, wait=True).outcome == "fresh"
        assert client.match_chain(keys) > client.match_chain(keys, both) == 4
        server.forget()
        assert server.complete(asked) == expected
        assert server.loaded_tokens() == (BLOCKS + 4) * BLOCK_TOKENS
        until("the piece is cached anew", lambda: client.match_chain(keys, both) == BLOCKS)


def test_a_model_with_sliding_windows_continues_with_the_same_tokens(
    node: Node, scratch: Path, start: Start
) -> None:
    hybrid = models.make_hybrid(scratch / "hybrid")
    prompts = [prompt(("windows", length), length) for length in (40, 200, 700)]
    alone = start(Setup(hybrid)).ready()
    expected = [alone.complete(asked) for asked in prompts]
    alone.stop()

    server = start(Setup(hybrid, node, recording=True)).ready()
    for asked, answer in zip(prompts, expected, strict=True):
        assert server.complete(asked) == answer
        server.forget()
        loaded = server.loaded_tokens()
        assert server.complete(asked) == answer
        assert server.loaded_tokens() > loaded
    # A damaged piece of the windowed layers: the whole request is computed anew.
    with node.connect() as client:
        keys = server.saved_keys()
        damage.scribble(client, keys, 0)
    server.forget()
    assert server.complete(prompts[0]) == expected[0]
    until("it is counted", lambda: server.cascade("missed_corrupt") >= 1, 20.0)
