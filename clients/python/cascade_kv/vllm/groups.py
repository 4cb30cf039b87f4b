"""The KV groups of a model, as the cache sees them.

vLLM keeps layers that share a block table in one group: all layers of a plain transformer, or one group of
full attention and some of sliding windows. A block of a group is one piece of the cache, all layers in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cascade_kv.vllm.support import check_groups

if TYPE_CHECKING:
    from vllm.v1.kv_cache_interface import KVCacheConfig

WINDOWED = ("sliding_window", "chunked_local_attention")


@dataclass(frozen=True)
class Group:
    """One KV group."""

    number: int
    kind: str
    layers: tuple[str, ...]
    description: str
    """Every field of vLLM's spec: head counts, dtype, window, page. Part of the namespace."""

    @property
    def windowed(self) -> bool:
        """Attention reaches back a bounded number of tokens."""
        return self.kind in WINDOWED


@dataclass(frozen=True)
class Groups:
    """All groups, their block size, and the layout of their pages."""

    block_tokens: int
    layout: str
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, cache: KVCacheConfig, block_tokens: int, pipeline_parallel: int) -> Groups:
        """Reads and checks vLLM's own description. Raises `Unsupported`."""
        from vllm.v1.kv_cache_interface import get_kv_cache_spec_kind

        kinds = [get_kv_cache_spec_kind(group.kv_cache_spec).value for group in cache.kv_cache_groups]
        check_groups(cache, kinds, block_tokens, pipeline_parallel)
        return cls(
            block_tokens=cache.hash_block_size or block_tokens,
            layout=str(cache.kv_cache_layout),
            groups=tuple(
                Group(number, kind, tuple(group.layer_names), repr(group.kv_cache_spec))
                for number, (group, kind) in enumerate(zip(cache.kv_cache_groups, kinds, strict=True))
            ),
        )

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def any_windowed(self) -> bool:
        """Whether some group drops blocks that its window has passed."""
        return any(group.windowed for group in self.groups)

    def shares(self, ranks: int) -> list[tuple[int, int]]:
        """The (rank, group) pairs of which a block consists.

        All groups are matched by the prefix rule: a block counts if it and all before it are there in every
        group. That is stricter than a window needs, never laxer.
        """
        return [(rank, group.number) for rank in range(ranks) for group in self.groups]
