"""The real vLLM with its own offloading connector and a CascadeTier: the same tokens as alone, whatever
happens to the node.

Engines run in this process, one after the other, on the CPU (`cpu_spec.py`). A fresh one has nothing in its
own memory or in its primary tier, so what it does not compute comes from the node."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from nodes import Node, damage
from tiering import until
from vllm import LLM, SamplingParams
from vllm.distributed import cleanup_dist_env_and_memory
from vllm.inputs import TokensPrompt

from cascade_kv.vllm_tier import CascadeTier

BLOCK_TOKENS = 32
PROMPT_TOKENS = 700
BLOCKS = PROMPT_TOKENS // BLOCK_TOKENS
BLOCK_BYTES = BLOCK_TOKENS * 4 * 4 * 2 * 64 * 4
"""Tokens, layers, heads, K and V, head size, float32."""


class Engine:
    """vLLM, asked for a few tokens at temperature 0."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm

    def answers(self, prompts: list[list[int]], tokens: int = 12) -> list[list[int]]:
        """What each prompt is continued with."""
        asked = [TokensPrompt(prompt_token_ids=prompt) for prompt in prompts]
        sampling = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True)
        self._outputs = self._llm.generate(asked, sampling, use_tqdm=False)
        return [list(output.outputs[0].token_ids) for output in self._outputs]

    def cached_tokens(self) -> list[int]:
        """Of the prompts asked last: tokens that were not computed."""
        return [output.num_cached_tokens or 0 for output in self._outputs]

    def forget_its_own(self) -> None:
        """Empties vLLM's own prefix cache, and not the tiers."""
        assert self._llm.reset_prefix_cache()

    def figure(self, name: str) -> float:
        """A counter of /metrics; 0 if nothing was counted."""
        found = [metric for metric in self._llm.get_metrics() if metric.name == f"vllm:kv_offload_{name}"]
        return sum(metric.value for metric in found)

    @property
    def tier(self) -> CascadeTier:
        """The tier itself."""
        core = self._llm.llm_engine.engine_core.engine_core
        (tier,) = core.scheduler.connector.scheduler.manager.secondary_tiers
        return tier


@contextmanager
def engine(
    model: Path, node: Node | None, *, primary_blocks: int = 256, blocks_per_chunk: int = 1
) -> Iterator[Engine]:
    """A fresh engine; `node` None: vLLM alone."""
    arguments: dict[str, Any] = {}
    if node is not None:
        arguments["kv_transfer_config"] = {
            "kv_connector": "OffloadingConnector",
            "kv_role": "kv_both",
            "kv_connector_extra_config": {
                "spec_name": "CpuTieringSpec",
                "spec_module_path": "cpu_spec",
                "cpu_bytes_to_use": primary_blocks * BLOCK_BYTES,
                "blocks_per_chunk": blocks_per_chunk,
                "secondary_tiers": [
                    {"type": "CascadeTier", "module_path": "cascade_kv.vllm_tier", "socket": str(node.socket)}
                ],
            },
        }
    llm = LLM(
        str(model),
        dtype="float32",
        enforce_eager=True,
        block_size=BLOCK_TOKENS,
        max_model_len=2048,
        max_num_seqs=4,
        kv_cache_memory_bytes=64 << 20,
        disable_log_stats=False,
        **arguments,
    )
    try:
        yield Engine(llm)
    finally:
        llm.llm_engine.engine_core.shutdown()
        del llm
        cleanup_dist_env_and_memory()


def prompts(seed: int, count: int = 3) -> list[list[int]]:
    """Prompts of random bytes, that share nothing."""
    words = random.Random(seed)
    return [[words.randrange(256) for _ in range(PROMPT_TOKENS)] for _ in range(count)]


@pytest.fixture(scope="module")
def alone(model: Path) -> dict[int, list[list[int]]]:
    """What vLLM alone answers, by the seed of the prompts."""
    with engine(model, None) as vllm:
        return {seed: vllm.answers(prompts(seed)) for seed in range(4)}


def test_a_fresh_engine_answers_from_the_tier_what_vllm_alone_answers(
    model: Path, node: Node, alone: dict[int, list[list[int]]]
) -> None:
    with engine(model, node) as cold:
        assert cold.answers(prompts(0)) == alone[0]
        assert cold.figure("cascade_saved_blocks") == 3 * BLOCKS
    with engine(model, node) as fresh:
        assert fresh.answers(prompts(0)) == alone[0]
        assert fresh.cached_tokens() == [BLOCKS * BLOCK_TOKENS] * 3
        assert fresh.figure("cascade_loaded_blocks") == 3 * BLOCKS


def test_a_primary_tier_that_is_too_small_is_filled_again_from_the_node(
    model: Path, node: Node, alone: dict[int, list[list[int]]]
) -> None:
    # Chunks of two blocks, and room for one prompt and a half: what a request needs was evicted before.
    with engine(model, node, primary_blocks=32, blocks_per_chunk=2) as small:
        for _ in range(2):
            for seed in range(2):
                small.forget_its_own()
                for prompt, expected in zip(prompts(seed), alone[seed], strict=True):
                    assert small.answers([prompt]) == [expected]
        assert small.figure("cascade_loaded_blocks") > 3 * (BLOCKS // 2)


def test_a_node_that_is_killed_and_comes_back_costs_no_request_and_no_token(
    model: Path, node: Node, alone: dict[int, list[list[int]]]
) -> None:
    with engine(model, node, primary_blocks=32) as vllm:
        assert vllm.answers(prompts(0)) == alone[0]
        node.kill()
        for seed in (1, 2):
            vllm.forget_its_own()
            assert vllm.answers(prompts(seed)) == alone[seed]
        node.start()
        vllm.forget_its_own()
        assert vllm.answers(prompts(0)) == alone[0]
        until(lambda: vllm.tier._link.client() is not None)
        before = vllm.figure("cascade_saved_blocks")
        vllm.forget_its_own()
        assert vllm.answers(prompts(3)) == alone[3]
        until(lambda: vllm.answers([[1] * 5]) and vllm.figure("cascade_saved_blocks") > before)


def test_a_damaged_chunk_is_computed_again(
    model: Path, node: Node, alone: dict[int, list[list[int]]]
) -> None:
    with engine(model, node) as cold:
        assert cold.answers(prompts(0)) == alone[0]
        # The row that was filled first.
        row = bytes(memoryview(cold.tier._primary_kv_view).cast("B")[:BLOCK_BYTES])
    damage(node, row)
    with engine(model, node) as fresh:
        assert fresh.answers(prompts(0)) == alone[0]
        assert fresh.figure("cascade_missed_corrupt") == 1
        assert fresh.figure("cascade_failed_loads") == 1
    with engine(model, node) as healed:
        assert healed.answers(prompts(0)) == alone[0]
        # What lay below the damaged chunk is still there. It itself is, unless the node dropped the old one only after the
        # new one was offered.
        assert 3 * BLOCKS - 1 <= healed.figure("cascade_loaded_blocks") <= 3 * BLOCKS
