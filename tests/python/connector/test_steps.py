"""Requests of all kinds through both parts of the connector, against the one simple truth of what each byte
must be."""

from __future__ import annotations

import pytest
from nodes import Node
from small_engine import BLOCK_TOKENS, GROUPS, LAYERS, SmallEngine, SmallRequest, kv

import cascade_kv


def ask_for_some(engine: SmallEngine, count: int = 8) -> list[SmallRequest]:
    """Requests that share prefixes."""
    prefixes = [[7] * 17, [7] * 9 + [8] * 14, [9] * 12]
    requests = []
    for number in range(count):
        request = SmallRequest(f"r{number}", [])
        tail = [engine.random.randint(0, 3) for _ in range(engine.random.randint(1, 9))]
        request.add(engine.random.choice(prefixes) + tail)
        engine.ask(request, engine.random.randint(1, 14))
        requests.append(request)
    return requests


def run(engine: SmallEngine, before_loads: cascade_kv.Client | None = None) -> None:
    for _ in range(2000):
        if engine.idle:
            return
        engine.step(before_loads)
    raise AssertionError("some request never ends")


def piece(request: SmallRequest, group: int, block: int) -> bytes:
    """What the cache must hold."""
    start = block * BLOCK_TOKENS
    return b"".join(
        kv(layer, request.tokens[: position + 1])
        for layer in LAYERS[group]
        for position in range(start, start + BLOCK_TOKENS)
    )


@pytest.mark.parametrize("seed", range(12))
def test_every_byte_is_right_and_every_full_block_is_saved(node: Node, seed: int) -> None:
    engine = SmallEngine(str(node.socket), seed)
    requests = ask_for_some(engine)
    run(engine)
    with cascade_kv.connect(sockets=[str(node.socket)]) as client:
        client_sees = 0
        for request in requests:
            keys = engine.namespaces.of(None).wrap(request.block_hashes)
            for block, key in enumerate(keys):
                for group in range(len(LAYERS)):
                    found = client.get(key, group=group)
                    assert found == piece(request, group, block), (seed, request.request_id, block, group)
                    client_sees += 1
        assert client_sees
    engine.close()


def test_a_second_engine_loads_what_the_first_has_saved(node: Node) -> None:
    first = SmallEngine(str(node.socket), 1)
    ask_for_some(first)
    run(first)
    first.close()
    second = SmallEngine(str(node.socket), 1)
    requests = ask_for_some(second)
    run(second)
    second.close()
    assert all(request.loads for request in requests)
    assert not any(request.failed_loads for request in requests)


@pytest.mark.parametrize("seed", range(6))
def test_a_block_that_vanishes_before_its_load_is_computed_and_saved_again(node: Node, seed: int) -> None:
    engine = SmallEngine(str(node.socket), seed)
    ask_for_some(engine)
    run(engine)
    engine.close()
    again = SmallEngine(str(node.socket), seed)
    requests = ask_for_some(again)
    with cascade_kv.connect(sockets=[str(node.socket)]) as client:
        run(again, before_loads=client)
        assert sum(request.failed_loads for request in requests), "the test lets some vanish"
        again.close()
        last = SmallEngine(str(node.socket), seed)
        requests = ask_for_some(last)
        run(last)
        for request in requests:
            keys = last.namespaces.of(None).wrap(request.block_hashes)
            assert client.match_chain(keys, GROUPS.shares(1)) == len(keys)
    last.close()


def test_a_load_goes_on_when_its_request_is_aborted_and_leaves_nothing_behind(node: Node) -> None:
    first = SmallEngine(str(node.socket), 3)
    ask_for_some(first, 1)
    run(first)
    second = SmallEngine(str(node.socket), 3)
    (request,) = ask_for_some(second, 1)
    tokens, in_background = second.scheduler.matched(request, 0)
    assert tokens and in_background
    second._give_blocks(request, tokens)
    second.scheduler.allocated(
        request, type("Blocks", (), {"get_block_ids": lambda self: request.blocks})(), tokens
    )
    tracked = second.scheduler._tracked[request.request_id]
    assert tracked.hold is not None
    request.over = True
    second.scheduler.finished(request)
    assert tracked.hold is not None, "what is being read stays claimed"
    report = type(
        "Output", (), {"finished_recving": {"r0"}, "failed_recving": set(), "invalid_block_ids": set()}
    )
    second.scheduler.delivered(report())
    assert tracked.hold is None
    assert not second.scheduler._tracked
    first.close()
    second.close()


def test_after_a_reset_nothing_that_was_stored_is_found(node: Node) -> None:
    engine = SmallEngine(str(node.socket), 4)
    ask_for_some(engine, 2)
    run(engine)
    engine.scheduler.forget()
    request = SmallRequest("late", [])
    request.add([7] * 17)
    engine.ask(request, 1)
    assert engine.scheduler.matched(request, 0) == (0, False)
    run(engine)
    assert request.over
    engine.close()


def test_without_a_node_requests_are_served(absent_node: Node) -> None:
    engine = SmallEngine(str(absent_node.socket), 5)
    requests = ask_for_some(engine)
    run(engine)
    assert all(request.over and not request.loads for request in requests)
    engine.close()
