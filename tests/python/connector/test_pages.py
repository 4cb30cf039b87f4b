"""Blocks as bytes, in every layout that vLLM has."""

from __future__ import annotations

import pytest
import torch
from node_process import Node
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheTensor, create_kv_cache_views
from vllm.v1.kv_cache_layout import KVCacheLayout

from cascade_kv import Miss, Namespace
from cascade_kv.vllm.groups import Group
from cascade_kv.vllm.pages import as_bytes, group_pages
from cascade_kv.vllm.staging import gather, scatter, scatter_whole
from cascade_kv.vllm.support import Unsupported

BLOCKS = 5
SPEC = FullAttentionSpec(block_size=16, num_kv_heads=2, head_size=8, dtype=torch.float32)
NAMES = ["layer0", "layer1", "layer2"]


def memory(
    layout: KVCacheLayout, kernel_block: int | None = None
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """KV memory as vLLM allocates it: the raw bytes, and its view of each layer."""
    page = SPEC.page_size_bytes
    outermost = layout.is_block_outermost
    raw = torch.arange(len(NAMES) * BLOCKS * page, dtype=torch.int64).to(torch.int8)
    placed = KVCacheTensor(
        size=raw.numel(),
        layers=NAMES,
        layer_stride=page if outermost else page * BLOCKS,
        block_stride=page * len(NAMES) if outermost else page,
    )
    return raw, dict(
        zip(NAMES, create_kv_cache_views(raw, SPEC, BLOCKS, layout, placed, kernel_block), strict=True)
    )


@pytest.mark.parametrize("layout", [layout for layout in KVCacheLayout if layout.is_block_compact])
def test_a_block_compact_layout_is_seen_as_one_row_of_bytes_a_block(layout: KVCacheLayout) -> None:
    raw, caches = memory(layout)
    pages = group_pages(Group(0, "full_attention", tuple(NAMES), ""), caches, BLOCKS)
    assert [tuple(page.shape) for page in pages] == [(BLOCKS, SPEC.page_size_bytes)] * len(NAMES)
    for layer, page in enumerate(pages):
        for block in range(BLOCKS):
            row = block * len(NAMES) + layer if layout.is_block_outermost else layer * BLOCKS + block
            start = row * SPEC.page_size_bytes
            assert torch.equal(page[block].view(torch.int8), raw[start : start + SPEC.page_size_bytes])
    pages[1][3].zero_()
    assert not caches["layer1"][3].any(), "it is the same memory"


def test_blocks_that_the_kernel_splits_are_whole_again() -> None:
    _, whole = memory(KVCacheLayout.LBHNC)
    _, split = memory(KVCacheLayout.LBHNC, kernel_block=4)
    assert split["layer0"].shape[0] == 4 * BLOCKS
    assert torch.equal(
        as_bytes("layer0", split["layer0"], BLOCKS), as_bytes("layer0", whole["layer0"], BLOCKS)
    )


@pytest.mark.parametrize("layout", [layout for layout in KVCacheLayout if not layout.is_block_compact])
def test_pages_in_several_places_are_refused(layout: KVCacheLayout) -> None:
    page, order = SPEC.page_size_bytes // 4, layout.stride_order
    shape = (len(NAMES), BLOCKS, *memory(KVCacheLayout.LBHNC)[1]["layer0"].shape[1:])
    physical = torch.zeros([shape[axis] for axis in order])
    logical = physical.permute([order.index(axis) for axis in range(5)])
    assert logical[0, 0].numel() == page
    with pytest.raises(Unsupported, match="VLLM_KV_CACHE_LAYOUT=LBHNC"):
        as_bytes("layer0", logical[0], BLOCKS)


def test_a_layer_that_shares_anothers_memory_is_moved_once() -> None:
    _, caches = memory(KVCacheLayout.LBHNC)
    caches["layer2"] = caches["layer0"]
    assert len(group_pages(Group(0, "full_attention", tuple(NAMES), ""), caches, BLOCKS)) == 2


def test_a_layer_without_memory_is_named() -> None:
    with pytest.raises(Unsupported, match="layer9"):
        group_pages(Group(0, "full_attention", ("layer9",), ""), {}, BLOCKS)


@pytest.mark.parametrize("page_bytes", [24, 13])
def test_what_is_gathered_is_scattered_back(page_bytes: int) -> None:
    layers = [torch.randint(0, 256, (6, page_bytes), dtype=torch.uint8) for _ in range(3)]
    before = [layer.clone() for layer in layers]
    blocks = torch.tensor([4, 0, 5])
    pieces = torch.empty(3, 3 * page_bytes, dtype=torch.uint8)
    gather(layers, blocks, pieces)
    assert torch.equal(pieces[1], torch.cat([layer[0] for layer in before]))
    for layer in layers:
        layer[blocks] = 0
    scatter(pieces, blocks, layers)
    assert all(torch.equal(layer, old) for layer, old in zip(layers, before, strict=True))


def test_noise_in_a_staged_row_without_a_whole_piece_does_not_reach_the_engine(node: Node) -> None:
    page_bytes, noise = 2048, 0xFF
    keys = Namespace(model="noise", block_tokens=1).chain(range(4))
    lengths = [2 * page_bytes, 2 * page_bytes - 1, None, 2 * page_bytes]
    rows = torch.full((len(keys), 2 * page_bytes), noise, dtype=torch.uint8)
    with node.connect() as client:
        for depth, (key, length) in enumerate(zip(keys, lengths, strict=True)):
            if length is not None:
                parent = keys[depth - 1] if depth else None
                assert client.put(key, bytes(length), parent=parent, depth=depth, wait=True)
        answers = client.get_batch_into(keys, list(rows.numpy()))
    assert [answer if isinstance(answer, int) else None for answer in answers] == lengths
    assert isinstance(answers[2], Miss)
    layers = [torch.full((6, page_bytes), 7, dtype=torch.uint8) for _ in range(2)]
    scatter_whole(rows, answers, [5, 4, 2, 1], layers, torch.tensor)
    for layer in layers:
        assert [row.unique().tolist() for row in layer] == [[7], [0], [7], [7], [7], [0]]
