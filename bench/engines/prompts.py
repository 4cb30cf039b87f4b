"""Prompts that nobody has seen: no two of a run share a block, so nothing is found in a cache by accident."""

from __future__ import annotations

from itertools import count

from harness.prompts import prompt


class Prompts:
    """An endless supply, the same in every run."""

    def __init__(self, name: str) -> None:
        """Supplies of different names have nothing in common."""
        self._name = name
        self._numbers = count()

    def next(self, tokens: int) -> list[int]:
        """A prompt of so many token ids."""
        return prompt((self._name, next(self._numbers)), tokens)
