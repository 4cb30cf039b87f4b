"""A CascadeTier in vLLM's own tiering, with a real node; see `tiering.py`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nodes import Node, damage
from tiering import NOTHING, Tiering, keys_of, until
from vllm.v1.kv_offload.base import LookupResult

import cascade_kv
from cascade_kv.vllm.support import Unsupported
from cascade_kv.vllm_tier.engine import Engine
from cascade_kv.vllm_tier.metrics import definitions
from cascade_kv.vllm_tier.threads import Priority

Start = Callable[..., Tiering]


@pytest.fixture
def start(model: Path) -> Iterator[Start]:
    """Starts engines' schedulers, and ends them with the test."""
    started: list[Tiering] = []

    def tiering(node: Node, **options: Any) -> Tiering:
        started.append(Tiering(model, node.socket, **options))
        return started[-1]

    yield tiering
    for engine in started:
        engine.close()


def test_a_fresh_engine_finds_what_another_stored_byte_for_byte(node: Node, start: Start) -> None:
    first, keys = start(node), keys_of("prompt", 9)
    chunks = {key: first.chunk(number) for number, key in enumerate(keys)}
    first.store(first.request("a", keys), chunks)
    assert first.figures()["saved_blocks"] == 9
    second = start(node)
    longer = keys + keys_of("another end", 3)
    assert second.load(second.request("b", longer), longer) == list(chunks.values())
    figures = second.figures()
    assert (figures["loaded_blocks"], figures["loaded_bytes"]) == (9, 9 * second.row_bytes)
    assert "failed_loads" not in figures


def test_chunks_of_several_blocks_are_shared_by_engines_of_the_same_chunk_only(
    node: Node, start: Start
) -> None:
    large, keys = start(node, blocks_per_chunk=4), keys_of("prompt", 3)
    large.store(large.request("a", keys), {key: large.chunk(number) for number, key in enumerate(keys)})
    small, again = start(node), start(node, blocks_per_chunk=4)
    assert small.look(small.request("b", keys), keys) == []
    assert len(again.load(again.request("c", keys), keys)) == 3


def test_tenants_of_different_salts_find_nothing_of_each_other(node: Node, start: Start) -> None:
    keys = keys_of("prompt", 2)
    one, other = start(node, tenant_salt="one"), start(node, tenant_salt="other")
    one.store(one.request("a", keys), {key: one.chunk(0) for key in keys})
    assert other.look(other.request("b", keys), keys) == []


def test_what_is_there_is_not_copied_again(node: Node, start: Start) -> None:
    keys = keys_of("prompt", 4)
    for engine, figure in ((start(node), "saved_blocks"), (start(node), "present_blocks")):
        engine.store(
            engine.request("a", keys), {key: engine.chunk(number) for number, key in enumerate(keys)}
        )
        figures = engine.figures()
        assert figures[figure] == 4
    assert "saved_blocks" not in figures


def test_what_was_found_is_not_evicted_before_it_is_loaded(node: Node, start: Start) -> None:
    writer, keys = start(node), keys_of("prompt", 8)
    writer.store(writer.request("a", keys), {key: writer.chunk(number) for number, key in enumerate(keys)})
    reader = start(node, load_threads=1)
    # The reader's only thread is busy while others fill the node several times over.
    go_on = threading.Event()
    reader.tier._threads.submit(Priority.LOAD, lambda: go_on.wait(60))
    request = reader.request("b", keys)
    assert reader.look(request, keys) == [LookupResult.HIT_PENDING] * 8
    reader.manager.on_schedule_end(NOTHING)
    with cascade_kv.connect(sockets=[str(node.socket)]) as other:
        content = bytes(1 << 20)
        for number in range(256):
            assert other.put(number.to_bytes(32, "little"), content, timeout_s=20)
        other.flush(20)
        assert not other.contains((0).to_bytes(32, "little")), "the node had to evict"
    go_on.set()
    reader.settle()
    assert reader.load(request, keys) == [reader.chunk(number) for number in range(8)]


@pytest.fixture
def another_job(start: Start, tmp_path: Path) -> Iterator[Node]:
    """A node whose memory is empty, and whose store has a prompt of 9 chunks that another job's engine left."""
    with Node("job", f"lustre.directory={tmp_path}") as node:
        writer, keys = start(node), keys_of("prompt", 9)
        writer.store(
            writer.request("a", keys), {key: writer.chunk(number) for number, key in enumerate(keys)}
        )
        node.stop()
        node.start()
        # What the store has is told bit by bit: the chunks, and what their namespace is.
        until(lambda: node.status()["tiers"]["lustre"]["pieces"] == len(keys) + 1)
        yield node


def test_chunks_of_another_job_are_brought_before_they_are_found(another_job: Node, start: Start) -> None:
    engine, keys = start(another_job, prefill_tokens_per_s=1), keys_of("prompt", 9)
    calls, request = record(engine), engine.request("b", keys)
    until(lambda: LookupResult.RETRY not in engine.look(request, keys))
    assert engine.load(request, keys) == [engine.chunk(number) for number in range(9)]
    figures = engine.figures()
    assert (figures["promotions"], figures["promoted_blocks"]) == (1, 9)
    engine.manager.on_request_finished(request)
    asked = {name for name, thread in calls if thread is threading.main_thread()}
    assert asked == {"contains", "hold", "locate_async", "promote_async"}, "nothing that waits"


def test_chunks_that_are_not_worth_waiting_for_are_computed(another_job: Node, start: Start) -> None:
    engine, keys = start(another_job, prefill_tokens_per_s=10**9), keys_of("prompt", 9)
    engine.tier._patience.brought(10, 1.0)
    for number in range(20):
        request = engine.request(f"r{number}", keys)
        until(lambda request=request: LookupResult.RETRY not in engine.look(request, keys))
        engine.manager.on_request_finished(request)
    assert not engine.tier._wishes


def test_the_scheduler_asks_for_nothing_that_waits(node: Node, start: Start) -> None:
    writer, keys = start(node), keys_of("prompt", 6)
    assert saved(writer, keys) == 6
    engine = start(node)
    calls = record(engine)
    request = engine.request("b", keys)
    assert len(engine.load(request, keys)) == 6
    assert saved(engine, keys_of("other", 3)) == 3
    engine.manager.on_request_finished(request)
    engine.tier.drain_jobs()
    asked: dict[bool, set[str]] = {True: set(), False: set()}
    for name, thread in calls:
        asked[thread is threading.main_thread()].add(name)
    assert asked[True] == {"contains", "hold"}
    assert asked[False] == {"describe", "get_blocks", "put_blocks", "match_chain"}


def test_a_frozen_node_delays_nobody_and_the_rest_is_dropped(node: Node, start: Start) -> None:
    engine, keys = start(node, chunks=512), keys_of("prompt", 400)
    node.freeze()
    try:
        # More than the slots that were granted before.
        engine.store(
            engine.request("a", keys), {key: engine.chunk(number) for number, key in enumerate(keys)}
        )
        assert engine.figures()["unsaved_blocks"] > 0
    finally:
        node.thaw()
    more = keys_of("more", 4)
    until(lambda: saved(engine, more) == 4)


def test_without_a_node_everything_misses_and_it_is_said_once_with_the_paths(
    absent_node: Node, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("vllm.cascade").propagate = True
    with caplog.at_level(logging.WARNING, "vllm.cascade"):
        engine, keys = start(absent_node), keys_of("prompt", 3)
        assert saved(engine, keys) == 0
        assert engine.figures()["connected"] == 0
        absent_node.start()
        until(lambda: engine.figures()["connected"] == 1)
        assert saved(engine, keys_of("later", 3)) == 3
    said = [record.getMessage() for record in caplog.records]
    assert len([text for text in said if str(absent_node.socket) in text]) == 1
    assert len([text for text in said if "again" in text]) == 1


def test_a_node_that_was_killed_and_started_again_still_has_it(node: Node, start: Start) -> None:
    engine, keys = start(node), keys_of("prompt", 5)
    engine.store(engine.request("a", keys), {key: engine.chunk(number) for number, key in enumerate(keys)})
    node.kill()
    for attempt in range(8):
        saved(engine, keys_of(f"lost {attempt}", 40))
    node.start()
    fresh = start(node)
    assert fresh.load(fresh.request("b", keys), keys) == [fresh.chunk(number) for number in range(5)]
    # The engine that lived through it comes back by itself.
    attempts = iter(range(10_000))
    until(lambda: saved(engine, keys_of(f"back {next(attempts)}", 2)) == 2)


def test_a_corrupt_chunk_fails_alone_and_is_stored_anew(node: Node, start: Start) -> None:
    writer, keys = start(node), keys_of("prompt", 5)
    chunks = {key: writer.chunk(100 + number) for number, key in enumerate(keys)}
    writer.store(writer.request("a", keys), chunks)
    damage(node, chunks[keys[2]])
    reader = start(node)
    request = reader.request("b", keys)
    assert reader.load(request, keys) == list(chunks.values())[:2]
    figures = reader.figures()
    assert (figures["missed_corrupt"], figures["failed_loads"], figures["loaded_blocks"]) == (1, 1, 4)
    assert reader.tier.lookup(keys[2], request) is LookupResult.MISS
    # The node looks for itself, and drops it.
    until(lambda: reader.tier.lookup(keys[2], reader.request("c", keys)) is LookupResult.MISS)
    reader.store(reader.request("d", keys), {keys[2]: chunks[keys[2]]})
    third = start(node)
    assert third.load(third.request("e", keys), keys) == list(chunks.values())


def test_a_chunk_of_another_length_is_dropped_and_stored_anew(node: Node, start: Start) -> None:
    engine, keys = start(node), keys_of("prompt", 2)
    (wrapped,) = engine.tier._namespaces.of(None).wrap([keys[0][:-4]])
    with cascade_kv.connect(sockets=[str(node.socket)]) as other:
        assert other.put(wrapped, b"short", wait=True).outcome == "fresh"
    assert engine.load(engine.request("a", keys), keys) == []
    assert engine.figures()["missed_length"] == 1
    until(lambda: engine.tier.lookup(keys[0], engine.request("b", keys)) is LookupResult.MISS)
    assert saved(engine, keys) == 2


def test_an_engine_that_was_told_to_forget_finds_nothing_and_others_do(node: Node, start: Start) -> None:
    engine, keys = start(node), keys_of("prompt", 3)
    assert saved(engine, keys) == 3
    engine.manager.reset_cache()
    assert engine.look(engine.request("b", keys), keys) == []
    other = start(node)
    assert len(other.load(other.request("c", keys), keys)) == 3


def test_every_figure_has_a_definition_for_prometheus(node: Node, start: Start) -> None:
    engine, keys = start(node), keys_of("prompt", 3)
    engine.store(engine.request("a", keys), {key: engine.chunk(0) for key in keys})
    stats = engine.tier.get_stats()
    assert set(stats.reduce()) <= set(definitions())


def test_a_misspelt_setting_names_the_one_that_was_meant(node: Node, start: Start) -> None:
    with pytest.raises(Unsupported, match="CascadeTier.*no setting 'sokket'; did you mean 'socket'"):
        start(node, sokket="x")


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({"prefix_caching_hash_algo": "xxhash"}, "--prefix-caching-hash-algo sha256"),
        ({"enable_lora": True}, "drop --enable-lora"),
    ],
)
def test_an_engine_whose_chunks_cannot_be_shared_is_refused_with_the_flag_to_set(
    node: Node, start: Start, arguments: dict[str, Any], advice: str
) -> None:
    with pytest.raises(Unsupported, match=advice):
        start(node, engine=arguments)


def test_a_tier_that_is_made_by_hand_says_who_makes_it() -> None:
    with pytest.raises(Unsupported, match="OffloadingConnector"):
        Engine.under_construction()


def saved(engine: Tiering, keys: list) -> int:
    """How many of these chunks, stored now, the node took."""
    engine.figures()
    engine.store(engine.request(f"store {keys[0].hex()[:8]}", keys), {key: engine.chunk(1) for key in keys})
    return int(engine.figures().get("saved_blocks", 0))


def record(engine: Tiering) -> list[tuple[str, threading.Thread]]:
    """What is asked of the engine's client from now on, and by which thread; the client still does it."""
    client, calls = engine.tier._link.client(), []

    class Recorder:
        def __getattr__(self, name: str) -> Any:
            calls.append((name, threading.current_thread()))
            return getattr(client, name)

    engine.tier._link._client = Recorder()
    return calls
