"""What single calls cost a Python program, beside the same calls of a Rust program.

    cascade-node run &
    cargo build --release -p cascade-client --example get_latency
    python bench/python/latency.py --json --rust target/release/examples/get_latency

Attaches to the node that `cascade_kv.connect` finds. Rounds of Python and Rust take turns, so that what else
the machine does meets both; a ratio is the median over the rounds, its spread the quartiles. One thread, one
piece, which is hot.
"""

import argparse
import json
import mmap
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import cascade_kv

SMALL_BYTES = 4 << 10
LARGE_BYTES = 2 << 20
CHAIN_BLOCKS = 64
ROUNDS = 15
SMALL_CALLS = 20_000
LARGE_CALLS = 200


def timed(call: Callable[[], object], calls: int) -> list[int]:
    """Nanoseconds of each call, sorted."""
    clock = time.perf_counter_ns
    times = []
    for _ in range(calls):
        start = clock()
        call()
        times.append(clock() - start)
    return sorted(times)


def put(client: cascade_kv.Client, name: str, data: bytes) -> bytes:
    """A piece of one's own, and its key."""
    key = cascade_kv.Namespace(model=f"latency {os.getpid()}").wrap([name.encode()])[0]
    if not client.put(key, data, wait=True, timeout_s=30):
        raise SystemExit(f"the node has no room for {len(data)} bytes")
    return key


def small_calls(client: cascade_kv.Client) -> dict[str, float]:
    """Calls that take a microsecond or few."""
    key, target = put(client, "small", os.urandom(SMALL_BYTES)), bytearray(SMALL_BYTES)
    chain = cascade_kv.Namespace(model=f"latency {os.getpid()}", block_tokens=1).chain(range(CHAIN_BLOCKS))
    client.put_batch(chain, [bytes(64)] * CHAIN_BLOCKS)
    client.flush(30)
    assert client.match_chain(chain) == CHAIN_BLOCKS
    calls: dict[str, Callable[[], object]] = {
        "python_clock": lambda: None,
        "python_contains": lambda: client.contains(key),
        "python_get_into_4kib": lambda: client.get_into(key, target),
        "python_match_64": lambda: client.match_chain(chain),
        "python_hold_64": lambda: client.hold(chain),
    }
    figures = {}
    for name, call in calls.items():
        times = timed(call, SMALL_CALLS)
        figures[f"{name}_p50_ns"] = times[len(times) // 2]
        figures[f"{name}_p99_ns"] = times[len(times) * 99 // 100]
    return figures


def large_gets(client: cascade_kv.Client, rust: Path | None) -> dict[str, float | list[float]]:
    """`get_into` of 2 MiB, in turns with the Rust client."""
    key = put(client, "large", os.urandom(LARGE_BYTES))
    # On a page, as an engine's blocks are: a target a few dozen bytes beside the source, modulo 4 KiB, costs any
    # copy a multiple (the processor takes its loads for those of its own stores).
    target = mmap.mmap(-1, LARGE_BYTES)
    ours: list[float] = []
    theirs: list[float] = []
    asked = (
        subprocess.Popen([rust], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) if rust else None
    )
    for _ in range(ROUNDS):
        ours.append(statistics.median(timed(lambda: client.get_into(key, target), LARGE_CALLS)))
        if asked:
            print(key.hex(), LARGE_BYTES, LARGE_CALLS, file=asked.stdin, flush=True)
            theirs.append(int(asked.stdout.readline()))
    figures: dict[str, float | list[float]] = {"python_get_into_2mib_p50_ns": statistics.median(ours)}
    if asked:
        asked.stdin.close()
        asked.wait()
        ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
        lower, middle, upper = statistics.quantiles(ratios, n=4)
        figures["rust_get_into_2mib_p50_ns"] = statistics.median(theirs)
        figures["python_to_rust_get_into_2mib_speed_ratio"] = middle
        figures["python_to_rust_get_into_2mib_speed_ratio_spread"] = [lower, upper]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of lines")
    parser.add_argument(
        "--rust", type=Path, metavar="PROGRAM", help="the example get_latency of the Rust client"
    )
    arguments = parser.parse_args()
    with cascade_kv.connect() as client:
        figures = {"rounds": ROUNDS, **small_calls(client), **large_gets(client, arguments.rust)}
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:50} {value}")


if __name__ == "__main__":
    main()
