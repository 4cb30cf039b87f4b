"""Prompts that were computed before: how soon the first token comes when they are loaded instead.

Two prompts in turn. vLLM alone answers from its own prefix cache; every other system first loses that (`POST
/reset_prefix_cache`, which leaves what the system keeps outside alone) and must load. A request counts only
if the engine says that it computed at most `LEFT_TOKENS` of the prompt, and its tokens are compared with
those of vLLM's own hit.

`ttft_native_hit_s`, `ttft_cascade_hit_s`, `ttft_lmcache_mp_s`, `ttft_vllm_fs_tier_s`, `ttft_cascade_tier_s`
`ttft_cascade_<other>_ratio`   Cascade over the other, round by round: below 1 Cascade is sooner.
`ttft_<system>_one_left_s`      vLLM's own hit and Cascade's, with one token behind whole blocks. Of a prompt of
                                whole blocks vLLM computes the last block again and Cascade the last token; here
                                either computes one token, and what is between them is what loading costs.
`ttft_cascade_native_one_left_ratio`
`ttft_short_s`                 a prompt of a few tokens with Cascade: what every request pays, loaded or not.
`break_even_tokens_per_s`      prompt tokens / (ttft_cascade_hit_s - ttft_short_s): an engine that prefills
                               faster than this computes the prompt sooner than Cascade loads it.
`other_tokens_<system>`        hits whose tokens differ from those of vLLM's own hit on the same prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engines.calm import settle
from engines.engine import Engine
from engines.figures import Figures
from engines.interleave import rotated
from engines.prompts import Prompts
from engines.request import Reply

ANSWER_TOKENS = 4
SHORT_TOKENS = 16
LAST_TOKEN = 7
"""Any token: what stands behind whole blocks."""
LEFT_TOKENS = 256
"""Each system leaves a little to be computed: vLLM the last block of 128 tokens, which is most of what its hit
costs here, LMCache a chunk of 256, Cascade one token."""


def is_hit(reply: Reply) -> bool:
    """Whether the prompt was in a cache, by the engine's own word."""
    return reply.prompt_tokens - reply.cached_tokens <= LEFT_TOKENS


def figure_of(system: str) -> str:
    """The name of a system's figure."""
    return f"ttft_{system}_hit_s" if system in ("native", "cascade") else f"ttft_{system}_s"


def one_left_of(system: str) -> str:
    """The name of its figure with one token behind whole blocks."""
    return f"ttft_{system}_one_left_s"


@dataclass(frozen=True)
class Series:
    """Requests of one kind to one engine, one a round."""

    figure: str
    system: str
    prompts: Sequence[list[int]]
    """In turn, over and over."""
    answer_tokens: int = ANSWER_TOKENS


def measure(
    engines: Mapping[str, Engine],
    repeated: Sequence[list[int]],
    fresh: Prompts,
    rounds: int,
    figures: Figures,
) -> None:
    """Asks for the `repeated` prompts, which every system has, in turn. The first time of each does not
    count."""
    warming = len(repeated)
    one_left = [[*prompt, LAST_TOKEN] for prompt in repeated]
    short = [fresh.next(SHORT_TOKENS) for _ in range(warming + rounds)]
    series = [Series(figure_of(name), name, repeated) for name in engines]
    series += [Series(one_left_of(name), name, one_left) for name in ("native", "cascade")]
    series.append(Series("ttft_short_s", "cascade", short, 1))
    replies = {each.figure: list[Reply]() for each in series}
    for number in range(warming + rounds):
        for each in rotated(series, number):
            engine = engines[each.system]
            if each.system != "native":
                engine.forget()
            settle()
            reply = engine.ask(each.prompts[number % len(each.prompts)], each.answer_tokens)
            if number >= warming:
                replies[each.figure].append(reply)
    figures.enter_samples("ttft_short_s", [reply.ttft_s for reply in replies.pop("ttft_short_s")])
    hits = {figure: answers for figure, answers in replies.items() if _all_hit(figure, answers, figures)}
    for name in engines:
        _compare(name, figure_of(name), figure_of("native"), figure_of("cascade"), hits, figures)
    _compare("native_one_left", *map(one_left_of, ("native", "native", "cascade")), hits, figures)
    _compare("cascade_one_left", *map(one_left_of, ("cascade", "native", "cascade")), hits, figures)
    _break_even(len(repeated[0]), figures)


def _all_hit(figure: str, replies: Sequence[Reply], figures: Figures) -> bool:
    """Enters the figure, or why it is absent."""
    computed = [reply for reply in replies if not is_hit(reply)]
    if computed:
        had = min(reply.cached_tokens for reply in computed)
        why = f"{len(computed)} of {len(replies)} prompts were computed again, with {had} tokens cached"
        figures.leave_out(figure, why)
    else:
        figures.enter_samples(figure, [reply.ttft_s for reply in replies])
    return not computed


def _compare(
    name: str, figure: str, native: str, cascade: str, hits: Mapping[str, Sequence[Reply]], figures: Figures
) -> None:
    """One series with vLLM's own hits and with Cascade's, as far as there are any."""
    if figure != native and {figure, native} <= hits.keys():
        pairs = zip(hits[figure], hits[native], strict=True)
        figures.enter(f"other_tokens_{name}", sum(hit.tokens != own.tokens for hit, own in pairs))
    if figure != cascade and {figure, cascade} <= hits.keys():
        ours, theirs = ([reply.ttft_s for reply in hits[which]] for which in (cascade, figure))
        figures.enter_ratio(f"ttft_cascade_{name}_ratio", ours, theirs)


def _break_even(tokens: int, figures: Figures) -> None:
    if "ttft_cascade_hit_s" not in figures.values:
        return
    load_s = figures.values["ttft_cascade_hit_s"] - figures.values["ttft_short_s"]
    if load_s > 0:
        figures.enter("break_even_tokens_per_s", tokens / load_s)
    else:
        figures.leave_out("break_even_tokens_per_s", "a hit came no later than a short prompt")
