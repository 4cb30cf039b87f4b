"""What a tier counts, as vLLM's offloading connector shows it to Prometheus.

vLLM itself counts queries, hits, jobs, bytes and seconds of every tier (`vllm:kv_offload_tiering_*`, label
`tier`). These say what it cannot know: why something was not loaded or not stored. Names and meanings are
the connector's own (`cascade_kv.vllm.stats`), as `vllm:kv_offload_cascade_<figure>`.
"""

from __future__ import annotations

from vllm.distributed.kv_transfer.kv_connector.v1.offloading.metrics import OffloadingConnectorStats
from vllm.v1.kv_offload.base import (
    OffloadingCounterMetadata,
    OffloadingGaugeMetadata,
    OffloadingMetricMetadata,
)

from cascade_kv.vllm.stats import METRICS, TransferStats

PREFIX = "vllm:kv_offload_cascade_"

FIGURES = (
    "loads",
    "failed_loads",
    "loads_without_hold",
    "promotions",
    "promoted_blocks",
    "promotion_seconds",
    "promotions_short",
    "loaded_blocks",
    "loaded_bytes",
    "load_seconds",
    "missed_absent",
    "missed_corrupt",
    "missed_length",
    "missed_unreachable",
    "saved_blocks",
    "saved_bytes",
    "present_blocks",
    "refused_blocks",
    "unsaved_blocks",
    "save_seconds",
)
"""Those of the connector's figures that a tier has; a piece is here a chunk of all ranks."""

CONNECTED = PREFIX + "connected"


def definitions() -> dict[str, OffloadingMetricMetadata]:
    """All metrics of a tier."""
    counters = {PREFIX + name: OffloadingCounterMetadata(documentation=METRICS[name]) for name in FIGURES}
    return {
        **counters,
        CONNECTED: OffloadingGaugeMetadata(documentation="Whether the tier has a node (1) or not (0)."),
    }


def report(counted: TransferStats, connected: bool) -> OffloadingConnectorStats:
    """What was counted since the last report, in vLLM's form."""
    stats = OffloadingConnectorStats()
    for name, value in counted.data.items():
        stats.increase_counter(PREFIX + name, value)
    stats.set_gauge(CONNECTED, int(connected))
    return stats
