"""The connection of one process to its node. Nobody waits for it.

An engine serves with or without a node: `client` answers at once, with None while there is none. A thread
tries again, at growing intervals, and ends when it has succeeded. The log says once that the node is not
there (with the paths that were tried), and once that it is back. Connections are made by the process that
uses them: nothing is connected when vLLM forks. Who connects also asks whether the node has lower tiers,
since nobody else has the time to.
"""

from __future__ import annotations

import logging
import threading

from cascade_kv import CascadeError, Client, connect

log = logging.getLogger("vllm.cascade")

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
ATTEMPT_S = 0.2
"""How long one attempt may take."""


class Link:
    """The connection, or the attempts at one. Any thread may use it."""

    def __init__(self, who: str, *, instance: str | None = None, socket: str | None = None) -> None:
        self._who = who
        self._instance = instance
        self._sockets = [socket] if socket else None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._client: Client | None = None
        self._seeking = False
        self._said = False
        self.has_lower_tiers = False
        """Whether the node, as it was when the connection was made, has tiers below memory."""

    def open(self) -> None:
        """Tries once, briefly, here; then in the background."""
        self._attempt()
        if self._client is None:
            self._seek()

    def client(self) -> Client | None:
        """The connection, if there is one now. Never waits."""
        return self._client

    def lost(self, client: Client, error: CascadeError) -> None:
        """Says that a call on `client` failed for want of a node: it is given up and another one sought."""
        with self._lock:
            if self._client is not client:
                return
            self._client = None
        self._say_absent(error)
        self._seek()

    def close(self) -> None:
        """Ends attempts and connection."""
        self._closed.set()
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _seek(self) -> None:
        with self._lock:
            if self._seeking or self._closed.is_set():
                return
            self._seeking = True
        threading.Thread(target=self._retry, name="cascade-connect", daemon=True).start()

    def _retry(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            stopped = self._closed.wait(pause_s)
            with self._lock:
                # Under the lock, so that a connection lost right now finds either this thread or none.
                if stopped or self._client is not None:
                    self._seeking = False
                    return
            self._attempt()
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S) if self._client is None else 0.0

    def _attempt(self) -> None:
        try:
            client = connect(instance=self._instance, sockets=self._sockets, timeout_s=ATTEMPT_S)
            tiers = client.status(ATTEMPT_S)["tiers"]
        except CascadeError as error:
            self._say_absent(error)
            return
        with self._lock:
            closed = self._closed.is_set()
            if not closed:
                self.has_lower_tiers = len(tiers) > 1
                self._client = client
        if closed:
            client.close()
            return
        if self._said:
            log.warning("cascade: %s has a node again", self._who)
            self._said = False

    def _say_absent(self, error: CascadeError) -> None:
        if not self._said:
            self._said = True
            log.warning(
                "cascade: %s serves on without a cache, and looks for the node in the background: %s",
                self._who,
                error,
            )
