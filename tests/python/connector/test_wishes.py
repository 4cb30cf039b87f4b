"""Wishes of a node that has nothing below, or does not answer: over soon, and nothing is left."""

from __future__ import annotations

import time

from nodes import Node

import cascade_kv
from cascade_kv.vllm.patience import Patience
from cascade_kv.vllm.stats import TransferStats
from cascade_kv.vllm.wishes import GRACE_S, LOCATE_S, Wish

SHARES = [(0, 0)]
KEYS = [bytes([number]) * 32 for number in range(1, 5)]


class Clock:
    """Time that a test tells."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def wish(client: cascade_kv.Client, clock: Clock | None = None) -> Wish:
    return Wish(client, KEYS, SHARES, 16, Patience(1000), clock or Clock())


def poll(wish: Wish, own_blocks: int = 0) -> None:
    while not wish.is_over(own_blocks):
        time.sleep(0.0005)


def test_what_is_nowhere_or_in_memory_is_not_waited_for(node: Node, client: cascade_kv.Client) -> None:
    client.put_batch(KEYS[:2], [b"block"] * 2)
    client.flush()
    for own_blocks in (0, 1, 4):
        asked = wish(client)
        assert not asked.is_settled
        poll(asked, own_blocks)
        assert asked.is_settled
        assert (asked.brought_blocks, asked.shortfall, asked.waited_s) == (0, None, 0.0)
        stats = TransferStats()
        asked.count(stats)
        assert stats.is_empty()
    assert client.stats()["promotions"] == 0


def test_a_node_that_does_not_answer_is_waited_for_so_long_and_no_longer(
    node: Node, client: cascade_kv.Client
) -> None:
    node.freeze()
    try:
        clock = Clock()
        asked = wish(client, clock)
        assert not asked.is_over(0)
        clock.now_s = LOCATE_S
        assert not asked.is_over(0)
        clock.now_s = LOCATE_S + GRACE_S
        assert asked.is_over(0)
        assert asked.is_settled
    finally:
        node.thaw()
    client.flush(30)
    poll(wish(client))


def test_a_wish_that_is_dropped_leaves_nothing_behind(node: Node, client: cascade_kv.Client) -> None:
    for _ in range(1000):
        wish(client).release()
    poll(wish(client))
    assert node.status()["kept_chains"] == 0
