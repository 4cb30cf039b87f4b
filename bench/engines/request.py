"""One request to an engine: when its first token came, and how much of its prompt was in a cache.

A streaming completion over a connection that is open already. The time to the first token is taken from the
moment before the request is sent until the first chunk with a token has arrived, so it holds all that a user
waits for but the handshake. `cached_tokens` is what the engine itself says it did not compute, whether its
own prefix cache or a connector had it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from harness.servers import request

TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Reply:
    """What came back, and when."""

    ttft_s: float
    prompt_tokens: int
    cached_tokens: int
    tokens: tuple[int, ...]


def ask(http: httpx.Client, prompt: Sequence[int], answer_tokens: int) -> Reply:
    """Asks for exactly so many tokens, the likeliest ones. `AssertionError` for any answer but a complete
    one."""
    stream = {"stream": True, "stream_options": {"include_usage": True}, "logprobs": None}
    body = request(prompt, answer_tokens, **stream)
    first_s = 0.0
    tokens: list[int] = []
    usage: dict[str, Any] = {}
    began = time.perf_counter()
    with http.stream("POST", "/v1/completions", json=body, timeout=TIMEOUT_S) as response:
        assert response.status_code == httpx.codes.OK, f"{response.status_code}: {response.read().decode()}"
        for line in _lines(response):
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line.removeprefix(b"data: "))
            for choice in chunk.get("choices", ()):
                new = choice.get("token_ids") or ()
                if new and not tokens:
                    first_s = time.perf_counter() - began
                tokens += new
            usage = chunk.get("usage") or usage
    assert len(tokens) == answer_tokens and usage, f"{len(tokens)} of {answer_tokens} tokens, usage {usage}"
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Reply(first_s, usage["prompt_tokens"], cached, tuple(tokens))


def _lines(response: httpx.Response) -> Iterator[bytes]:
    """The lines of an event stream. To httpx a line ends at every separator that Unicode has, and an answer
    of random bytes holds some of them."""
    rest = b""
    for piece in response.iter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
