"""CascadeTier: the node's shared memory as a secondary tier of vLLM's own offloading connector.

    --kv-transfer-config '{"kv_connector": "OffloadingConnector", "kv_role": "kv_both",
        "kv_connector_extra_config": {
            "spec_name": "TieringOffloadingSpec", "cpu_bytes_to_use": 8589934592,
            "secondary_tiers": [{"type": "CascadeTier", "module_path": "cascade_kv.vllm_tier"}]}}'

vLLM copies blocks between the GPU and its primary tier, a region of host memory of this engine alone; this
tier keeps what passes through there in the node, where a restarted engine and every other engine of the
machine find it.

vLLM imports this package in its front end too, for the metrics, so nothing is loaded until the class is
asked for; then the version of vLLM is checked first. The guide, with every setting, is docs/vllm_tier.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cascade_kv.vllm_tier.tier import CascadeTier

__all__ = ["CascadeTier"]


def __getattr__(name: str) -> object:
    if name != "CascadeTier":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cascade_kv.vllm.support import check_version

    check_version()
    from cascade_kv.vllm_tier.tier import CascadeTier

    return CascadeTier
