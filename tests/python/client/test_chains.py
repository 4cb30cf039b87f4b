"""Chains: matched, held while others fill the node, read under a hold of another process."""

import gc
import json

import numpy
import pytest

from cascade_kv import Client, DeadlinePassed, Hold, Miss, Namespace, PagedCache, RefusedByNode
from content import chain, content, key
from node_process import Node

BLOCK_BYTES = 64 << 10
# More than the node takes, in blocks of that size.
FLOOD_BLOCKS = 2 * (64 << 20) // BLOCK_BYTES


def flood(client: Client) -> None:
    """Fills the node with blocks of no chain, so that it evicts what it may."""
    for number in range(FLOOD_BLOCKS):
        client.put(key(10_000 + number), content(0, BLOCK_BYTES), timeout_s=30)
    client.flush(30)


def test_a_match_ends_where_a_share_is_missing(client: Client) -> None:
    keys = chain(6)
    client.put_batch(keys[:4], [b"rank 0"] * 4)
    client.put_batch(keys[:2], [b"rank 1"] * 2, rank=1)
    assert client.match_chain(keys) == 4
    assert client.match_chain(keys, [(0, 0), (1, 0)]) == 2
    assert client.match_chain(keys, [(1, 1)]) == 0
    assert client.match_chain(keys[4:]) == 0
    assert client.match_chain([]) == 0


def test_a_window_needs_only_the_last_blocks(client: Client) -> None:
    keys = chain(6)
    client.put_batch(keys[:5], [b"full"] * 5)
    for i in (3, 4):
        client.put(keys[i], b"window", group=1, parent=keys[i - 1], depth=i)
    assert client.match_chain(keys, [(0, 0), (0, 1)]) == 0
    assert client.match_chain(keys, [(0, 0), (0, 1, 2)]) == 5
    assert client.match_chain(keys, [(0, 0), (0, 1, 1)]) == 5
    assert client.match_chain(keys, [(0, 0), (0, 1, 3)]) == 0


def test_a_held_chain_stays_while_others_fill_the_node(node: Node, client: Client) -> None:
    keys, unheld = chain(16), [key(5000 + i) for i in range(16)]
    for chain_keys in (keys, unheld):
        client.put_batch(chain_keys, [content(i, BLOCK_BYTES) for i in range(16)])
    client.flush()
    hold = client.hold([*keys, key(1)])
    assert isinstance(hold, Hold)
    assert hold.blocks == 16
    with node.connect() as reader:
        flood(reader)
        # By another client, as an engine's worker reads what its scheduler holds.
        target = numpy.zeros((16, BLOCK_BYTES), "u1")
        assert reader.get_blocks(PagedCache([target]), keys, range(16)) == [BLOCK_BYTES] * 16
        assert all(target[i].tobytes() == content(i, BLOCK_BYTES) for i in range(16))
        assert reader.match_chain(unheld) == 0, "without a hold it would have gone"
    hold.release()
    hold.release()


def test_a_hold_keeps_no_block_from_being_discarded(client: Client) -> None:
    client.put(key(1), b"data", wait=True)
    with client.hold([key(1)]) as hold:
        assert hold.blocks == 1
        client.discard(key(1))
        client.flush()
        assert not client.contains(key(1))


def test_a_touch_tells_whether_the_tail_is_there(client: Client) -> None:
    keys = chain(3)
    client.put_batch(keys, [b"x"] * 3)
    client.flush()
    assert client.touch(keys[2], 3)
    assert not client.touch(key(1), 1)


@pytest.mark.parametrize("share", [(0,), (0, 0, 1, 1), (-1, 0), (0, 70_000)])
def test_a_share_is_rank_group_and_perhaps_a_window(client: Client, share: tuple[int, ...]) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        client.match_chain([key(1)], [share])  # type: ignore[list-item]


def test_a_batch_tells_the_node_where_its_blocks_stand(client: Client) -> None:
    keys = chain(8)
    client.put_batch(keys[:4], [b"x"] * 4)
    client.put_batch(keys[4:], [b"x"] * 4, parent=keys[3], depth=4)
    client.flush()
    assert client.status()["blocks"] == 8
    held = client.hold(keys)
    assert not isinstance(held, Miss) and held.blocks == 8


def test_a_chain_is_located_over_all_tiers(client: Client) -> None:
    keys = chain(6)
    client.put_batch(keys[:4], [b"rank 0"] * 4)
    client.put_batch(keys[:2], [b"rank 1"] * 2, rank=1)
    located = client.locate(keys)
    assert (located.blocks, located.memory_blocks, located.tiers) == (4, 4, 0)
    assert located and located == client.locate(keys[:4])
    assert client.locate(keys, [(0, 0), (1, 0)]).blocks == 2
    assert client.locate(keys, [(0, 0), (1, 0, 1)]).blocks == 2
    assert not client.locate(keys[4:]) and not client.locate([])
    assert repr(located) == "Located(4 blocks, 4 in memory, tiers=0b0)"
    with pytest.raises(RefusedByNode, match="64"):
        client.locate(keys, [(0, 0)] * 65)


def test_a_promoted_chain_stays_until_it_is_released(node: Node, client: Client) -> None:
    keys = chain(16)
    client.put_batch(keys, [content(i, BLOCK_BYTES) for i in range(16)])
    promotion = client.promote([*keys, key(1)], timeout_s=30)
    assert (promotion.blocks, promotion.reason) == (16, None)
    with node.connect() as other:
        flood(other)
        assert other.match_chain(keys) == 16
        with promotion:
            hold = promotion.hold()
            assert isinstance(hold, Hold) and hold.blocks == 16
        with pytest.raises(ValueError, match="released"):
            promotion.hold()
        assert node.status()["kept_chains"] == 0
        flood(other)
        assert other.match_chain(keys) == 16, "the hold has it now"
    assert (client.stats()["promotions"], client.stats()["promoted_blocks"]) == (1, 16)


def test_a_promotion_that_is_dropped_lets_its_chain_go(node: Node, client: Client) -> None:
    client.put(key(1), b"data")
    assert client.promote([key(1)]).blocks == 1
    gc.collect()
    client.flush()
    assert node.status()["kept_chains"] == 0


def test_questions_about_chains_are_polled(node: Node, client: Client) -> None:
    # More than are handed over at a time, so by polling.
    keys = [key(1)] * 3000
    client.put(key(1), b"data", wait=True)
    node.freeze()
    locating, promoting = client.locate_async(keys), client.promote_async(keys[:5])
    assert locating.poll() is None and promoting.poll() is None
    node.thaw()
    while (located := locating.poll()) is None:
        pass
    assert located.blocks == 3000
    assert promoting.wait(30).blocks == 5
    with pytest.raises(ValueError, match="was given"):
        promoting.poll()


def test_a_piece_that_no_tier_has_is_absent(client: Client) -> None:
    target = bytearray(100)
    client.put(key(1), b"data", wait=True)
    assert client.get_within(key(1), target) == 4
    missed = client.get_within(key(2), target)
    assert isinstance(missed, Miss) and missed.reason == "absent"


def test_a_frozen_node_costs_a_read_its_timeout(node: Node, client: Client) -> None:
    node.freeze()
    missed = client.get_within(key(2), bytearray(100), timeout_s=0.05)
    assert isinstance(missed, Miss) and missed.reason == "expired"
    with pytest.raises(DeadlinePassed):
        client.promote([key(2)], timeout_s=0.05)
    node.thaw()
    assert client.stats()["misses_expired"] == 1


def test_a_namespace_is_described_under_its_root(client: Client) -> None:
    namespace = Namespace(model='a "b"', tenant_salt="t", block_tokens=16)
    assert client.describe(namespace) and client.describe(namespace)
    client.flush()
    described = client.get(namespace.root, rank=0xFFFF, group=0xFFFF)
    assert isinstance(described, bytes) and described.decode() == namespace.description
    fields = json.loads(described)
    assert (fields["model"], fields["tenant"], fields["block_tokens"]) == ('a "b"', "t", 16)
    keys = namespace.chain(range(32))
    client.put_batch(keys, [b"x"] * 2, parent=namespace.root, depth=1)
    client.flush()
    assert client.status()["blocks"] == 3
