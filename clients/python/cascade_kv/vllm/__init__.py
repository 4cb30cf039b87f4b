"""CascadeConnector: a prompt prefix that any engine on this machine has computed is not computed again by
vLLM.

    --kv-transfer-config '{"kv_connector": "CascadeConnector", "kv_connector_module_path": "cascade_kv.vllm",
                           "kv_role": "kv_both", "kv_load_failure_policy": "recompute"}'

vLLM imports this package early and in every process, so it loads nothing until the class is asked for; then
it first checks the version of vLLM, before any import that another version may refuse in words of its own.
The guide, with every setting, is docs/vllm.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cascade_kv.vllm.connector import CascadeConnector

__all__ = ["CascadeConnector"]


def __getattr__(name: str) -> object:
    if name != "CascadeConnector":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cascade_kv.vllm.support import check_version

    check_version()
    from cascade_kv.vllm.connector import CascadeConnector

    return CascadeConnector
