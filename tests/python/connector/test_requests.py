"""The keys of a request: made once, and made anew when the request becomes another one."""

from __future__ import annotations

import dataclasses

import pytest
from small_engine import BLOCK_TOKENS, IDENTITY, SmallRequest

from cascade_kv.vllm.messages import NULL_BLOCK, Blocks
from cascade_kv.vllm.requests import Match, Tracked

NAMESPACE = IDENTITY.namespace()


@pytest.fixture
def tracked() -> Tracked:
    request = SmallRequest("r", [])
    request.add(list(range(14)))
    return Tracked(request)


def test_keys_follow_the_hashes_of_the_request(tracked: Tracked) -> None:
    for tokens in ([], [1], [2, 3, 4, 5]):
        tracked.request.add(tokens)
        assert tracked.keys(NAMESPACE, 0) == NAMESPACE.wrap(tracked.request.block_hashes)


def test_a_request_whose_blocks_are_replaced_starts_again(tracked: Tracked) -> None:
    tracked.keys(NAMESPACE, 0)
    tracked.saved_blocks, tracked.match = 3, Match(3, 0)
    request = tracked.request
    request.tokens, request.block_hashes = request.tokens[: 2 * BLOCK_TOKENS], request.block_hashes[:2]
    request.add([99] * 8)
    assert tracked.keys(NAMESPACE, 0) == NAMESPACE.wrap(request.block_hashes)
    assert (tracked.saved_blocks, tracked.match) == (0, None)


def test_another_epoch_makes_all_keys_anew(tracked: Tracked) -> None:
    first = list(tracked.keys(NAMESPACE, 0))
    tracked.saved_blocks = 3
    other = dataclasses.replace(IDENTITY, epoch="later").namespace()
    assert not set(tracked.keys(other, 1)) & set(first)
    assert tracked.saved_blocks == 0


def test_only_confirmed_and_computed_tokens_fill_blocks(tracked: Tracked) -> None:
    tracked.request.num_computed_tokens = 5
    assert tracked.full_blocks(2, BLOCK_TOKENS) == 1
    assert tracked.full_blocks(3, BLOCK_TOKENS) == 2
    assert tracked.full_blocks(100, BLOCK_TOKENS) == 3, "drafts are not confirmed"


def test_runs_leave_out_null_blocks_and_know_their_parents() -> None:
    keys = [bytes([number]) * 32 for number in range(6)]
    blocks = Blocks(3, b"p" * 32, keys, ([1, 2, 3, 4, 5, 6], [NULL_BLOCK, 7, 8, NULL_BLOCK, 9, NULL_BLOCK]))
    seen = [(run.depth, run.parent, list(run.keys), list(run.block_ids)) for run in blocks.runs(1, 100)]
    assert seen == [(5, keys[0], keys[1:3], [7, 8]), (8, keys[3], keys[4:5], [9])], "the root is before all"
    assert [len(run.keys) for run in blocks.runs(0, 4)] == [4, 2]
    assert [run.parent for run in blocks.runs(0, 4)] == [b"p" * 32, keys[3]]
    assert blocks.ids() == set(range(1, 10))
