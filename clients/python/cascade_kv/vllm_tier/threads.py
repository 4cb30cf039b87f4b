"""The threads of a tier. vLLM's scheduler hands work over and looks for what is done; it waits for nothing.

Loads go before stores, since requests wait for them; among equals the first comes first.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from enum import IntEnum


class Priority(IntEnum):
    """What goes first."""

    LOAD = 0
    STORE = 1
    TOUCH = 2
    STOP = 3


class Threads:
    """A few threads that take work by priority. All methods are for one thread, the scheduler's."""

    def __init__(self, count: int) -> None:
        self._work: queue.PriorityQueue[tuple[Priority, int, Callable[[], None] | None]] = (
            queue.PriorityQueue()
        )
        self._numbers = itertools.count()
        self._threads = [
            threading.Thread(target=self._run, name=f"cascade-tier-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, priority: Priority, work: Callable[[], None]) -> None:
        """Hands work over. It must not raise."""
        self._work.put((priority, next(self._numbers), work))

    def drain(self) -> None:
        """Returns when all that was submitted is done."""
        self._work.join()

    def stop(self) -> None:
        """Returns when all that was submitted is done and the threads have ended."""
        for _ in self._threads:
            self._work.put((Priority.STOP, next(self._numbers), None))
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _run(self) -> None:
        while True:
            _, _, work = self._work.get()
            try:
                if work is None:
                    return
                work()
            finally:
                self._work.task_done()
