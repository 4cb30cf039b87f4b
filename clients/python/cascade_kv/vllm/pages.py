"""An engine's KV memory as bytes: for each layer one row of bytes per block.

vLLM lays pages out in several ways and names the axes itself: a registered tensor is [blocks, heads, tokens,
content], however it is strided. A block can be moved as bytes exactly if its page of every layer is one
contiguous stretch; other layouts are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from vllm.v1.kv_cache_interface import group_kernel_blocks

from cascade_kv.vllm.support import Unsupported

if TYPE_CHECKING:
    from cascade_kv.vllm.groups import Group


def group_pages(group: Group, caches: Mapping[str, torch.Tensor], blocks: int) -> list[torch.Tensor]:
    """Views of shape [blocks, page_bytes] and dtype uint8 over the layers of a group, in its order.

    A layer that uses another layer's memory (cross-layer sharing) is not repeated. Raises `Unsupported`.
    """
    pages: list[torch.Tensor] = []
    seen: set[int] = set()
    for layer in group.layers:
        cache = caches.get(layer)
        if not isinstance(cache, torch.Tensor):
            raise Unsupported(f"KV group {group.number}: vLLM registered no single tensor for layer {layer}")
        if cache.data_ptr() in seen:
            continue
        seen.add(cache.data_ptr())
        pages.append(as_bytes(layer, cache, blocks))
    return pages


def as_bytes(layer: str, cache: torch.Tensor, blocks: int) -> torch.Tensor:
    """One layer as [blocks, page_bytes], the same memory. Raises `Unsupported` for scattered pages."""
    if cache.shape[0] % blocks:
        raise Unsupported(f"{layer}: the first axis of {tuple(cache.shape)} is not vLLM's {blocks} blocks")
    cache = group_kernel_blocks(cache, blocks)
    page = cache[0]
    # vLLM's axes are in one order and its memory in another: without gaps is what counts.
    by_stride = sorted(range(page.dim()), key=page.stride, reverse=True)
    if not page.permute(by_stride).is_contiguous():
        raise Unsupported(
            f"{layer}: the bytes of a block are not contiguous (shape {tuple(cache.shape)}, strides "
            f"{cache.stride()}): set VLLM_KV_CACHE_LAYOUT=LBHNC"
        )
    row = cache.stride(0) * cache.element_size()
    return torch.empty(0, dtype=torch.uint8, device=cache.device).set_(
        cache.untyped_storage(),
        cache.storage_offset() * cache.element_size(),
        (blocks, page.numel() * page.element_size()),
        (row, 1),
    )
