"""The KV groups of a model, as the cache sees them.

vLLM keeps layers that share a block table in one group: all layers of a plain transformer, or one group of
full attention and some of sliding windows. A block of a group is one piece of the cache, all layers in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from cascade_kv.vllm.support import check_groups

Share: TypeAlias = tuple[int, int] | tuple[int, int, int]

if TYPE_CHECKING:
    from vllm.v1.kv_cache_interface import KVCacheConfig, KVCacheSpec


@dataclass(frozen=True)
class Group:
    """One KV group."""

    number: int
    kind: str
    layers: tuple[str, ...]
    description: str
    """Every field of vLLM's spec: head counts, dtype, window, page. Part of the namespace."""

    reach_blocks: int | None = None
    """How many blocks before a token its attention reads, at most; None: all of them."""


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
                Group(
                    number,
                    kind,
                    tuple(group.layer_names),
                    repr(group.kv_cache_spec),
                    reach_blocks(group.kv_cache_spec),
                )
                for number, (group, kind) in enumerate(zip(cache.kv_cache_groups, kinds, strict=True))
            ),
        )

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def any_windowed(self) -> bool:
        """Whether some group drops blocks that its window has passed."""
        return any(group.reach_blocks is not None for group in self.groups)

    def share_of_chunks(self, group: int, blocks_per_chunk: int) -> Share:
        """As `shares`, of one group whose pieces are chunks of several blocks and of all ranks."""
        reach = self.groups[group].reach_blocks
        return (0, group) if reach is None else (0, group, -(-reach // blocks_per_chunk))

    def shares(self, ranks: int) -> list[Share]:
        """The (rank, group) pairs of which a block consists, with the rule by which a match requires them: of
        a group with a window only the last blocks, those that vLLM keeps."""
        return [
            (rank, group.number) if group.reach_blocks is None else (rank, group.number, group.reach_blocks)
            for rank in range(ranks)
            for group in self.groups
        ]


def reach_blocks(spec: KVCacheSpec) -> int | None:
    """How many blocks vLLM keeps of a group before a block boundary; None: all of them."""
    from vllm.v1.kv_cache_interface import ChunkedLocalAttentionSpec, SlidingWindowSpec, iter_layer_specs

    reaches: list[int | None] = []
    for layer in iter_layer_specs(spec):
        if isinstance(layer, SlidingWindowSpec):
            reaches.append(layer.sliding_window - 1 + layer.extra_retained_tokens)
        elif isinstance(layer, ChunkedLocalAttentionSpec):
            reaches.append(layer.attention_chunk_size)
        else:
            reaches.append(None)
    if None in reaches:
        return None
    return max(1, *(-(-tokens // spec.block_size) for tokens in reaches if tokens is not None))
