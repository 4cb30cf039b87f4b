"""Systems that serve at the same time, so that their requests can be interleaved."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from harness.servers import Nursery

from engines.engine import Engine, Model
from engines.systems import System


@contextmanager
def serving(
    systems: Iterable[System], model: Model, nursery: Nursery, absent: Callable[[str, str], None]
) -> Iterator[dict[str, Engine]]:
    """The engines by the names of their systems, all ready and idle. They start at once, and all end in the
    end.

    A system that cannot be served is left out, and `absent` hears its name and the reason; without one that
    is required, this fails. A measurement may put another engine of a system in place of one that it has
    stopped.
    """
    engines: dict[str, Engine] = {}
    opened: list[System] = []
    try:
        for system in systems:
            opened.append(system)
            try:
                system.open()
            except (AssertionError, OSError) as error:
                if system.required:
                    raise
                absent(system.name, str(error))
                continue
            engines[system.name] = Engine(system, model, nursery)
        for name, engine in list(engines.items()):
            try:
                engine.await_ready()
            except AssertionError as error:
                if engine.system.required:
                    raise
                absent(name, str(error))
                engines.pop(name).stop()
                continue
            print(f"{name} serves", file=sys.stderr)
        yield engines
    finally:
        for engine in engines.values():
            engine.stop()
        for system in opened:
            system.close()
