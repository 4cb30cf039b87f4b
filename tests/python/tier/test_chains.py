"""Order, depth and parent of chunks, from what vLLM tells of a request."""

from __future__ import annotations

from vllm.v1.kv_offload.base import OffloadKey, ReqContext, make_offload_key

from cascade_kv.vllm_tier.chains import Chain

CHUNK_TOKENS = 32


def hash_of(number: int) -> bytes:
    return bytes([number]) * 32


def key(number: int, group: int = 0) -> OffloadKey:
    return make_offload_key(hash_of(number), group)


def request(chunks: int, groups: int = 1) -> ReqContext:
    context = ReqContext("r")
    for group in range(groups):
        for number in range(chunks):
            context.set_offload_key_position(key(number, group), (number + 1) * CHUNK_TOKENS)
    return context


def test_chunks_in_no_order_become_one_chain_with_its_parent() -> None:
    (run,) = Chain(CHUNK_TOKENS).runs(request(6), [key(4), key(2), key(3)], [40, 20, 30])
    assert (run.depth, run.parent) == (2, hash_of(1))
    assert run.keys == [key(2), key(3), key(4)]
    assert run.rows == [20, 30, 40]


def test_a_gap_starts_a_run_that_still_names_its_parent() -> None:
    first, second = Chain(CHUNK_TOKENS).runs(request(6), [key(0), key(1), key(4)], [0, 1, 4])
    assert (first.depth, first.parent, first.rows) == (0, None, [0, 1])
    assert (second.depth, second.parent, second.rows) == (4, hash_of(3), [4])


def test_groups_are_chains_of_their_own_and_no_chunk_comes_before_its_parent() -> None:
    keys = [key(3, 1), key(0, 0), key(1, 0), key(0, 1)]
    runs = Chain(CHUNK_TOKENS).runs(request(4, groups=2), keys, [13, 0, 1, 10])
    assert [(run.group, run.depth, run.rows) for run in runs] == [(0, 0, [0, 1]), (1, 0, [10]), (1, 3, [13])]
    assert runs[2].parent == hash_of(2)


def test_chunks_that_are_hashed_later_are_taken_up() -> None:
    context, chain = request(2), Chain(CHUNK_TOKENS)
    chain.follow(context)
    context.set_offload_key_position(key(2), 3 * CHUNK_TOKENS)
    (run,) = chain.runs(context, [key(2)], [2])
    assert run.parent == hash_of(1)
    assert [run.keys for run in chain.whole()] == [[key(0), key(1), key(2)]]


def test_a_chunk_of_unknown_place_is_a_chain_of_its_own() -> None:
    context = request(2)
    context.set_offload_key_position(key(7), CHUNK_TOKENS + 5)
    whole, tail, stranger = Chain(CHUNK_TOKENS).runs(context, [key(7), key(1), key(9)], [7, 1, 9])
    assert (whole.keys, whole.parent) == ([key(1)], hash_of(0))
    for lone, number in ((tail, 7), (stranger, 9)):
        assert (lone.keys, lone.depth, lone.parent, lone.rows) == ([key(number)], 0, None, [number])


def test_parts_of_a_run_go_on_where_the_part_before_ended() -> None:
    (run,) = Chain(CHUNK_TOKENS).runs(request(6), [key(number) for number in range(1, 6)], [1, 2, 3, 4, 5])
    parts = list(run.parts(2))
    assert [(part.depth, part.parent, part.rows) for part in parts] == [
        (1, hash_of(0), [1, 2]),
        (3, hash_of(2), [3, 4]),
        (5, hash_of(4), [5]),
    ]
