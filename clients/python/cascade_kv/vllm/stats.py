"""What the connector counts, in vLLM's own form: added up over workers and steps, logged, and shown to
Prometheus.

One table, `METRICS`, names every figure; nothing else is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.metrics import KVConnectorPromMetrics, KVConnectorStats
from vllm.v1.metrics.utils import create_metric_per_engine

METRICS = {
    "loads": "Requests for which blocks were loaded.",
    "failed_loads": "Requests of which a block could not be loaded and was computed instead.",
    "loads_without_hold": "Requests whose blocks could not be claimed until they were loaded.",
    "promotions": "Requests of which blocks came from lower tiers before they were loaded.",
    "promoted_blocks": "Blocks of those requests that came from lower tiers.",
    "promotion_seconds": "Time that requests waited for lower tiers, whatever came.",
    "promotions_short": "Requests for which not all came that lower tiers had: too slow, or given up for now.",
    "loaded_blocks": "Pieces (a block of one rank and KV group) copied from the cache into the engine.",
    "loaded_bytes": "Bytes copied from the cache into the engine.",
    "load_seconds": "Time that loading threads spent copying.",
    "missed_absent": "Pieces that were matched and had gone when they were read.",
    "missed_corrupt": "Pieces that failed their checksum.",
    "missed_length": "Pieces of another length than this engine's.",
    "missed_unreachable": "Pieces that could not be asked for: no node, or a call that failed.",
    "saved_blocks": "Pieces copied from the engine into the cache.",
    "saved_bytes": "Bytes copied from the engine into the cache.",
    "present_blocks": "Pieces not copied since the cache had them.",
    "refused_blocks": "Pieces that the cache had no room for.",
    "unsaved_blocks": "Pieces not saved for want of a node, time or staging memory.",
    "save_seconds": "Time spent saving.",
}


@dataclass
class TransferStats(KVConnectorStats):
    """Counts since the last report. `data` has the keys of `METRICS`, those that are not 0."""

    def reset(self) -> None:
        """Starts from 0."""
        self.data = {}

    def count(self, name: str, by: float = 1) -> None:
        """Adds to one figure."""
        assert name in METRICS, name
        if by:
            self.data[name] = self.data.get(name, 0) + by

    def aggregate(self, other: KVConnectorStats) -> TransferStats:
        """Adds another's figures."""
        for name, value in other.data.items():
            self.data[name] = self.data.get(name, 0) + value
        return self

    def reduce(self) -> dict[str, int | float]:
        """The figures for one line of the log."""
        return {name: round(value, 4) for name, value in self.data.items()}

    def is_empty(self) -> bool:
        """Whether nothing happened."""
        return not self.data


class PrometheusCounters(KVConnectorPromMetrics):
    """One counter `vllm:cascade_<figure>_total` for each of `METRICS`, with vLLM's labels."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._counters = {
            name: create_metric_per_engine(
                self._counter_cls(
                    name=f"vllm:cascade_{name}", documentation=text, labelnames=self._labelnames
                ),
                self.per_engine_labelvalues,
            )
            for name, text in METRICS.items()
        }

    def observe(self, transfer_stats_data: dict[str, Any], engine_idx: int = 0) -> None:
        """Adds one report."""
        for name, value in transfer_stats_data.items():
            if name in self._counters:
                self._counters[name][engine_idx].inc(value)
