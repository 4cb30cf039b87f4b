"""A real node for the tests of a tier: started, frozen, killed, started again, and its memory damaged."""

from __future__ import annotations

import mmap
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

PROGRAM = shutil.which("cascade-node")
"""The program; None where there is none."""


class Node:
    """A node of its own instance, with a socket in a folder of the test."""

    def __init__(self, folder: Path, capacity: str = "64MiB") -> None:
        self.socket = folder / "node.sock"
        self.instance = f"tier-{secrets.token_hex(4)}"
        self._capacity = capacity
        self._log = folder / "node.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Node:
        """Returns when clients may attach."""
        assert PROGRAM is not None
        ready, write = os.pipe()
        command = [PROGRAM, "run", "--instance", self.instance, "--set", f"segment.capacity={self._capacity}"]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [*command, "--ready-fd", str(write)],
                env={**os.environ, "CASCADE_SOCKET": str(self.socket)},
                pass_fds=[write],
                stdout=log,
                stderr=log,
            )
        os.close(write)
        with os.fdopen(ready, "rb") as line:
            assert line.read().startswith(b"ready"), self._log.read_text()
        return self

    def freeze(self) -> None:
        """It runs no more, and holds all it has."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It runs on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """It ends without a word; its memory stays."""
        self._signal(signal.SIGKILL)
        self._reap()

    def stop(self) -> None:
        """It ends in order, and leaves nothing."""
        if self._process is None or self._process.poll() is not None:
            self.start()
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        self._reap()

    def damage(self, content: bytes) -> None:
        """Flips one bit in the middle of the one place in the node's memory where `content` lies."""
        places = 0
        for path in Path(f"/dev/shm/cascade-{os.getuid()}").glob(f"*.{self.instance}/*"):
            if not path.is_file() or not path.stat().st_size:
                continue
            with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
                start = memory.find(content)
                if start >= 0:
                    places += 1
                    memory[start + len(content) // 2] ^= 1
        assert places == 1, f"found {places} times"

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait(timeout=60)
