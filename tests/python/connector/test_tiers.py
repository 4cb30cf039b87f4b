"""What only lower tiers have, for an engine: brought before it is loaded, by the node of another job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes import Node
from small_engine import SmallEngine, SmallRequest
from test_steps import ask_for_some, run

PATIENT = 0.1
"""Tokens per second of an engine that computes so slowly that everything is worth waiting for."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Node]:
    """A node over a store that is empty yet."""
    with Node("store", f"lustre.directory={tmp_path}", "lustre.refresh_ms=100") as node:
        yield node


def another_job(node: Node, keys: list[bytes]) -> None:
    """The node of the next job: its memory is empty, its store has what the former one left."""
    node.stop()
    node.start()
    with node.connect() as client:
        while client.locate(keys, timeout_s=30).blocks < len(keys):
            pass
        assert client.match_chain(keys) == 0


def keys_of(engine: SmallEngine, requests: list[SmallRequest]) -> list[bytes]:
    """The longest chain, and all others below one root are told with it."""
    longest = max(requests, key=lambda request: len(request.block_hashes))
    return engine.namespaces.of(None).wrap(longest.block_hashes)


@pytest.mark.parametrize("seed", range(4))
def test_another_jobs_engine_loads_what_was_stored(store: Node, seed: int) -> None:
    first = SmallEngine(store.socket, seed)
    requests = ask_for_some(first)
    run(first)
    first.close()
    another_job(store, keys_of(first, requests))
    second = SmallEngine(store.socket, seed, blocks=96, prefill_tokens_per_s=PATIENT)
    requests = ask_for_some(second)
    run(second)
    stats = second.scheduler.take_stats()
    second.close()
    assert all(request.loads for request in requests)
    assert not any(request.failed_loads for request in requests)
    assert stats is not None
    assert stats.data["promotions"] >= 1
    assert stats.data["promoted_blocks"] >= stats.data["promotions"]
    assert "promotions_short" not in stats.data
    assert "loads_without_hold" not in stats.data
    assert store.status()["kept_chains"] == 0, "all was taken over, and given back"


def test_a_request_is_asked_about_again_until_its_blocks_are_there(store: Node) -> None:
    first = SmallEngine(store.socket, 1)
    (request,) = ask_for_some(first, 1)
    run(first)
    first.close()
    another_job(store, keys_of(first, [request]))
    second = SmallEngine(store.socket, 1, prefill_tokens_per_s=PATIENT)
    (request,) = ask_for_some(second, 1)
    store.freeze()
    try:
        # The answer of before does not count: it may have come already.
        second.scheduler.arrived(request)
        assert [second.scheduler.matched(request, 0) for _ in range(3)] == [(None, False)] * 3
    finally:
        store.thaw()
    while (found := second.scheduler.matched(request, 0)) == (None, False):
        pass
    assert found[0] and found[1]
    run(second)
    assert request.loads
    second.close()


def test_what_is_not_worth_waiting_for_is_computed(store: Node) -> None:
    first = SmallEngine(store.socket, 2)
    requests = ask_for_some(first)
    run(first)
    first.close()
    another_job(store, keys_of(first, requests))
    second = SmallEngine(store.socket, 2, prefill_tokens_per_s=1e9)
    # The tiers turned out to be slower than that.
    second.scheduler._patience.brought(10, 1.0)
    requests = ask_for_some(second)
    run(second)
    assert all(request.over for request in requests)
    second.close()


def test_a_request_that_ends_while_it_is_waited_for_leaves_nothing_behind(store: Node) -> None:
    first = SmallEngine(store.socket, 3)
    (request,) = ask_for_some(first, 1)
    run(first)
    first.close()
    another_job(store, keys_of(first, [request]))
    second = SmallEngine(store.socket, 3, prefill_tokens_per_s=PATIENT)
    (request,) = ask_for_some(second, 1)
    request.over = True
    second.scheduler.finished(request)
    assert not second.scheduler._tracked
    second.close()
    while store.status()["kept_chains"]:
        pass
