"""The client for asyncio: hits are answered at once, what needs the node is awaited on its event descriptor.

    client = await cascade_kv.aio.connect()
    await client.put(key, block)
    n = await client.get_into(key, target, in_thread=True)     # MiBs: other tasks run while they move
    matched = client.sync.match_chain(keys)                    # what never waits is not awaited

Invariants: one `AsyncClient` serves one event loop; the descriptor is watched only while somebody awaits; an
awaiting call that is cancelled leaves nothing behind (a slot that comes for it goes back to the node).
"""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from cascade_kv import _native
from cascade_kv.errors import CascadeError, DeadlinePassed

if TYPE_CHECKING:
    from cascade_kv._native import (
        Buffer,
        Client,
        Fill,
        Located,
        Miss,
        PagedCache,
        Pending,
        Promotion,
        Share,
        Stored,
    )

__all__ = ["AsyncClient", "connect"]

# A node that is gone rings nobody: look that often whether another took its place.
LOOK_AROUND_S = 0.05

Answer = TypeVar("Answer")


async def connect(
    *, instance: str | None = None, sockets: Sequence[str] | None = None, timeout_s: float = 5.0
) -> "AsyncClient":
    """`cascade_kv.connect`, for the running event loop."""
    client = await asyncio.to_thread(_native.connect, instance=instance, sockets=sockets, timeout_s=timeout_s)
    return AsyncClient(client)


class AsyncClient:
    """A client for one event loop. `sync` is the client itself: call what never waits there (match, hold,
    pin, contains).

    Arguments and answers are those of `Client`. Copies run in the event loop's thread, which 2 MiB stop for
    about 0.1 ms; with `in_thread` they run in a thread of the loop's executor.
    """

    def __init__(self, client: "Client") -> None:
        self.sync = client
        self._waiting: dict[asyncio.Future[Any], Pending[Any]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def get_into(
        self, key: bytes, target: "Buffer", *, rank: int = 0, group: int = 0, in_thread: bool = False
    ) -> "int | Miss":
        """See `Client.get_into`. `target` must not be looked at until this returns."""
        if in_thread:
            return await asyncio.to_thread(self.sync.get_into, key, target, rank=rank, group=group)
        return self.sync.get_into(key, target, rank=rank, group=group)

    async def get_blocks(
        self,
        cache: "PagedCache",
        keys: Sequence[bytes],
        block_ids: Sequence[int],
        *,
        rank: int = 0,
        group: int = 0,
        in_thread: bool = True,
    ) -> "list[int | Miss]":
        """See `Client.get_blocks`. In a thread unless told otherwise: blocks are MiBs."""
        if in_thread:
            return await asyncio.to_thread(
                self.sync.get_blocks, cache, keys, block_ids, rank=rank, group=group
            )
        return self.sync.get_blocks(cache, keys, block_ids, rank=rank, group=group)

    async def put(
        self,
        key: bytes,
        data: "Buffer",
        *,
        rank: int = 0,
        group: int = 0,
        parent: bytes | None = None,
        depth: int = 0,
        wait: bool = False,
        timeout_s: float = 1.0,
        in_thread: bool = False,
    ) -> "Stored":
        """See `Client.put`. Awaits a slot if none is at hand, and with `wait` the node's verdict."""
        if in_thread:
            return await asyncio.to_thread(
                self.sync.put,
                key,
                data,
                rank=rank,
                group=group,
                parent=parent,
                depth=depth,
                wait=wait,
                timeout_s=timeout_s,
            )
        if not wait:
            try:
                return self.sync.put(
                    key, data, rank=rank, group=group, parent=parent, depth=depth, timeout_s=0
                )
            except DeadlinePassed:
                pass  # No slot at hand.
        slot = await self.reserve(_native.nbytes(data), timeout_s=timeout_s)
        if isinstance(slot, _native.Stored):
            return slot
        slot.write(data)
        if wait:
            return await self.commit(
                slot, key, rank=rank, group=group, parent=parent, depth=depth, timeout_s=timeout_s
            )
        return slot.commit(key, rank=rank, group=group, parent=parent, depth=depth, timeout_s=timeout_s)

    async def get_within(
        self,
        key: bytes,
        target: "Buffer",
        *,
        rank: int = 0,
        group: int = 0,
        timeout_s: float = 1.0,
        in_thread: bool = False,
    ) -> "int | Miss":
        """See `Client.get_within`. Awaits what a lower tier brings."""
        found = await self.get_into(key, target, rank=rank, group=group, in_thread=in_thread)
        is_elsewhere = isinstance(found, _native.Miss) and found.reason in ("absent", "corrupt")
        if not is_elsewhere or timeout_s <= 0:
            return found
        # The last state of one block: its one piece.
        pending = self.sync.promote_async([key], [(rank, group, 1)], timeout_s=timeout_s)
        try:
            promotion = await self._answer(pending, timeout_s)
        except DeadlinePassed:
            return _native.Miss("expired")
        with promotion:
            if promotion.blocks == 0:
                return found if promotion.reason is None else _native.Miss(promotion.reason)
            return await self.get_into(key, target, rank=rank, group=group, in_thread=in_thread)

    async def locate(
        self, keys: Sequence[bytes], shares: "Sequence[Share]" = ((0, 0),), *, timeout_s: float = 1.0
    ) -> "Located":
        """See `Client.locate`."""
        return await self._answer(self.sync.locate_async(keys, shares, timeout_s=timeout_s), timeout_s)

    async def promote(
        self, keys: Sequence[bytes], shares: "Sequence[Share]" = ((0, 0),), *, timeout_s: float = 1.0
    ) -> "Promotion":
        """See `Client.promote`."""
        return await self._answer(self.sync.promote_async(keys, shares, timeout_s=timeout_s), timeout_s)

    async def reserve(self, len_bytes: int, *, timeout_s: float = 1.0) -> "Fill | Stored":
        """See `Client.reserve`."""
        return await self._answer(self.sync.reserve_async(len_bytes, timeout_s=timeout_s), timeout_s)

    async def commit(
        self,
        fill: "Fill",
        key: bytes,
        *,
        rank: int = 0,
        group: int = 0,
        parent: bytes | None = None,
        depth: int = 0,
        timeout_s: float = 1.0,
    ) -> "Stored":
        """Commits a fill and awaits the node's verdict: "fresh", "already_present" or "refused"."""
        place = {"rank": rank, "group": group, "depth": depth}
        try:
            pending = fill.commit_async(key, parent=parent, timeout_s=0, **place)
        except DeadlinePassed:  # The ring is full; the fill came back.
            pending = await asyncio.to_thread(
                fill.commit_async, key, parent=parent, timeout_s=timeout_s, **place
            )
        return await self._answer(pending, timeout_s)

    async def flush(self, timeout_s: float = 1.0) -> None:
        """See `Client.flush`."""
        await asyncio.to_thread(self.sync.flush, timeout_s)

    def close(self) -> None:
        """See `Client.close`. Whoever still awaits something gets a `CascadeError`."""
        for future in self._waiting:
            if not future.done():
                future.set_exception(CascadeError("the client was closed"))
        self._stop_watching()
        self.sync.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _answer(self, pending: "Pending[Answer]", timeout_s: float) -> Answer:
        answer = pending.poll()
        if answer is not None:
            return answer
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._start_watching()
        self._waiting[future] = pending
        # After the descriptor is watched: an answer that came before rings nobody.
        self._look()
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            if future.done() and not future.cancelled():
                return future.result()
            # Says whether the node is lost or only late.
            return pending.wait(0)
        finally:
            self._waiting.pop(future, None)
            if not self._waiting:
                self._stop_watching()

    def _start_watching(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            loop.add_reader(self.sync.event_fd(), self._rung)
            self._timer = loop.call_later(LOOK_AROUND_S, self._tick)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            asyncio.get_running_loop().remove_reader(self.sync.event_fd())

    def _rung(self) -> None:
        self.sync.clear_event()
        self._look()

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_AROUND_S, self._tick)
        self._look()

    def _look(self) -> None:
        for future, pending in list(self._waiting.items()):
            if future.done():
                continue
            try:
                answer = pending.poll()
            except CascadeError as error:
                future.set_exception(error)
            else:
                if answer is not None:
                    future.set_result(answer)
