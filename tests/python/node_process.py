"""A node of one's own: started, killed, frozen, restarted, and gone with the test.

Invariants: its instance is no other's; when it is closed no process and no file of it is left. The program is
the one that `CASCADE_NODE` names, else the one in the wheel under test, with the tiers beside it or in
`CASCADE_PLUGINS`.
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cascade_kv import Client, connect, socket_paths
from cascade_kv.__main__ import node_binary

# Long enough for a machine with other things to do; what takes longer hangs.
PATIENCE_S = 30.0
# What is part of where a node listens.
JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "FLUX_JOB_ID")

_numbers = itertools.count()


def program() -> Path:
    """The `cascade-node` under test."""
    named = os.environ.get("CASCADE_NODE")
    return Path(named) if named else node_binary()


def is_for_nodes(variable: str) -> bool:
    """Whether a node of the tests' own inherits that variable: nothing that the user set for another one."""
    is_of_another = variable.startswith("CASCADE_") or variable in JOB_VARIABLES
    return variable == "CASCADE_PLUGINS" or not is_of_another


class Node:
    """A running node, or one that was killed and may be started again. Sizes as `--set` takes them."""

    def __init__(self, name: str, *settings: str) -> None:
        self.instance = f"py{os.getpid()}-{next(_numbers)}-{name}"[:32]
        sizes = ("segment.capacity=64MiB", "segment.grow_step=8MiB", "segment.clients_max=16", *settings)
        self._arguments = [argument for setting in sizes for argument in ("--set", setting)]
        self._environment = {name: value for name, value in os.environ.items() if is_for_nodes(name)}
        self._log = tempfile.TemporaryFile()
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = ""
        self.start()

    @property
    def directory(self) -> Path:
        """The folder of its segment."""
        return Path(self.socket).parent

    @property
    def pid(self) -> int:
        assert self._process is not None, "the node runs"
        return self._process.pid

    def start(self) -> None:
        """Starts it, for the first time or again, and waits until it is ready."""
        assert self._process is None, "one process at a time"
        command = [program(), "run", "--instance", self.instance, *self._arguments]
        process = subprocess.Popen(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        if not line.startswith("ready "):
            process.wait()
            raise AssertionError(f"the node does not start: {line}{self.log()}")
        self._process = process
        self.socket = line.removeprefix("ready ").strip()

    def log(self) -> str:
        """What all its lives said on standard error."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def connect(self) -> Client:
        """A client in this process."""
        return connect(sockets=[self.socket], timeout_s=PATIENCE_S)

    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        with self.connect() as client:
            return client.status(PATIENCE_S)

    def command(self, *arguments: str) -> Any:
        """The answer, as JSON, of another verb of the program to this node."""
        environment = {**self._environment, "CASCADE_SOCKET": self.socket}
        output = subprocess.run(
            [program(), *arguments, "--json"], env=environment, check=True, capture_output=True
        )
        return json.loads(output.stdout)

    def kill(self) -> None:
        """Kills it (SIGKILL). Its segment stays."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def stop(self) -> None:
        """Ends it as a batch system does (SIGTERM), and waits: its segment is gone, its store is not."""
        assert self._process is not None, "the node runs"
        self._process.terminate()
        self._process.communicate()
        assert self._process.returncode == 0, self.log()
        self._process = None

    def freeze(self) -> None:
        """Stops it in its tracks, until `thaw`."""
        os.kill(self.pid, signal.SIGSTOP)
        # Stopped once the kernel says so.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        """Lets it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Kills it and removes what it left."""
        self.kill()
        if self.socket:
            for path in {self.socket, *socket_paths(self.instance)}:
                folder = Path(path).parent
                if self.instance in folder.name:
                    shutil.rmtree(folder, ignore_errors=True)
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            print(f"the node said:\n{self.log()}")
        self.close()
