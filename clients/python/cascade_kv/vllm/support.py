"""What the connector works with, and in which words it declines the rest.

Everything here is checked once, when an engine starts: a configuration under which a request could fail, or a
token could differ, because of the cache is refused with the flag that mends it. Raises `Unsupported`, never
less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from packaging.version import Version

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.kv_cache_interface import KVCacheConfig

VLLM_AT_LEAST = Version("0.32")
VLLM_BELOW = Version("0.33")

STRONG_HASHES = ("sha256", "sha256_cbor")
"""Prefix hashes that no one can make collide: two tenants' blocks never take each other's key."""

KINDS = (
    "full_attention",
    "mla_attention",
    "sink_full_attention",
    "sliding_window",
    "chunked_local_attention",
)
"""Kinds of KV groups whose blocks are immutable once full. Recurrent state is not among them: it is
overwritten in place."""


class Unsupported(ValueError):
    """The engine cannot run with Cascade as configured. The message names the flag to set."""


def check_version(version: str | None = None) -> None:
    """Refuses a vLLM that the connector was not written for."""
    if version is None:
        import vllm

        version = vllm.__version__
    if not VLLM_AT_LEAST <= Version(Version(version).base_version) < VLLM_BELOW:
        raise Unsupported(
            f"CascadeConnector of this cascade_kv is for vLLM >={VLLM_AT_LEAST},<{VLLM_BELOW}, and this is "
            f"vLLM {version}: install a vLLM of that range, or a cascade_kv for yours"
        )


def check_engine(config: VllmConfig) -> None:
    """Refuses settings of the engine by which a request could fail, or that make no blocks to share."""
    transfer = config.kv_transfer_config
    if transfer.kv_load_failure_policy != "recompute":
        raise Unsupported(
            "a block that cannot be loaded would fail its request: set "
            '"kv_load_failure_policy": "recompute" in --kv-transfer-config'
        )
    check_sharing(config)


def check_sharing(config: VllmConfig) -> None:
    """Refuses settings of the engine under which its blocks cannot be shared, by whatever way they reach the
    cache."""
    algorithm = config.cache_config.prefix_caching_hash_algo
    if algorithm not in STRONG_HASHES:
        raise Unsupported(
            f"--prefix-caching-hash-algo {algorithm} is no cryptographic hash, and each process seeds it "
            f"anew: blocks named by it must not be shared. Set --prefix-caching-hash-algo {STRONG_HASHES[0]}"
        )
    parallel = config.parallel_config
    for size, flag in (
        (parallel.decode_context_parallel_size, "--decode-context-parallel-size"),
        (parallel.prefill_context_parallel_size, "--prefill-context-parallel-size"),
    ):
        if size > 1:
            raise Unsupported(
                f"blocks split over the ranks of context parallelism are not cached: set {flag} 1"
            )
    if getattr(config.cache_config, "calculate_kv_scales", False):
        raise Unsupported(
            "KV scales measured at run time differ from engine to engine: drop --calculate-kv-scales and "
            "use scales of the checkpoint"
        )


def check_groups(
    cache: KVCacheConfig, kinds: Sequence[str], block_tokens: int, pipeline_parallel: int
) -> None:
    """Refuses KV groups whose blocks are not immutable, whole and of one size. `kinds`: one per group."""
    tokens_per_hash = cache.hash_block_size or block_tokens
    if len(cache.kv_cache_groups) > 1 and pipeline_parallel > 1:
        raise Unsupported(
            "several KV groups with pipeline parallelism are not supported: set --pipeline-parallel-size "
            "1, or --disable-hybrid-kv-cache-manager"
        )
    for number, (group, kind) in enumerate(zip(cache.kv_cache_groups, kinds, strict=True)):
        if kind not in KINDS or not group.kv_cache_spec.prefix_cacheable or not group.enable_kv_transfer:
            raise Unsupported(
                f"KV group {number} ({kind}) has no blocks that stay as they are once full: run this model "
                "without --kv-transfer-config"
            )
        tokens = group.kv_cache_spec.block_size
        if tokens != tokens_per_hash:
            raise Unsupported(
                f"KV group {number} ({kind}) has blocks of {tokens} tokens, and vLLM hashes "
                f"{tokens_per_hash} at a time; they must be equal: set --block-size {tokens_per_hash}, or "
                "--disable-hybrid-kv-cache-manager"
            )
