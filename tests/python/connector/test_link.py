"""The connection: sought in the background, said once."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator

import pytest
from nodes import Node

from cascade_kv import NodeLost
from cascade_kv.vllm.link import Link

SOON_S = 30.0
"""Longer than any of it takes."""


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What is logged."""
    logger = logging.getLogger("vllm.cascade")
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def seekers_ended() -> None:
    for thread in threading.enumerate():
        if thread.name == "cascade-connect":
            thread.join(SOON_S)
            assert not thread.is_alive()


def test_an_absent_node_is_named_once_and_found_when_it_comes(absent_node: Node, said: list[str]) -> None:
    link = Link("a worker", socket=str(absent_node.socket))
    link.open()
    assert link.client() is None
    link.open()
    assert len(said) == 1
    assert str(absent_node.socket) in said[0]
    absent_node.start()
    seekers_ended()
    assert link.client() is not None
    assert said[1:] == ["cascade: a worker has a node again"]
    link.close()


def test_a_lost_connection_is_replaced_and_said_once(node: Node, said: list[str]) -> None:
    link = Link("a worker", socket=str(node.socket))
    link.open()
    client = link.client()
    assert client is not None
    assert not said
    for _ in range(3):
        link.lost(client, NodeLost("gone"))
    seekers_ended()
    assert link.client() not in (None, client)
    assert len(said) == 2
    client.close()
    link.close()


def test_a_closed_link_seeks_no_more(absent_node: Node) -> None:
    link = Link("a worker", socket=str(absent_node.socket))
    link.open()
    link.close()
    seekers_ended()
    assert link.client() is None


def test_a_link_made_before_a_fork_is_used_after_it(node: Node) -> None:
    link = Link("a worker", socket=str(node.socket))
    child = os.fork()
    if not child:
        link.open()
        os._exit(0 if link.client() is not None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
