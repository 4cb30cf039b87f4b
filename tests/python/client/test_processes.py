"""Processes and threads: a forked child touches nothing, and while bytes move or a call waits Python runs
on."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy
import pytest

import cascade_kv
from cascade_kv import Client, DeadlinePassed, Fill, Forked, PagedCache, View
from content import chain, content, key
from node_process import Node

# A thread that is let run in a call that lasts hundreds of times as long comes round more often than that.
# One that is not comes round once, between the call and the look at the count.
ROUNDS = 5


class Bystander:
    """A thread of Python that counts how often it came round."""

    def __init__(self) -> None:
        self.rounds = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.wait(0.001):
            self.rounds += 1

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()

    def rounds_during(self, call: Callable[[], object]) -> int:
        before = self.rounds
        call()
        return self.rounds - before


def in_a_child(check: Callable[[], None]) -> int:
    """The exit status of a forked child that ran `check`: 0 if it came back."""
    child = os.fork()
    if child == 0:
        try:
            check()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_forked_child_is_told_to_connect_anew(node: Node, client: Client) -> None:
    client.put_batch(chain(3), [content(i, 4096) for i in range(3)])
    client.flush()
    view, fill, hold = client.pin(chain(1)[0]), client.reserve(64), client.hold(chain(3))
    assert isinstance(view, View) and isinstance(fill, Fill)
    pending = client.reserve_async(64)
    cache = PagedCache([numpy.zeros((3, 4096), "u1")])

    def check() -> None:
        calls: list[Callable[[], object]] = [
            lambda: client.put(key(1), b"data"),
            lambda: client.put_blocks(cache, chain(3), [0, 1, 2]),
            lambda: client.get(chain(1)[0]),
            lambda: client.get_into(chain(1)[0], bytearray(4096)),
            lambda: client.get_blocks(cache, chain(3), [0, 1, 2]),
            lambda: client.contains(key(1)),
            lambda: client.pin(key(1)),
            lambda: client.match_chain(chain(3)),
            lambda: client.hold(chain(3)),
            lambda: client.touch(key(1), 1),
            lambda: client.discard(key(1)),
            lambda: client.reserve(64),
            lambda: client.reserve_async(64),
            lambda: client.flush(),
            lambda: client.status(),
            lambda: client.event_fd(),
            lambda: client.clear_event(),
            lambda: memoryview(view),
            lambda: view.verify(),
            lambda: memoryview(fill),
            lambda: fill.write(b"data"),
            lambda: fill.commit(key(1)),
            lambda: pending.poll(),
        ]
        for call in calls:
            with pytest.raises(Forked, match="connect again"):
                call()
        hold.release()
        with node.connect() as mine:
            assert mine.get(chain(1)[0]) == content(0, 4096)
        # What goes with the child must not take the parent's claims along.
        client.close()

    assert in_a_child(check) == 0
    assert bytes(view) == content(0, 4096)
    fill.write(bytes(64))
    assert fill.commit(key(1), wait=True).outcome == "fresh"
    assert client.get_into(chain(1)[0], bytearray(4096)) == 4096


def put_one(socket: str, number: int) -> str:
    with cascade_kv.connect(sockets=[socket]) as client:
        return client.put(key(number), content(number, 4096), wait=True).outcome


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_connect_for_themselves(node: Node, client: Client, method: str) -> None:
    with multiprocessing.get_context(method).Pool(2) as pool:
        arguments = [(node.socket, number) for number in range(6)]
        assert pool.starmap(put_one, arguments) == ["fresh"] * 6
    assert all(client.get(key(number)) == content(number, 4096) for number in range(6))


def test_other_threads_run_while_a_call_waits(node: Node, client: Client) -> None:
    node.freeze()
    bystander = Bystander()

    def wait() -> None:
        with pytest.raises(DeadlinePassed):
            client.flush(timeout_s=0.5)

    with bystander.running():
        assert bystander.rounds_during(wait) > ROUNDS


def test_other_threads_run_while_bytes_move(client: Client) -> None:
    block_bytes = 4 << 20
    memory = numpy.zeros((1, block_bytes), "u1")
    cache = PagedCache([memory])
    client.put_blocks(cache, [key(1)], [0])
    bystander = Bystander()
    with bystander.running():
        # 1 GiB, so that no machine is too fast to be watched.
        found: list[object] = []
        rounds = bystander.rounds_during(
            lambda: found.extend(client.get_blocks(cache, [key(1)] * 256, [0] * 256))
        )
    assert found == [block_bytes] * 256
    assert rounds > ROUNDS


def test_a_client_serves_many_threads(client: Client) -> None:
    failures: list[str] = []

    def work(worker: int) -> None:
        for i in range(100):
            number = 1000 * worker + i
            client.put(key(number), content(number, 5000), timeout_s=30)
            if client.get(key(number)) != content(number, 5000):
                failures.append(f"worker {worker}, piece {i}")

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_client_may_be_closed_under_another_thread(node: Node) -> None:
    client = node.connect()
    client.put(key(1), content(1, 1 << 20), wait=True)
    ended = []

    def work() -> None:
        target = bytearray(1 << 20)
        while True:
            try:
                client.get_into(key(1), target)
            except ValueError as error:
                ended.append(str(error))
                return

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.01)
    client.close()
    thread.join()
    assert ended == ["the client was closed"]
