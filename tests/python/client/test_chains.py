"""Chains: matched, held while others fill the node, read under a hold of another process."""

import numpy
import pytest

from cascade_kv import Client, Hold, Miss, PagedCache
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
