"""The systems that are compared, one file each behind one small interface.

A system is vLLM with or without something that keeps KV blocks outside of it. Each is the real one, in its
own best configuration for this machine; where it cannot run, its figures are absent with the reason.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class Memory:
    """What a system may keep, in bytes of KV."""

    engine_bytes: int
    """vLLM's own KV cache."""
    cache_bytes: int
    """What keeps blocks outside of it; 0 for vLLM alone."""


class System(ABC):
    """One system, as it is deployed. `open` comes first, `close` last; in between engines come and go."""

    name: ClassVar[str]
    """As it stands in the names of figures."""
    required: ClassVar[bool] = False
    """Whether a run without it says nothing, and fails."""
    forked: ClassVar[bool] = True
    """Whether its engines can be forked off a process that has vLLM imported. Else they start as a user does
    it."""

    def __init__(self, memory: Memory, folder: Path) -> None:
        """`folder` exists, is empty, and is this system's own: logs and files go there."""
        self.memory = memory
        self.folder = folder

    @abstractmethod
    def open(self) -> None:
        """Starts what outlives an engine. Returns once it is ready; `AssertionError` with the end of its log
        if it never is."""

    @abstractmethod
    def connector(self) -> dict[str, Any] | None:
        """vLLM's `--kv-transfer-config`, if there is one."""

    def environment(self) -> Mapping[str, str]:
        """Variables that engines of this system need."""
        return {}

    def processes(self) -> list[int]:
        """What `open` has started: its CPU time counts."""
        return []

    @abstractmethod
    def close(self) -> None:
        """Stops what `open` has started and removes what it left. May come again, and after an `open` that
        failed."""
