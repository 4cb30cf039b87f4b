"""The threads that move chunks."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cascade_kv.vllm_tier.threads import Priority, Threads

PATIENCE_S = 20.0


def busy(threads: Threads) -> threading.Event:
    """Occupies a thread until the event is set."""
    started, go_on = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        assert go_on.wait(PATIENCE_S)

    threads.submit(Priority.LOAD, work)
    assert started.wait(PATIENCE_S)
    return go_on


def test_loads_go_before_stores_and_stores_before_touches() -> None:
    threads, done = Threads(1), []

    def note(word: str) -> Callable[[], None]:
        return lambda: done.append(word)

    go_on = busy(threads)
    for priority, word in (
        (Priority.TOUCH, "touch"),
        (Priority.STORE, "first store"),
        (Priority.STORE, "second store"),
        (Priority.LOAD, "load"),
    ):
        threads.submit(priority, note(word))
    go_on.set()
    threads.stop()
    assert done == ["load", "first store", "second store", "touch"]


def test_drain_returns_when_nothing_is_under_way() -> None:
    threads, done = Threads(2), []
    first, second = busy(threads), busy(threads)
    threads.submit(Priority.STORE, lambda: done.append("store"))
    threading.Timer(0.05, lambda: (first.set(), second.set())).start()
    threads.drain()
    assert done == ["store"]
    threads.stop()


def test_stop_does_what_was_handed_over_and_ends_all_threads() -> None:
    before = threading.active_count()
    threads, done = Threads(3), []
    for number in range(100):
        threads.submit(Priority.STORE, lambda number=number: done.append(number))
    threads.stop()
    assert sorted(done) == list(range(100))
    assert threading.active_count() == before
