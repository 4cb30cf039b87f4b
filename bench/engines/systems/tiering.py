"""vLLM's own tiering: `OffloadingConnector` with a primary tier in host memory and another one below it.

vLLM refuses this on a CPU, where its copies between GPU and host make no sense. `CpuTieringSpec` of the tests
replaces that one copy, and all else is vLLM's. The primary tier is the engine's own: a new engine finds only
what the tier below kept. Here it holds one prompt and a little more, so that two prompts in turn come from
below each time.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from engines.systems import Memory, System
from engines.systems.cascade import WithNode


def tiering(name: str, primary_bytes: int, tier: dict[str, Any]) -> dict[str, Any]:
    """The connector's configuration with one tier below the primary one, for one engine at a time."""
    return {
        "kv_connector": "OffloadingConnector",
        "kv_role": "kv_both",
        "engine_id": _engine(name),
        "kv_connector_extra_config": {
            "spec_name": "CpuTieringSpec",
            "spec_module_path": "cpu_spec",
            "cpu_bytes_to_use": primary_bytes,
            "secondary_tiers": [tier],
        },
    }


def remove_primary(name: str) -> None:
    """Removes what an engine leaves of its primary tier: vLLM kills its own workers, which then cannot."""
    for left in Path("/dev/shm").glob(f"vllm_offload_{_engine(name)}*"):
        left.unlink(missing_ok=True)


def _engine(name: str) -> str:
    return f"cascade-bench-{os.getpid()}-{name}"


class FileSystemTier(System):
    """The tier `fs` of vLLM. Its files lie in /dev/shm: memory, as with every other system, not a disk."""

    name = "vllm_fs_tier"

    def __init__(self, memory: Memory, folder: Path) -> None:
        """`memory.cache_bytes` is the primary tier; what lies in files is not bounded."""
        super().__init__(memory, folder)
        self._files: Path | None = None

    def open(self) -> None:
        """Makes the folder of the files."""
        self._files = Path(tempfile.mkdtemp(prefix="cascade-bench-fs-", dir="/dev/shm"))

    def connector(self) -> dict[str, Any]:
        """Its own connector, with its own tier."""
        return tiering(self.name, self.memory.cache_bytes, {"type": "fs", "root_dir": str(self._files)})

    def close(self) -> None:
        """Removes the files."""
        remove_primary(self.name)
        if self._files is not None:
            shutil.rmtree(self._files, ignore_errors=True)


class CascadeTier(WithNode):
    """Cascade's node as the tier below, by `cascade_kv.vllm_tier`: `memory.cache_bytes` is the primary tier
    here too."""

    name = "cascade_tier"

    def connector(self) -> dict[str, Any]:
        """vLLM's own connector, with our tier."""
        tier = {"type": "CascadeTier", "module_path": "cascade_kv.vllm_tier", "instance": self.node.instance}
        return tiering(self.name, self.memory.cache_bytes, tier)

    def close(self) -> None:
        """Ends the node."""
        remove_primary(self.name)
        super().close()
