"""What can happen to a piece in the cache, done to it on purpose."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import cascade_kv
import numpy

from harness.waiting import until

Damage = Callable[[cascade_kv.Client, list[bytes], int], None]
"""Damages the piece of one block of a chain."""


def scribble(client: cascade_kv.Client, chain: list[bytes], block: int) -> None:
    """Writes noise over the bytes where they lie in shared memory, behind everybody's back: the checksum is wrong then."""
    with pinned(client, chain[block]) as view:
        bytes_there = numpy.frombuffer(view, dtype=numpy.uint8)
        address, length = bytes_there.ctypes.data, bytes_there.nbytes
        del bytes_there
        file, offset = mapped_at(address)
        with open(file, "r+b") as arena:
            # Nobody looks at it here: a client that saw the damage would tell the node, which would drop the piece.
            assert os.pwrite(arena.fileno(), random.Random(block).randbytes(length), offset) == length


def shorten(client: cascade_kv.Client, chain: list[bytes], block: int) -> None:
    """Puts half of the piece under its key."""
    whole = client.get(chain[block])
    assert isinstance(whole, bytes), f"the piece is there: {whole}"
    put_instead(client, chain, block, whole[: len(whole) // 2])


def drop(client: cascade_kv.Client, chain: list[bytes], block: int) -> None:
    """Takes the piece out of the cache."""
    client.discard(chain[block])
    until("the piece is gone", lambda: not client.contains(chain[block]))


def falsify(client: cascade_kv.Client, chain: list[bytes], block: int) -> None:
    """Puts plausible numbers of the right length under the key, with a checksum that fits them."""
    with pinned(client, chain[block]) as view:
        count = len(view) // numpy.dtype(numpy.float32).itemsize
    noise = numpy.random.default_rng(block).standard_normal(count, dtype=numpy.float32)
    put_instead(client, chain, block, noise.tobytes())


def put_instead(client: cascade_kv.Client, chain: list[bytes], block: int, data: bytes) -> None:
    """Puts other bytes under a key: the first put of a key wins, so the piece has to go before."""
    drop(client, chain, block)
    parent = chain[block - 1] if block else None
    assert client.put(chain[block], data, parent=parent, depth=block, wait=True).outcome == "fresh"


def pinned(client: cascade_kv.Client, key: bytes) -> cascade_kv.View:
    """The piece where it lies."""
    view = client.pin(key)
    assert isinstance(view, cascade_kv.View), f"the piece is there: {view}"
    return view


def mapped_at(address: int) -> tuple[Path, int]:
    """The file that is mapped at an address of this process, and the address's offset in it."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, offset, _, _, *path = line.split(maxsplit=5)
        first, end = (int(bound, 16) for bound in span.split("-"))
        if first <= address < end:
            return Path(path[0]), int(offset, 16) + address - first
    raise AssertionError(f"nothing is mapped at {address:#x}")
