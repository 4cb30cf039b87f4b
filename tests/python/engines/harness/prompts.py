"""Prompts of random token ids: no two seeds share a block, and the same seed is the same prompt in every process."""

from __future__ import annotations

import random

BYTES = 256
"""Prompts are made of the first so many tokens of the vocabulary, which are the bytes."""


def prompt(seed: object, tokens: int = 200) -> list[int]:
    """A prompt of so many tokens. Seeds are anything with a repr: `prompt("tenants", 64)`."""
    # A string seeds through SHA-512, so it does not depend on PYTHONHASHSEED.
    return random.Random(repr(seed)).choices(range(BYTES), k=tokens)
