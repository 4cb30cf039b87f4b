"""Memory of the node in Python's hands: views that pin, fills that are written in place."""

import gc

import numpy
import pytest

from cascade_kv import Client, Fill, Miss, View
from content import content, key
from node_process import Node

BLOCK_BYTES = 256 << 10


def flood(client: Client, first: int) -> None:
    """Twice as much as the node takes."""
    for number in range(2 * (64 << 20) // BLOCK_BYTES):
        client.put(key(first + number), bytes(BLOCK_BYTES), timeout_s=30)
    client.flush(30)


def pinned(client: Client, number: int) -> View:
    view = client.pin(key(number))
    assert isinstance(view, View)
    return view


def test_a_view_keeps_its_bytes_while_others_fill_the_node(client: Client) -> None:
    client.put(key(1), content(1, BLOCK_BYTES), wait=True)
    view = pinned(client, 1)
    flood(client, 1000)
    assert bytes(view) == content(1, BLOCK_BYTES)
    assert view.verify() and len(view) == BLOCK_BYTES


def test_an_array_made_of_a_view_keeps_the_pin_alone(client: Client) -> None:
    client.put(key(1), content(1, BLOCK_BYTES), wait=True)
    array = numpy.frombuffer(pinned(client, 1), dtype="u1")
    client.close()
    gc.collect()
    assert not array.flags.writeable
    with pytest.raises(ValueError):
        array.flags.writeable = True
    assert array.tobytes() == content(1, BLOCK_BYTES)


def test_a_view_that_was_given_back_no_longer_pins(client: Client) -> None:
    client.put(key(1), content(1, BLOCK_BYTES), wait=True)
    with pinned(client, 1) as view:
        pass
    with pytest.raises(ValueError, match="given back"):
        memoryview(view)
    flood(client, 1000)
    assert not client.contains(key(1))


def test_a_pin_is_not_given_back_under_a_memoryview(client: Client) -> None:
    client.put(key(1), b"data", wait=True)
    view = pinned(client, 1)
    looked_at = memoryview(view)
    with pytest.raises(BufferError, match="1 buffers of it are alive"):
        view.__exit__(None, None, None)
    assert bytes(looked_at) == b"data"
    looked_at.release()
    view.__exit__(None, None, None)


def test_pins_beyond_the_budget_are_misses_and_gets_still_work(client: Client) -> None:
    views = []
    for number in range(100):
        client.put(key(number), content(number, 1 << 20), wait=True)
        view = client.pin(key(number))
        if isinstance(view, Miss):
            assert view.reason == "pin_budget"
            assert client.get(key(number)) == content(number, 1 << 20)
            break
        views.append(view)
    else:
        pytest.fail("a hundred MiB were pinned in a node of 64")


def test_a_fill_is_written_in_place_and_then_read(client: Client) -> None:
    fill = client.reserve(4096)
    assert isinstance(fill, Fill)
    assert len(fill) == 4096
    numpy.frombuffer(fill, dtype="u1")[:] = numpy.frombuffer(content(1, 4096), "u1")
    assert fill.commit(key(1), wait=True).outcome == "fresh"
    assert client.get(key(1)) == content(1, 4096)
    for again in (lambda: fill.commit(key(2)), lambda: memoryview(fill), lambda: fill.write(b"")):
        with pytest.raises(ValueError, match="committed or given back"):
            again()


def test_a_fill_takes_any_buffer_at_any_place(client: Client) -> None:
    fill = client.reserve(10)
    assert isinstance(fill, Fill)
    fill.write(numpy.arange(4, dtype="u2"))
    fill.write(b"ab", offset=8)
    for offset in (9, 2**64 - 1):
        with pytest.raises(ValueError, match="do not fit"):
            fill.write(b"ab", offset=offset)
    fill.commit(key(1))
    assert client.get(key(1)) == numpy.arange(4, dtype="u2").tobytes() + b"ab"


def test_a_fill_is_not_committed_under_a_memoryview(client: Client) -> None:
    fill = client.reserve(64)
    assert isinstance(fill, Fill)
    written = memoryview(fill)
    for call in (lambda: fill.commit(key(1)), lambda: fill.commit_async(key(1)), fill.abort):
        with pytest.raises(BufferError, match="alive"):
            call()
    written[:] = bytes(64)
    written.release()
    assert fill.commit(key(1), wait=True)


def test_a_fill_that_was_left_is_not_published(client: Client) -> None:
    with client.reserve(64) as fill:
        fill.write(bytes(64))
    with pytest.raises(ValueError):
        fill.commit(key(1))
    assert not client.contains(key(1))


def test_slots_that_were_given_back_are_used_again(client: Client) -> None:
    for _ in range(300):
        fill = client.reserve(1 << 20, timeout_s=30)
        assert isinstance(fill, Fill), fill
        fill.abort()


def test_a_commit_can_be_polled(node: Node, client: Client) -> None:
    fill = client.reserve(64)
    assert isinstance(fill, Fill)
    fill.write(bytes(64))
    node.freeze()
    pending = fill.commit_async(key(1))
    assert pending.poll() is None
    node.thaw()
    assert pending.wait(30).outcome == "fresh"
    with pytest.raises(ValueError, match="was given"):
        pending.poll()


def test_a_reserve_can_be_polled(client: Client) -> None:
    pending = client.reserve_async(64, timeout_s=30)
    fill = pending.wait(30)
    assert isinstance(fill, Fill)
    refused = client.reserve_async(100 << 20).poll()
    assert refused is not None and not isinstance(refused, Fill) and refused.refusal == "too_large"
