"""What tests of engines do to a node of their own, besides killing it (see `node_process`)."""

from __future__ import annotations

import mmap
import shutil

from node_process import Node

__all__ = ["Node", "damage", "remove"]


def remove(node: Node) -> Node:
    """Takes a running node away with all that it had. Nothing is at its paths then; it may be started again."""
    node.kill()
    shutil.rmtree(node.directory)
    return node


def damage(node: Node, content: bytes) -> None:
    """Flips one bit in the middle of the one place in the node's memory where `content` lies."""
    places = 0
    for path in node.directory.iterdir():
        if not path.is_file() or not path.stat().st_size:
            continue
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            start = memory.find(content)
            if start >= 0:
                places += 1
                memory[start + len(content) // 2] ^= 1
    assert places == 1, f"found {places} times"
