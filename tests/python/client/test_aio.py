"""The client under asyncio: hits at once, answers of the node awaited, other tasks running meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cascade_kv import DeadlinePassed, Fill, Miss, NodeLost, PagedCache, aio
from content import content, key
from node_process import Node


def run(node: Node, body: Callable[[aio.AsyncClient], Awaitable[None]]) -> None:
    """Runs `body` with a client, in an event loop of its own."""

    async def connected() -> None:
        async with await aio.connect(sockets=[node.socket], timeout_s=30) as client:
            await body(client)

    asyncio.run(connected())


async def until_answered(*tasks: asyncio.Task[Any]) -> int:
    """How often another task came round until these were over."""
    rounds = 0
    while not all(task.done() for task in tasks):
        rounds += 1
        await asyncio.sleep(0.001)
    return rounds


@pytest.mark.parametrize("in_thread", [False, True])
def test_what_was_put_is_got(node: Node, in_thread: bool) -> None:
    async def body(client: aio.AsyncClient) -> None:
        data = content(1, 300_000)
        assert (await client.put(key(1), data, in_thread=in_thread)).outcome == "posted"
        target = bytearray(len(data))
        assert await client.get_into(key(1), target, in_thread=in_thread) == len(data)
        assert target == data
        missed = await client.get_into(key(2), target, in_thread=in_thread)
        assert isinstance(missed, Miss)
        assert client.sync.match_chain([key(1), key(2)]) == 1
        cache = PagedCache([memoryview(bytearray(2 * len(data))).cast("B", (2, len(data)))])
        assert await client.get_blocks(cache, [key(1)], [1], in_thread=in_thread) == [len(data)]

    run(node, body)


def test_many_verdicts_are_awaited_at_a_time(node: Node) -> None:
    async def body(client: aio.AsyncClient) -> None:
        puts = [client.put(key(i), content(i, 10_000), wait=True, timeout_s=30) for i in range(100)]
        assert [stored.outcome for stored in await asyncio.gather(*puts)] == ["fresh"] * 100
        await client.flush(30)
        assert all(client.sync.get(key(i)) == content(i, 10_000) for i in range(100))

    run(node, body)


def test_other_tasks_run_while_the_node_is_awaited(node: Node) -> None:
    async def body(client: aio.AsyncClient) -> None:
        slot = await client.reserve(64, timeout_s=30)
        assert isinstance(slot, Fill)
        slot.write(bytes(64))
        node.freeze()
        commit = asyncio.create_task(client.commit(slot, key(1), timeout_s=30))
        await asyncio.sleep(0.05)
        assert not commit.done()
        node.thaw()
        await until_answered(commit)
        assert commit.result().outcome == "fresh"

    run(node, body)


def test_a_frozen_node_costs_a_deadline(node: Node) -> None:
    async def body(client: aio.AsyncClient) -> None:
        await client.put(key(1), b"data", wait=True, timeout_s=30)
        slot = await client.reserve(64, timeout_s=30)
        assert isinstance(slot, Fill)
        node.freeze()
        late = asyncio.create_task(client.commit(slot, key(2), timeout_s=0.1))
        assert await until_answered(late) > 5
        with pytest.raises(DeadlinePassed):
            late.result()
        node.thaw()
        assert (await client.put(key(3), b"data", wait=True, timeout_s=30)).outcome == "fresh"

    run(node, body)


def test_a_node_that_went_is_lost_and_one_that_came_back_is_found(node: Node) -> None:
    async def body(client: aio.AsyncClient) -> None:
        slots = [await client.reserve(64, timeout_s=30) for _ in range(2)]
        node.kill()
        assert isinstance(slots[0], Fill) and isinstance(slots[1], Fill)
        with pytest.raises(NodeLost, match="tried"):
            await client.commit(slots[0], key(1), timeout_s=0.2)
        waiting = asyncio.create_task(client.commit(slots[1], key(2), timeout_s=30))
        await asyncio.sleep(0)
        await asyncio.to_thread(node.start)
        # The slot stayed this client's, and the next node publishes it.
        assert (await waiting).outcome == "fresh"

    run(node, body)


def test_a_call_that_was_cancelled_leaves_nothing_behind(node: Node) -> None:
    async def body(client: aio.AsyncClient) -> None:
        slot = await client.reserve(64, timeout_s=30)
        assert isinstance(slot, Fill)
        node.freeze()
        commit = asyncio.create_task(client.commit(slot, key(1), timeout_s=30))
        await asyncio.sleep(0.02)
        commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit
        node.thaw()
        assert (await client.put(key(2), b"data", wait=True, timeout_s=30)).outcome == "fresh"
        assert not client._waiting and client._timer is None

    run(node, body)


def test_chains_and_pieces_of_all_tiers_are_awaited(node: Node) -> None:
    async def body(client: aio.AsyncClient) -> None:
        await client.put(key(1), b"data", wait=True, timeout_s=30)
        located, promotion = await asyncio.gather(
            client.locate([key(1)] * 3000, timeout_s=30), client.promote([key(1), key(2)], timeout_s=30)
        )
        assert (located.blocks, promotion.blocks, promotion.reason) == (3000, 1, None)
        promotion.release()
        assert await client.get_within(key(1), bytearray(10)) == 4
        for timeout_s in (0, 30):
            missed = await client.get_within(key(2), bytearray(10), timeout_s=timeout_s)
            assert isinstance(missed, Miss) and missed.reason == "absent"
        node.freeze()
        late = asyncio.create_task(client.get_within(key(2), bytearray(10), timeout_s=0.1))
        assert await until_answered(late) > 5
        assert late.result() == Miss("expired")
        with pytest.raises(DeadlinePassed):
            await client.locate([key(1)], timeout_s=0.05)
        node.thaw()
        assert (await client.locate([key(1)], timeout_s=30)).blocks == 1
        assert not client._waiting and client._timer is None

    run(node, body)


def test_a_question_that_is_awaited_goes_on_with_the_next_node(node: Node) -> None:
    async def body(client: aio.AsyncClient) -> None:
        await client.put(key(1), b"data", wait=True, timeout_s=30)
        node.kill()
        waiting = asyncio.create_task(client.promote([key(1)], timeout_s=30))
        await asyncio.sleep(0)
        await asyncio.to_thread(node.start)
        assert (await waiting).blocks == 1

    run(node, body)


def test_a_refused_put_is_a_value(node: Node) -> None:
    async def body(client: aio.AsyncClient) -> None:
        for wait in (False, True):
            refused = await client.put(key(1), bytes(100 << 20), wait=wait)
            assert not refused and refused.refusal == "too_large"

    run(node, body)
