"""How much a run does. `FULL` is what figures come from and takes about eleven minutes on two calm
processors; `QUICK` shows in a few that everything works, and its figures mean nothing."""

from __future__ import annotations

from dataclasses import dataclass

from engines.chats import Shape

MIB = 2**20


@dataclass(frozen=True)
class Effort:
    """Sizes and repetitions."""

    prompt_tokens: int
    cold_rounds: int
    """Cold requests of vLLM alone and of Cascade; the other systems get the first two."""
    hit_rounds: int
    fresh_engines: int
    """Engines that are started for the second request of a new process; they start at once."""
    no_reuse_pairs: int
    no_reuse_requests: int
    no_reuse_tokens: int
    chat: Shape
    engine_bytes: int = 384 * MIB
    """Holds all cold prompts, so that vLLM alone still has those that are asked again, and little more: the memory
    that others load into was written before, as that of an engine is that has served for a while."""
    cache_bytes: int = 320 * MIB
    """Holds the prompts that are asked again, and is full before the traffic with no reuse is over: it pays
    for evictions."""


FULL = Effort(
    prompt_tokens=4096,
    cold_rounds=5,
    hit_rounds=7,
    fresh_engines=3,
    no_reuse_pairs=7,
    no_reuse_requests=4,
    no_reuse_tokens=512,
    chat=Shape(chats=12, turns=4, system_tokens=256, turn_tokens=(128, 384)),
)

QUICK = Effort(
    prompt_tokens=1024,
    cold_rounds=2,
    hit_rounds=2,
    fresh_engines=1,
    no_reuse_pairs=2,
    no_reuse_requests=2,
    no_reuse_tokens=256,
    chat=Shape(chats=8, turns=2, system_tokens=256, turn_tokens=(128, 384)),
)
