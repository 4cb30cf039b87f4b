"""LMCache's multi-process server, and the connector that its documentation names for it.

On a CPU the worker moves the bytes ("engine-driven"; the server's default is the other way, which needs CUDA
IPC, and an engine waits for it for ever). Fastest is a shared-memory pool, which wants a name and memory that
is all there from the start (`--no-l1-use-lazy`). Chunks are LMCache's default, 256 tokens. Its telemetry is
off, as is its observability.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engines.service import Service, free_port, program
from engines.systems import Memory, System

HOST = "127.0.0.1"
QUIET = {"LMCACHE_TRACK_USAGE": "false", "LMCACHE_DISABLE_BANNER": "1"}


class LMCacheServer(System):
    """`lmcache server` and `LMCacheMPConnector`."""

    name = "lmcache_mp"
    # Its connector imports numba, and a worker of vLLM's on a CPU that is forked after that does not start.
    forked = False

    def __init__(self, memory: Memory, folder: Path) -> None:
        super().__init__(memory, folder)
        self._port, self._http_port = free_port(), free_port()
        self._pool = f"cascade-bench-lmcache-{os.getpid()}"
        self._server = Service("lmcache-server", folder)

    def open(self) -> None:
        """Starts the server."""
        command = [program("lmcache"), "server", "--disable-observability"]
        command += ["--host", HOST, "--port", str(self._port)]
        command += ["--http-host", HOST, "--http-port", str(self._http_port)]
        command += ["--supported-transfer-mode", "engine_driven", "--shm-name", self._pool]
        command += ["--no-l1-use-lazy", "--l1-size-gb", str(self.memory.cache_bytes / 2**30)]
        command += ["--eviction-policy", "LRU"]
        # HTTP comes last: the server listens for engines by then.
        self._server.start(command, QUIET, self._http_port)

    def connector(self) -> dict[str, Any]:
        """Its connector, and where the server is."""
        return {
            "kv_connector": "LMCacheMPConnector",
            "kv_role": "kv_both",
            "kv_connector_extra_config": {"lmcache.mp.host": f"tcp://{HOST}", "lmcache.mp.port": self._port},
        }

    def environment(self) -> Mapping[str, str]:
        """No telemetry from the engine's side either."""
        return QUIET

    def processes(self) -> list[int]:
        """The server."""
        return [self._server.pid]

    def close(self) -> None:
        """Stops the server; the pool goes with it, or here if it was killed."""
        self._server.stop()
        Path("/dev/shm", self._pool).unlink(missing_ok=True)
