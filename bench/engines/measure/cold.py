"""Prompts that nobody has seen: what computing costs, and what saving adds to it.

`ttft_cold_s`         vLLM alone; `ttft_<system>_cold_s` the others.
`cold_cpu_s`          CPU seconds of such a request, vLLM alone, all processes.
`cold_cpu_ratio`      the same with Cascade, its node included, over vLLM alone: pairs of requests in turn.
`saving_cpu_ratio`    what saving itself uses, over `cold_cpu_s`: the seconds that the connector counts while
                      it saves, on one thread, and the CPU seconds of the node. It resolves what
                      `cold_cpu_ratio` cannot, where a machine varies by more than saving costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engines import cpu
from engines.calm import settle
from engines.engine import Engine
from engines.figures import Figures
from engines.interleave import rotated
from engines.prompts import Prompts

ANSWER_TOKENS = 4


@dataclass
class Cost:
    """Of cold requests of one system, in the order of the rounds."""

    ttft_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def measure(
    engines: Mapping[str, Engine],
    repeated: Sequence[list[int]],
    fresh: Prompts,
    rounds: int,
    figures: Figures,
) -> None:
    """Asks for the `repeated` prompts in every system, so that each has them, and for fresh ones in vLLM
    alone and Cascade until there are so many rounds."""
    costs = {name: Cost() for name in engines}
    saved_before_s = _saving_s(engines["cascade"])
    for number in range(max(rounds, len(repeated))):
        known = number < len(repeated)
        prompt = repeated[number] if known else fresh.next(len(repeated[0]))
        for name in rotated(list(engines) if known else ["native", "cascade"], number):
            _ask_cold(engines[name], prompt, costs[name])
    for name, cost in costs.items():
        figures.enter_samples("ttft_cold_s" if name == "native" else f"ttft_{name}_cold_s", cost.ttft_s)
    alone, saving = costs["native"], costs["cascade"]
    figures.enter_samples("cold_cpu_s", alone.cpu_s)
    figures.enter_ratio("cold_cpu_ratio", saving.cpu_s, alone.cpu_s)
    saving_s = (_saving_s(engines["cascade"]) - saved_before_s) / len(saving.cpu_s)
    figures.enter("saving_cpu_ratio", saving_s / figures.values["cold_cpu_s"])


def _ask_cold(engine: Engine, prompt: Sequence[int], cost: Cost) -> None:
    before_s = engine.cpu_s()
    reply = engine.ask(prompt, ANSWER_TOKENS)
    settle()
    assert not reply.cached_tokens, f"{engine.system.name} had {reply.cached_tokens} tokens of a new prompt"
    cost.cpu_s.append(engine.cpu_s() - before_s)
    cost.ttft_s.append(reply.ttft_s)


def _saving_s(engine: Engine) -> float:
    return engine.cascade("save_seconds") + cpu.used_s(engine.system.processes())
