"""Traffic without any reuse: what a cache costs those whom it cannot help.

Batches of prompts that nobody has seen and nobody asks again, several requests at a time, in vLLM alone and
with Cascade in turn. Cascade saves all of it and, once it is full, evicts as much.

`no_reuse_throughput_ratio`   tokens per second with Cascade over vLLM alone, pair by pair.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from engines.effort import Effort
from engines.engine import Engine
from engines.figures import Figures
from engines.interleave import rotated
from engines.prompts import Prompts

ANSWER_TOKENS = 8
SYSTEMS = ("native", "cascade")


def measure(engines: Mapping[str, Engine], fresh: Prompts, effort: Effort, figures: Figures) -> None:
    """One pair of batches more than asked for: the first warms."""
    rates: dict[str, list[float]] = {name: [] for name in SYSTEMS}
    for number in range(effort.no_reuse_pairs + 1):
        for name in rotated(SYSTEMS, number):
            rate = _tokens_per_s(engines[name], fresh, effort)
            if number > 0:
                rates[name].append(rate)
    for name in SYSTEMS:
        figures.enter_samples(f"no_reuse_{name}_tokens_per_s", rates[name])
    figures.enter_ratio("no_reuse_throughput_ratio", rates["cascade"], rates["native"])


def _tokens_per_s(engine: Engine, fresh: Prompts, effort: Effort) -> float:
    prompts = [fresh.next(effort.no_reuse_tokens) for _ in range(effort.no_reuse_requests)]
    with ThreadPoolExecutor(len(prompts)) as users:
        began = time.perf_counter()
        replies = list(users.map(lambda prompt: engine.ask(prompt, ANSWER_TOKENS), prompts))
        wall_s = time.perf_counter() - began
    return sum(reply.prompt_tokens + len(reply.tokens) for reply in replies) / wall_s
