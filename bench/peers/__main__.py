"""The client of a peer that is a Python library, played by `cascade-bench compare`.

A line of JSON in, a line of JSON out. The first says which peer, how, and where the blocks lie; then passes, until the
pipe ends. Calls are timed here, one by one; what came back is compared by who asked. Standard output is the pipe, so
whatever a library prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from time import perf_counter_ns
from typing import Any

from peer import Peer, Setup, Unavailable


def main() -> None:
    """Serves until the pipe ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(what: dict[str, Any]) -> None:
        print(json.dumps(what), file=answers, flush=True)

    setup = Setup(**json.loads(sys.stdin.readline()))
    try:
        peer = made(setup)
    except Unavailable as why:
        answer({"absent": str(why)})
        return
    answer({"ready": peer.identity()})
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer({"done": played(peer, question)})
        except Exception as error:  # Whatever it is, who asked must hear of it.
            answer({"failed": f"{type(error).__name__}: {error}"})
    peer.close()


def made(setup: Setup) -> Peer:
    """The peer that is asked for. Its library is imported only now: it may not be here."""
    try:
        if setup.peer == "hdf5":
            from hdf5_file import Hdf5File

            return Hdf5File(setup)
        if setup.peer == "lmcache":
            from lmcache_backends import LmcacheBackend

            return LmcacheBackend(setup)
    except ImportError as error:
        raise Unavailable(f"{sys.executable}: {error}") from error
    raise ValueError(f"no peer {setup.peer!r}")


def played(peer: Peer, question: str | dict[str, list[int]]) -> dict[str, Any]:
    """One pass: a verb with the numbers of blocks, or a verb alone."""
    calls_ns: list[int] = []
    successes = 0
    settling_ns = 0
    if isinstance(question, dict):
        ((verb, numbers),) = question.items()
        call = {"put": peer.put, "get": peer.get}[verb]
        for number in numbers:
            start = perf_counter_ns()
            success = call(number)
            calls_ns.append(perf_counter_ns() - start)
            successes += success
        if verb == "put":
            start = perf_counter_ns()
            peer.settle()
            settling_ns = perf_counter_ns() - start
    else:
        {"clear": peer.clear, "rest": peer.rest, "wake": peer.wake}[question]()
    return {"calls_ns": calls_ns, "settling_ns": settling_ns, "successes": successes}


main()
