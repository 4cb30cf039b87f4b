"""The node dies and comes back; its memory is damaged. Hits go on, misses are misses, and bytes are never
other bytes."""

import mmap
from pathlib import Path

import pytest

import cascade_kv
from cascade_kv import CascadeError, Client, Miss, NodeLost, View
from content import chain, content, key
from node_process import Node

MARK = bytes(range(251)) * 4


def damage(folder: Path, mark: bytes) -> None:
    """Turns a bit of the bytes after `mark`, wherever they lie in the node's memory."""
    found = 0
    for path in folder.iterdir():
        if not path.is_file() or path.stat().st_size == 0:
            continue
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            at = memory.find(mark)
            if at >= 0:
                memory[at + len(mark)] ^= 1
                found += 1
    assert found == 1, f"{found} copies in {list(folder.iterdir())}"


def test_what_is_resident_is_read_without_a_node(node: Node, client: Client) -> None:
    client.put(key(1), content(1, 100_000), wait=True)
    node.kill()
    assert client.get(key(1)) == content(1, 100_000)
    assert client.match_chain([key(1), key(2)]) == 1
    with pytest.raises(NodeLost) as caught:
        client.flush(timeout_s=0.2)
    assert node.socket in str(caught.value)


def test_a_node_that_comes_back_has_everything_and_its_clients_with_it(node: Node, client: Client) -> None:
    keys = chain(10)
    client.put_batch(keys, [content(i, 30_000) for i in range(10)])
    client.flush()
    view = client.pin(keys[0])
    node.kill()
    node.start()
    assert client.put(key(1), b"later", wait=True, timeout_s=30).outcome == "fresh"
    assert [client.get(one) for one in keys] == [content(i, 30_000) for i in range(10)]
    assert isinstance(view, View) and bytes(view) == content(0, 30_000)
    assert client.stats()["reattaches"] == 1
    with node.connect() as other:
        assert other.match_chain(keys) == 10


def test_damaged_bytes_are_a_miss_and_the_node_drops_them(node: Node, client: Client) -> None:
    data = MARK + content(1, 8192)
    client.put(key(1), data, wait=True)
    client.put(key(2), content(2, 8192), wait=True)
    damage(node.directory, MARK)
    view = client.pin(key(1))
    assert isinstance(view, View) and not view.verify()
    del view
    missed = client.get_into(key(1), bytearray(len(data)))
    assert isinstance(missed, Miss) and missed.reason in ("corrupt", "absent")
    client.flush(30)
    assert client.get(key(1)) == client.get(key(3)), "the node looked for itself and dropped it"
    assert client.get(key(2)) == content(2, 8192)
    assert client.put(key(1), data, wait=True).outcome == "fresh"
    assert client.get(key(1)) == data


def test_damaged_bytes_are_counted_when_they_are_copied(node: Node, client: Client) -> None:
    data = MARK + content(1, 300_000)
    client.put(key(1), data, wait=True)
    damage(node.directory, MARK)
    missed = client.get_into(key(1), bytearray(len(data)))
    assert isinstance(missed, Miss) and missed.reason == "corrupt"
    assert client.stats()["misses_corrupt"] == 1


def test_puts_while_the_node_is_away_end_in_an_error_and_nothing_hangs(node: Node, client: Client) -> None:
    client.put(key(1), b"data", wait=True)
    node.kill()
    ended = 0
    for number in range(2, 200):
        try:
            client.put(key(number), bytes(100_000), timeout_s=0.01)
        except CascadeError:
            ended += 1
            break
    assert ended, "grants run out"
    node.start()
    assert client.put(key(1000), b"data", wait=True, timeout_s=30).outcome == "fresh"


def test_a_client_of_a_node_that_stays_away_can_be_dropped(node: Node) -> None:
    client = node.connect()
    client.put(key(1), b"data", wait=True)
    view = client.pin(key(1))
    node.kill()
    client.close()
    assert isinstance(view, View) and bytes(view) == b"data"
    with pytest.raises(NodeLost):
        cascade_kv.connect(sockets=[node.socket], timeout_s=0.1)
