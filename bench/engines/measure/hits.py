"""Prompts that were computed before: how soon the first token comes when they are loaded instead.

Two prompts in turn. vLLM alone answers from its own prefix cache; every other system first loses that (`POST
/reset_prefix_cache`, which leaves what the system keeps outside alone) and must load. A request counts only
if the engine says that it computed at most `LEFT_TOKENS` of the prompt, and its tokens are compared with
those of vLLM's own hit.

`ttft_native_hit_s`, `ttft_cascade_hit_s`, `ttft_lmcache_mp_s`, `ttft_vllm_fs_tier_s`, `ttft_cascade_tier_s`
`ttft_cascade_<other>_ratio`   Cascade over the other, round by round: below 1 Cascade is sooner.
`ttft_short_s`                 a prompt of a few tokens with Cascade: what every request pays, loaded or not.
`break_even_tokens_per_s`      prompt tokens / (ttft_cascade_hit_s - ttft_short_s): an engine that prefills
                               faster than this computes the prompt sooner than Cascade loads it.
`other_tokens_<system>`        hits whose tokens differ from those of vLLM's own hit on the same prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engines.calm import settle
from engines.engine import Engine
from engines.figures import Figures
from engines.interleave import rotated
from engines.prompts import Prompts
from engines.request import Reply

ANSWER_TOKENS = 4
SHORT_TOKENS = 16
LEFT_TOKENS = 256
"""Each system leaves a little to be computed: vLLM the last block of 128 tokens, which is most of what its hit
costs here, LMCache a chunk of 256, Cascade one token."""


def is_hit(reply: Reply) -> bool:
    """Whether the prompt was in a cache, by the engine's own word."""
    return reply.prompt_tokens - reply.cached_tokens <= LEFT_TOKENS


def figure_of(system: str) -> str:
    """The name of a system's figure."""
    return f"ttft_{system}_hit_s" if system in ("native", "cascade") else f"ttft_{system}_s"


def measure(
    engines: Mapping[str, Engine],
    repeated: Sequence[list[int]],
    fresh: Prompts,
    rounds: int,
    figures: Figures,
) -> None:
    """Asks for the `repeated` prompts, which every system has, in turn. The first time of each does not
    count."""
    hits: dict[str, list[Reply]] = {name: [] for name in engines}
    short_s: list[float] = []
    warming = len(repeated)
    for number in range(warming + rounds):
        for name in rotated(list(engines), number):
            if name != "native":
                engines[name].forget()
            settle()
            reply = engines[name].ask(repeated[number % len(repeated)], ANSWER_TOKENS)
            if number >= warming:
                hits[name].append(reply)
            if number >= warming and name == "cascade":
                settle()
                short_s.append(engines[name].ask(fresh.next(SHORT_TOKENS), 1).ttft_s)
    for name in list(hits):
        computed = [hit for hit in hits[name] if not is_hit(hit)]
        if computed:
            had = min(hit.cached_tokens for hit in computed)
            why = f"{len(computed)} of {rounds} prompts were computed again, with {had} tokens cached"
            figures.leave_out(figure_of(name), why)
            del hits[name]
        else:
            figures.enter_samples(figure_of(name), [hit.ttft_s for hit in hits[name]])
    _compare(hits, figures)
    if "cascade" in hits:
        figures.enter_samples("ttft_short_s", short_s)
        load_s = figures.values["ttft_cascade_hit_s"] - figures.values["ttft_short_s"]
        if load_s > 0:
            figures.enter("break_even_tokens_per_s", len(repeated[0]) / load_s)
        else:
            figures.leave_out("break_even_tokens_per_s", "a hit came no later than a short prompt")


def _compare(hits: Mapping[str, Sequence[Reply]], figures: Figures) -> None:
    for name, replies in hits.items():
        if name != "native" and "native" in hits:
            pairs = zip(replies, hits["native"], strict=True)
            figures.enter(f"other_tokens_{name}", sum(hit.tokens != own.tokens for hit, own in pairs))
        if name != "cascade" and "cascade" in hits:
            ours = [hit.ttft_s for hit in hits["cascade"]]
            figures.enter_ratio(f"ttft_cascade_{name}_ratio", ours, [hit.ttft_s for hit in replies])
