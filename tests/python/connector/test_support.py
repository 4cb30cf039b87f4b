"""What is refused when an engine starts, and in which words."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
from vllm.v1.kv_cache_interface import (
    FullAttentionSpec,
    KVCacheConfig,
    KVCacheGroupSpec,
    MambaSpec,
    SlidingWindowSpec,
)

from cascade_kv.vllm.groups import Groups
from cascade_kv.vllm.settings import Settings
from cascade_kv.vllm.support import Unsupported, check_engine, check_version


def engine(**changes: object) -> SimpleNamespace:
    """As much of vLLM's configuration as is looked at. `part__field=value` changes it."""
    config = SimpleNamespace(
        kv_transfer_config=SimpleNamespace(kv_load_failure_policy="recompute"),
        cache_config=SimpleNamespace(prefix_caching_hash_algo="sha256"),
        parallel_config=SimpleNamespace(decode_context_parallel_size=1, prefill_context_parallel_size=1),
    )
    for path, value in changes.items():
        part, field = path.split("__")
        setattr(getattr(config, part), field, value)
    return config


@pytest.mark.parametrize("version", ["0.32.0", "0.32.7", "0.32.1rc1+cpu"])
def test_the_declared_versions_are_served(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize("version", ["0.31.9", "0.33.0", "0.33.0rc1", "1.0"])
def test_other_versions_are_named(version: str) -> None:
    with pytest.raises(Unsupported, match=f">=0.32,<0.33.*{version.replace('.', '[.]')}"):
        check_version(version)


def test_the_vllm_that_is_here_is_served() -> None:
    check_version()
    check_engine(engine())


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"kv_transfer_config__kv_load_failure_policy": "fail"}, '"kv_load_failure_policy": "recompute"'),
        ({"cache_config__prefix_caching_hash_algo": "xxhash"}, "--prefix-caching-hash-algo sha256"),
        ({"cache_config__prefix_caching_hash_algo": "xxhash_cbor"}, "--prefix-caching-hash-algo sha256"),
        ({"parallel_config__decode_context_parallel_size": 2}, "--decode-context-parallel-size 1"),
        ({"parallel_config__prefill_context_parallel_size": 2}, "--prefill-context-parallel-size 1"),
        ({"cache_config__calculate_kv_scales": True}, "--calculate-kv-scales"),
    ],
)
def test_a_setting_that_would_do_harm_is_refused_with_the_flag(change: dict[str, object], flag: str) -> None:
    with pytest.raises(Unsupported) as refused:
        check_engine(engine(**change))
    assert flag in str(refused.value)


def attention(block_size: int = 16) -> FullAttentionSpec:
    import torch

    return FullAttentionSpec(block_size=block_size, num_kv_heads=2, head_size=8, dtype=torch.float32)


def window() -> SlidingWindowSpec:
    import torch

    return SlidingWindowSpec(
        block_size=16, num_kv_heads=2, head_size=8, dtype=torch.float32, sliding_window=32
    )


def recurrent() -> MambaSpec:
    import torch

    return MambaSpec(block_size=16, shapes=((4, 4),), dtypes=(torch.float32,), mamba_type="mamba2")


def cache(*specs: object) -> KVCacheConfig:
    return KVCacheConfig(
        num_blocks=8,
        kv_cache_tensors=[],
        kv_cache_groups=[KVCacheGroupSpec([f"layer{at}"], spec) for at, spec in enumerate(specs)],
        kv_cache_layout="LBHNC",
        hash_block_size=16,
    )


def test_groups_are_read_with_all_that_their_spec_says() -> None:
    groups = Groups.of(cache(attention(), window()), 16, 1)
    assert [group.kind for group in groups.groups] == ["full_attention", "sliding_window"]
    assert [group.reach_blocks for group in groups.groups] == [None, 2]
    assert "sliding_window=32" in groups.groups[1].description
    assert groups.shares(2) == [(0, 0), (0, 1, 2), (1, 0), (1, 1, 2)]


@pytest.mark.parametrize(
    ("specs", "pipeline", "words"),
    [
        ((recurrent(),), 1, "without --kv-transfer-config"),
        ((attention(32),), 1, "--block-size 16"),
        ((attention(), window()), 2, "--pipeline-parallel-size 1"),
    ],
)
def test_groups_that_cannot_be_cached_are_refused(
    specs: tuple[object, ...], pipeline: int, words: str
) -> None:
    with pytest.raises(Unsupported) as refused:
        Groups.of(cache(*specs), 16, pipeline)
    assert words in str(refused.value)


def test_settings_have_defaults_and_take_what_is_named() -> None:
    assert Settings.of({}) == Settings()
    assert Settings.of({"instance": "two", "load_threads": 4}) == Settings(instance="two", load_threads=4)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"instnce": "two"}, "did you mean 'instance'"),
        ({"zzz": 1}, "there are instance, socket"),
        ({"load_threads": "4"}, "load_threads must be int"),
        ({"load_threads": 0}, "at least 1"),
        ({"load_threads": True}, "must be int"),
        ({"tenant_salt": 5}, "tenant_salt must be str"),
    ],
)
def test_a_wrong_setting_is_an_error_that_helps(extra: dict[str, object], words: str) -> None:
    with pytest.raises(Unsupported) as refused:
        Settings.of(copy.copy(extra))
    assert words in str(refused.value)
