"""Chains and pieces that only the file-system tier has: located, brought, read; by the node of another job."""

from collections.abc import Iterator
from pathlib import Path

import asyncio

import pytest

from cascade_kv import Client, Hold, Miss, PagedCache, aio
from content import chain, content
from node_process import Node

BLOCKS = 40
BLOCK_BYTES = 64 << 10
PATIENCE_S = 30.0


@pytest.fixture
def later(tmp_path: Path) -> Iterator[Node]:
    """A node with nothing in memory, whose store has a chain that a former node left."""
    with Node("later", f"lustre.directory={tmp_path}") as node:
        with node.connect() as client:
            keys = chain(BLOCKS)
            client.put_batch(keys, [content(i, BLOCK_BYTES) for i in range(BLOCKS)], timeout_s=PATIENCE_S)
            client.flush(PATIENCE_S)
        node.stop()
        node.start()
        with node.connect() as client:
            # What the store has is told bit by bit.
            while client.locate(keys, timeout_s=PATIENCE_S).blocks < BLOCKS:
                pass
        yield node


@pytest.fixture
def client(later: Node) -> Iterator[Client]:
    with later.connect() as client:
        yield client


def test_a_chain_is_located_where_it_lies(client: Client) -> None:
    located = client.locate([*chain(BLOCKS), b"\xff" * 32])
    assert (located.blocks, located.memory_blocks, located.tiers) == (BLOCKS, 0, 1)
    assert client.match_chain(chain(BLOCKS)) == 0


def test_a_promoted_chain_is_read_and_kept(later: Node, client: Client) -> None:
    keys = chain(BLOCKS)
    with client.promote(keys, timeout_s=PATIENCE_S) as promotion:
        assert (promotion.blocks, promotion.reason) == (BLOCKS, None)
        hold = promotion.hold()
    assert isinstance(hold, Hold) and hold.blocks == BLOCKS
    with later.connect() as other:
        target = bytearray(BLOCKS * BLOCK_BYTES)
        cache = PagedCache([memoryview(target).cast("B", (BLOCKS, BLOCK_BYTES))])
        assert other.get_blocks(cache, keys, range(BLOCKS)) == [BLOCK_BYTES] * BLOCKS
        assert target == b"".join(content(i, BLOCK_BYTES) for i in range(BLOCKS))
    assert client.locate(keys).memory_blocks == BLOCKS
    hold.release()


def test_a_part_of_a_chain_is_promoted_alone(client: Client) -> None:
    keys = chain(BLOCKS)
    with client.promote(keys[:7], timeout_s=PATIENCE_S) as promotion:
        assert promotion.blocks == 7
    # A window needs its last blocks only, wherever the others are.
    with client.promote(keys, [(0, 0, 2)], timeout_s=PATIENCE_S) as promotion:
        assert promotion.blocks == BLOCKS
    assert client.contains(keys[-1]) and client.contains(keys[-2])


def test_a_piece_is_read_wherever_it_lies(client: Client) -> None:
    keys, target = chain(BLOCKS), bytearray(BLOCK_BYTES)
    missed = client.get_within(keys[3], target, timeout_s=0)
    assert isinstance(missed, Miss) and missed.reason == "absent"
    assert client.get_within(keys[3], target, timeout_s=PATIENCE_S) == BLOCK_BYTES
    assert target == content(3, BLOCK_BYTES)
    short = client.get_within(keys[5], bytearray(10), timeout_s=PATIENCE_S)
    assert isinstance(short, Miss) and (short.reason, short.needed_bytes) == ("too_short", BLOCK_BYTES)


def test_chains_are_awaited(later: Node) -> None:
    async def body() -> None:
        async with await aio.connect(sockets=[later.socket], timeout_s=PATIENCE_S) as client:
            keys, target = chain(BLOCKS), bytearray(BLOCK_BYTES)
            first, rest = await asyncio.gather(
                client.get_within(keys[0], target, timeout_s=PATIENCE_S),
                client.promote(keys, timeout_s=PATIENCE_S),
            )
            assert (first, target) == (BLOCK_BYTES, content(0, BLOCK_BYTES))
            with rest:
                assert rest.blocks == BLOCKS == client.sync.match_chain(keys)

    asyncio.run(body())
