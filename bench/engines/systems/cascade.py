"""Cascade: a node of its own, and CascadeConnector with its defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from node_process import Node

from engines.systems import Memory, System


class WithNode(System):
    """A system whose blocks lie in a node of its own."""

    def __init__(self, memory: Memory, folder: Path, node_bytes: int) -> None:
        super().__init__(memory, folder)
        self._settings = (f"segment.capacity={node_bytes}", "segment.grow_step=64MiB")
        self._node: Node | None = None

    @property
    def node(self) -> Node:
        """The node, which runs while the system is open."""
        assert self._node is not None, f"{self.name} is not open"
        return self._node

    def open(self) -> None:
        """Starts the node."""
        self._node = Node(self.name, *self._settings)

    def processes(self) -> list[int]:
        """The node."""
        return [self.node.pid]

    def close(self) -> None:
        """Ends the node, and removes its segment."""
        if self._node is not None:
            self._node.close()


class Cascade(WithNode):
    """What a user gets who installs the wheel and adds one line."""

    name = "cascade"
    required = True

    def __init__(self, memory: Memory, folder: Path) -> None:
        super().__init__(memory, folder, memory.cache_bytes)

    def connector(self) -> dict[str, Any]:
        """The line of the README, and the instance."""
        return {
            "kv_connector": "CascadeConnector",
            "kv_connector_module_path": "cascade_kv.vllm",
            "kv_role": "kv_both",
            "kv_load_failure_policy": "recompute",
            "kv_connector_extra_config": {"instance": self.node.instance},
        }
