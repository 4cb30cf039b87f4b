"""vLLM alone, with its own prefix cache: the reference of every other system."""

from __future__ import annotations

from typing import Any

from engines.systems import System


class Native(System):
    """Nothing outlives the engine."""

    name = "native"
    required = True

    def open(self) -> None:
        """Nothing to start."""

    def connector(self) -> dict[str, Any] | None:
        """None."""
        return None

    def close(self) -> None:
        """Nothing to stop."""
