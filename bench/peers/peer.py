"""What a peer does, and where its blocks lie."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any


class Unavailable(Exception):
    """The peer is not here, or not in the way that it is asked for."""


@dataclass(frozen=True)
class Setup:
    """What is asked for."""

    peer: str
    variant: str
    cold: bool
    stage: str
    """A file: the sources of all blocks, then their targets."""
    store: str
    """A folder for what the peer keeps in files."""
    block_bytes: int
    blocks: int

    def blocks_of_stage(self) -> Any:
        """The stage as bytes, by half (sources, targets), block and byte."""
        import numpy as np

        shape = (2, self.blocks, self.block_bytes)
        return np.memmap(self.stage, dtype=np.uint8, mode="r+", shape=shape)


class Peer(ABC):
    """A library with blocks in it. Calls raise what the library raises."""

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """Its version, the path of its module, and how it is set up."""

    @abstractmethod
    def put(self, number: int) -> bool:
        """Keeps a block; whether it did."""

    @abstractmethod
    def get(self, number: int) -> bool:
        """Copies a block to its target; whether it was there."""

    @abstractmethod
    def clear(self) -> None:
        """Forgets all blocks."""

    def settle(self) -> None:
        """Returns when all that was put is kept."""

    def rest(self) -> None:
        """Lets go of what it has in memory of its files."""

    def wake(self) -> None:
        """Takes up what its files hold."""

    def close(self) -> None:
        """Ends it."""
