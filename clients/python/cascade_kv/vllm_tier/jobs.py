"""A transfer that vLLM asked for, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from vllm.v1.kv_offload.base import OffloadKey
from vllm.v1.kv_offload.tiering.base import JobResult

from cascade_kv import Hold, Namespace
from cascade_kv.vllm.stats import TransferStats
from cascade_kv.vllm_tier.chains import Run


@dataclass(slots=True)
class Job:
    """All that a thread needs to move chunks."""

    number: int
    """vLLM's."""
    request: str
    runs: list[Run]
    namespace: Namespace
    is_load: bool

    def keys(self) -> list[OffloadKey]:
        """The chunks that it moves."""
        return [key for run in self.runs for key in run.keys]

    def parts(self, limit: int) -> Iterator[Job]:
        """The same in jobs of at most `limit` chunks, each of one run."""
        for run in self.runs:
            for part in run.parts(limit):
                yield replace(self, runs=[part])


@dataclass(slots=True)
class Outcome:
    """What became of a job, or of those parts of it that have ended."""

    job: Job
    moved: list[OffloadKey] = field(default_factory=list)
    """The chunks that are now where they were to go."""
    moved_bytes: int = 0
    took_s: float = 0.0
    """Of all threads together."""
    stats: TransferStats = field(default_factory=TransferStats)

    def add(self, part: Outcome) -> None:
        """Another part has ended."""
        self.moved += part.moved
        self.moved_bytes += part.moved_bytes
        self.took_s += part.took_s
        self.stats.aggregate(part.stats)

    def result(self) -> JobResult:
        """The same in vLLM's words."""
        whole = len(self.moved) == len(self.job.keys())
        return JobResult(
            job_id=self.job.number,
            success=whole,
            successful_keys=None if whole else self.moved,
            transfer_time=self.took_s,
            transfer_bytes=self.moved_bytes,
        )


@dataclass(slots=True)
class UnderWay:
    """A job of which some parts have not ended."""

    outcome: Outcome
    parts_left: int
    holds: list[Hold]
    """Of a load: what keeps its chunks in the node until they are read."""
