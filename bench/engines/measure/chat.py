"""A replay of multi-turn chats through each system, with the same memory for all.

vLLM alone keeps KV in `total_bytes`. The others give half of that to the engine and half to what keeps blocks
outside of it, so that a system pays for whatever it stores twice. All of it together is less than the chats
need. Systems take turns, one round of the chats (a turn of each) at a time.

`chat_<system>_tokens_per_s`      prompt and answer tokens over the time in which requests were under way.
`chat_<system>_ttft_p50_s`, `_p99_s`
`chat_<system>_hit_ratio`         prompt tokens that the engine did not compute.
`chat_total_bytes`, `chat_distinct_bytes`   the memory of each system, and the KV of all chats.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from engines import chats
from engines.engine import BLOCK_TOKENS, Engine, Model
from engines.figures import Figures, quantile
from engines.interleave import rotated
from engines.request import Reply
from engines.systems import Memory

ANSWER_TOKENS = 8
USERS = 2
TOTAL_SHARE = 0.65
"""Of the KV that the chats have, so that something must go."""


def memory(shape: chats.Shape, model: Model) -> tuple[Memory, Memory]:
    """For vLLM alone, and for a system that keeps blocks outside of the engine."""
    blocks = round(chats.distinct_tokens(shape) * TOTAL_SHARE / 2 / BLOCK_TOKENS)
    half = blocks * BLOCK_TOKENS * model.kv_bytes_per_token
    return Memory(2 * half, 0), Memory(half, half)


def measure(engines: Mapping[str, Engine], shape: chats.Shape, model: Model, figures: Figures) -> None:
    """Replays the chats once in every system."""
    served = chats.rounds(shape)
    replies: dict[str, list[Reply]] = {name: [] for name in engines}
    wall_s = dict.fromkeys(engines, 0.0)
    for number, prompts in enumerate(served):
        for name in rotated(list(engines), number):
            began = time.perf_counter()
            replies[name] += _serve(engines[name], prompts)
            wall_s[name] += time.perf_counter() - began
    for name, answered in replies.items():
        asked = sum(reply.prompt_tokens for reply in answered)
        ttft_s = [reply.ttft_s for reply in answered]
        figures.enter(f"chat_{name}_tokens_per_s", (asked + ANSWER_TOKENS * len(answered)) / wall_s[name])
        figures.enter(f"chat_{name}_ttft_p50_s", quantile(ttft_s, 0.5))
        figures.enter(f"chat_{name}_ttft_p99_s", quantile(ttft_s, 0.99))
        figures.enter(f"chat_{name}_hit_ratio", sum(reply.cached_tokens for reply in answered) / asked)
        figures.samples[f"chat_{name}_ttft_s"] = ttft_s
    figures.enter("chat_requests", sum(len(prompts) for prompts in served))
    figures.enter("chat_distinct_bytes", chats.distinct_tokens(shape) * model.kv_bytes_per_token)
    figures.enter("chat_total_bytes", memory(shape, model)[0].engine_bytes)


def _serve(engine: Engine, prompts: Sequence[list[int]]) -> list[Reply]:
    with ThreadPoolExecutor(USERS) as users:
        return list(users.map(lambda prompt: engine.ask(prompt, ANSWER_TOKENS), prompts))
