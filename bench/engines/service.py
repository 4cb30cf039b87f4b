"""The server of a peer: a process with a log, ready once it listens.

It leads a session of its own, so that Ctrl-C reaches the driver alone, which then stops it properly: by its
pid first, and by its session if it does not end in time.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.waiting import until

READY_LIMIT_S = 180.0
STOP_LIMIT_S = 30.0
LOG_LINES = 12


class Service:
    """One process."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process; it must have been started."""
        assert self._process is not None, f"{self._name} was not started"
        return self._process.pid

    def start(self, command: Sequence[str], environment: Mapping[str, str], port: int) -> None:
        """Starts it with these variables on top of ours, and returns once it listens on that port of the
        loopback interface. `AssertionError` with the end of its log if it never does."""
        with self._log.open("ab") as log:
            self._process = process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

        def listens_or_gone() -> bool:
            return _listens(port) or process.poll() is not None

        try:
            until(f"{self._name} listens", listens_or_gone, READY_LIMIT_S)
            assert process.poll() is None, f"{self._name} ended with {process.returncode}"
        except AssertionError as failure:
            raise AssertionError(f"{failure}:\n{self._log_tail()}") from failure

    def stop(self) -> None:
        """SIGTERM; SIGKILL to its session if it takes too long. Does nothing if it does not run."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _log_tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:])


def program(name: str) -> str:
    """A program of the environment that we run in."""
    return str(Path(sys.executable).with_name(name))


def free_port() -> int:
    """A port of the loopback interface that nobody listened on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
