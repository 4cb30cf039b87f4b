"""What calls answer: a miss is a value and so is a refusal; errors are typed."""

import multiprocessing
import os
import pickle
from pathlib import Path

import pytest

import cascade_kv
from cascade_kv import CascadeError, Client, DeadlinePassed, Fill, Miss, NodeLost, Stored
from content import chain, content, key
from node_process import Node


def test_a_miss_is_false_and_says_why(client: Client) -> None:
    missed = client.get(key(1))
    assert not missed
    assert isinstance(missed, Miss)
    assert (missed.reason, missed.needed_bytes, repr(missed)) == ("absent", None, 'Miss("absent")')
    assert client.get_into(key(1), bytearray(8)) == missed
    assert client.pin(key(1)) == missed
    assert client.hold([key(1)]) == missed
    assert client.stats()["misses_absent"] == 4


def test_a_target_that_is_too_short_learns_the_length(client: Client) -> None:
    client.put(key(1), bytes(5000))
    missed = client.get_into(key(1), bytearray(4999))
    assert isinstance(missed, Miss)
    assert (missed.reason, missed.needed_bytes) == ("too_short", 5000)


def test_an_empty_piece_is_a_hit_of_length_zero(client: Client) -> None:
    client.put(key(1), b"")
    found = client.get_into(key(1), bytearray(8))
    assert found == 0 and not isinstance(found, Miss)
    assert client.get(key(1)) == b""


def test_the_first_put_of_a_key_stays(client: Client) -> None:
    assert client.put(key(1), b"first", wait=True).outcome == "fresh"
    again = client.put(key(1), b"other", wait=True)
    assert again and again.outcome == "already_present"
    assert client.put(key(1), b"other").outcome == "already_present"
    assert client.get(key(1)) == b"first"


def test_a_put_that_is_refused_is_false_and_says_why(client: Client) -> None:
    refused = client.put(key(1), bytes(100 << 20))
    assert isinstance(refused, Stored)
    assert not refused
    assert (refused.outcome, refused.refusal) == ("refused", "too_large")
    reserved = client.reserve(100 << 20)
    assert reserved == refused


def test_what_one_client_put_another_process_gets(node: Node, client: Client) -> None:
    client.put(key(1), content(1, 100_000), wait=True)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(get_at, (node.socket, key(1))) == content(1, 100_000)


def get_at(socket: str, wanted: bytes) -> bytes | Miss:
    return cascade_kv.connect(sockets=[socket]).get(wanted)


def test_a_client_that_finds_no_node_lists_where_it_looked(tmp_path: Path) -> None:
    paths = [str(tmp_path / "a" / "node.sock"), str(tmp_path / "b" / "node.sock")]
    with pytest.raises(NodeLost) as caught:
        cascade_kv.connect(sockets=paths, timeout_s=0.2)
    assert all(path in str(caught.value) for path in paths)


def test_the_socket_of_the_environment_is_the_only_one_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CASCADE_SOCKET", raising=False)
    by_rule = cascade_kv.socket_paths("mine")
    assert by_rule[0].startswith(f"/dev/shm/cascade-{os.getuid()}/") and ".mine/" in by_rule[0]
    monkeypatch.setenv("CASCADE_SOCKET", "/elsewhere/node.sock")
    assert cascade_kv.socket_paths("mine") == ["/elsewhere/node.sock"]


def test_a_node_that_is_frozen_costs_a_deadline_and_no_more(node: Node, client: Client) -> None:
    client.put(key(1), b"data", wait=True)
    node.freeze()
    with pytest.raises(DeadlinePassed) as caught:
        client.flush(timeout_s=0.05)
    assert isinstance(caught.value, CascadeError) and isinstance(caught.value, TimeoutError)
    assert client.get(key(1)) == b"data", "a hit needs no node"
    node.thaw()
    client.flush(timeout_s=30)


@pytest.mark.parametrize(
    "error", [CascadeError, NodeLost, DeadlinePassed, cascade_kv.Forked, cascade_kv.RefusedByNode]
)
def test_errors_travel_between_processes(error: type[CascadeError]) -> None:
    copied = pickle.loads(pickle.dumps(error("why")))
    assert type(copied) is error and str(copied) == "why"


def test_a_piece_that_was_discarded_makes_way(client: Client) -> None:
    client.put(key(1), b"of no use", wait=True)
    assert client.discard(key(1))
    client.flush()
    assert not client.contains(key(1))
    assert client.put(key(1), b"better", wait=True).outcome == "fresh"
    assert not client.discard(key(2))


def test_a_closed_client_says_so_and_what_came_of_it_lives_on(client: Client) -> None:
    client.put_batch(chain(3), [b"one", b"two", b"three"])
    client.flush()
    view, hold, fill = client.pin(chain(1)[0]), client.hold(chain(3)), client.reserve(8)
    client.close()
    client.close()
    for call in (client.stats, client.event_fd, lambda: client.get(key(1)), lambda: client.put(key(1), b"")):
        with pytest.raises(ValueError, match="closed"):
            call()
    assert bytes(view) == b"one" and hold.blocks == 3
    assert isinstance(fill, Fill)
    fill.write(b"later on")
    assert fill.commit(key(1), wait=True).outcome == "fresh"


def test_a_node_tells_its_state(node: Node, client: Client) -> None:
    client.put(key(1), bytes(1000), wait=True)
    status = client.status()
    assert status["blocks"] == 1 and status["capacity_bytes"] == 64 << 20
    assert client.stats()["puts"] == 1 and client.stats()["bytes_in"] == 1000
