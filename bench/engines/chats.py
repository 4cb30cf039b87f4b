"""Multi-turn chats, the same in every run: what a chat server sees, small enough for a CPU.

All chats begin with one system prompt. A turn's prompt is the whole conversation so far and a new piece of
it: the answer of the last turn and the next question. Those answers are made up and not the engine's, so that
every system serves the same tokens. A round holds one turn of every chat, in an order of its own, so that a
cache sees neither a cycle nor a stack.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from engines.prompts import Prompts

Round = list[list[int]]
"""Prompts, in the order in which they are asked."""


@dataclass(frozen=True)
class Shape:
    """How much is said."""

    chats: int
    turns: int
    system_tokens: int
    turn_tokens: tuple[int, int]
    """The least and the most that a turn adds."""


def rounds(shape: Shape) -> list[Round]:
    """The rounds, one a turn."""
    chance, prompts = random.Random(repr(shape)), Prompts("chats")
    histories = [prompts.next(shape.system_tokens)] * shape.chats
    served = []
    for _ in range(shape.turns):
        histories = [history + prompts.next(chance.randint(*shape.turn_tokens)) for history in histories]
        served.append(chance.sample(histories, shape.chats))
    return served


def distinct_tokens(shape: Shape) -> int:
    """Tokens that an unbounded cache would hold in the end: the system prompt once, then what each chat added
    to it."""
    last = rounds(shape)[-1]
    return shape.system_tokens + sum(len(prompt) - shape.system_tokens for prompt in last)
