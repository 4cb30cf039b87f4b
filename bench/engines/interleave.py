"""Turns: what disturbs one round of an interleaved measurement disturbs all of its methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def rotated(items: Sequence[T], by: int) -> list[T]:
    """The items in their order, but beginning elsewhere each round, so that none is always first."""
    start = by % len(items)
    return [*items[start:], *items[:start]]
