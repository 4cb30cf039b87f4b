"""Keys and bytes that tests tell apart."""

import random

from cascade_kv import Namespace

NAMESPACE = Namespace(model="test", block_tokens=16)


def key(number: int) -> bytes:
    """The key of a block."""
    return NAMESPACE.wrap([number.to_bytes(32, "little")])[0]


def chain(blocks: int) -> list[bytes]:
    """The keys of one chain."""
    return NAMESPACE.chain(range(16 * blocks))


def content(number: int, len_bytes: int) -> bytes:
    """Bytes that no other number has."""
    return random.Random(number).randbytes(len_bytes)
