"""Cascade's client for Python: the KV cache of this machine's node, read and written without a system call.

    import cascade_kv

    client = cascade_kv.connect()
    keys = cascade_kv.Namespace(model="llama", block_tokens=16).chain(tokens)
    client.put(keys[0], block)          # any buffer: bytes, a NumPy array, a torch tensor on the CPU
    if n := client.get_into(keys[0], block):
        ...                             # block[:n] is exactly what was put; else `n` is a `Miss`, which is false

Shapes, units and promises stand at each class (`_native.pyi`) and in the README beside this package. `cascade_kv.aio` is
the same for asyncio, `cascade_kv.vllm` connects vLLM, and `python -m cascade_kv run` starts a node.
"""

from cascade_kv._native import (
    Client,
    Fill,
    Hold,
    Located,
    Miss,
    Namespace,
    PagedCache,
    Pending,
    Promotion,
    Stored,
    View,
    __version__,
    connect,
    nbytes,
    socket_paths,
)
from cascade_kv.errors import CascadeError, DeadlinePassed, Forked, NodeLost, RefusedByNode

__all__ = [
    "CascadeError",
    "Client",
    "DeadlinePassed",
    "Fill",
    "Forked",
    "Hold",
    "Located",
    "Miss",
    "Namespace",
    "NodeLost",
    "PagedCache",
    "Pending",
    "Promotion",
    "RefusedByNode",
    "Stored",
    "View",
    "__version__",
    "connect",
    "nbytes",
    "socket_paths",
]
