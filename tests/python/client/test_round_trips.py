"""What was put is what is got, from and into every kind of memory."""

import array
import ctypes
import mmap
from typing import Any

import numpy
import pytest

import cascade_kv
from cascade_kv import Client, Miss, PagedCache
from content import chain, content, key


class Exported:
    """An array that shows nothing but DLPack, of 1.0 or as it was before."""

    def __init__(self, array: numpy.ndarray, versioned: bool = True) -> None:
        self._array = array
        self._versioned = versioned

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def __dlpack__(self, **keywords: Any) -> Any:
        if self._versioned:
            return self._array.__dlpack__(**keywords)
        if keywords:
            raise TypeError("no keywords before DLPack 1.0")
        return self._array.__dlpack__()


def writable(kind: str, len_bytes: int) -> Any:
    """Zeroed memory of that kind."""
    words = numpy.zeros(len_bytes // 4, dtype=numpy.float32)
    match kind:
        case "bytearray":
            return bytearray(len_bytes)
        case "memoryview":
            return memoryview(bytearray(len_bytes))
        case "array":
            return array.array("H", bytes(len_bytes))
        case "ctypes":
            return (ctypes.c_char * len_bytes)()
        case "mmap":
            return mmap.mmap(-1, len_bytes)
        case "numpy":
            return words.reshape(2, -1)
        case "dlpack":
            return Exported(words.reshape(4, -1))
        case "old dlpack":
            return Exported(words, versioned=False)
    raise AssertionError(kind)


def read(memory: Any) -> bytes:
    return bytes(memory._array) if isinstance(memory, Exported) else bytes(memory)


KINDS = ["bytearray", "memoryview", "array", "ctypes", "mmap", "numpy", "dlpack", "old dlpack"]


@pytest.mark.parametrize("kind", KINDS)
def test_any_memory_is_source_and_target(client: Client, kind: str) -> None:
    data = content(1, 8192)
    source, target = writable(kind, 8192), writable(kind, 8192)
    assert client.put(key(1), data)
    assert client.get_into(key(1), source) == 8192
    assert read(source) == data
    assert client.put(key(2), source)
    assert client.get_into(key(2), target) == 8192
    assert read(target) == data
    assert cascade_kv.nbytes(source) == 8192


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float16", "int8"])
def test_a_tensor_of_any_type_is_source_and_target(client: Client, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    source = torch.frombuffer(bytearray(content(3, 4096)), dtype=torch.uint8).view(getattr(torch, dtype))
    target = torch.zeros_like(source)
    assert client.put(key(1), source)
    assert client.get_into(key(1), target) == 4096
    assert torch.equal(source.view(torch.uint8), target.view(torch.uint8))


@pytest.mark.parametrize("len_bytes", [0, 1, 63, 4096, 4097, 65_539, 300_000, 2 << 20])
def test_a_piece_is_read_back_exactly_whatever_its_length(client: Client, len_bytes: int) -> None:
    data = content(len_bytes, len_bytes)
    assert client.put(key(1), data, wait=True).outcome == "fresh"
    target = bytearray(b"\xaa" * (len_bytes + 7))
    assert client.get_into(key(1), target) == len_bytes
    assert target[:len_bytes] == data
    assert target[len_bytes:] == b"\xaa" * 7, "nothing is written past the piece"
    assert client.get(key(1)) == data


def test_ranks_and_groups_are_pieces_of_their_own(client: Client) -> None:
    for rank in range(2):
        for group in range(2):
            client.put(key(1), content(2 * rank + group, 512), rank=rank, group=group)
    for rank in range(2):
        for group in range(2):
            assert client.get(key(1), rank=rank, group=group) == content(2 * rank + group, 512)
    assert not client.get(key(1), rank=2)


def test_fragments_need_not_be_cut_alike(client: Client) -> None:
    data = content(1, 30_000)
    stored = client.put_vectored(key(1), [data[:1], data[1:9000], b"", numpy.frombuffer(data[9000:], "u1")])
    assert stored.outcome == "posted"
    targets = [bytearray(20_000), bytearray(10_001)]
    assert client.get_into_vectored(key(1), targets) == 30_000
    assert b"".join(targets)[:30_000] == data


def test_fragments_can_await_the_verdict(client: Client) -> None:
    assert client.put_vectored(key(1), [b"ab", b"cd"], wait=True).outcome == "fresh"
    assert client.put_vectored(key(1), [b"ab", b"cd"], wait=True).outcome == "already_present"
    assert client.get(key(1)) == b"abcd"


def test_a_batch_answers_for_each_piece(client: Client) -> None:
    keys = chain(20)
    stored = client.put_batch(keys[:10], [content(i, 1000 + i) for i in range(10)])
    assert [one.outcome for one in stored] == ["posted"] * 10
    targets = [bytearray(2000) for _ in keys]
    found = client.get_batch_into(keys, targets)
    assert found[:10] == [1000 + i for i in range(10)]
    assert not any(found[10:])
    assert all(targets[i][: 1000 + i] == content(i, 1000 + i) for i in range(10))


def test_blocks_of_an_engine_go_out_and_come_back(client: Client) -> None:
    keys = chain(5)
    random = numpy.random.default_rng(1)
    layers = [random.integers(0, 256, (12, size), dtype=numpy.uint8) for size in (4096, 512, 8192)]
    before = [layer.copy() for layer in layers]
    cache = PagedCache(layers)
    assert (cache.blocks, cache.block_bytes) == (12, 12_800)
    assert all(client.put_blocks(cache, keys, [3, 0, 7, 11, 5]))
    # As one piece: the pages of a block, layer by layer.
    assert client.get(keys[2]) == b"".join(bytes(layer[7]) for layer in layers)
    assert client.get_blocks(cache, keys[:2], [1, 2]) == [12_800] * 2
    for layer, was in zip(layers, before, strict=True):
        assert (layer[1] == was[3]).all() and (layer[2] == was[0]).all()
        assert (layer[4:] == was[4:]).all(), "no other block is touched"


def test_pages_may_lie_apart(client: Client) -> None:
    memory = numpy.arange(6 * 3 * 64, dtype=numpy.uint8).reshape(6, 3, 64)
    want = memory[2, 0].tobytes() + memory[2, 2].tobytes()
    cache = PagedCache([memory[:, 0], memory[:, 2]])
    assert cache.block_bytes == 128
    assert client.put_blocks(cache, [key(1)], [2])
    assert client.get(key(1)) == want
    middle = memory[:, 1].copy()
    assert client.get_blocks(cache, [key(1)], [4]) == [128]
    assert memory[4, 0].tobytes() + memory[4, 2].tobytes() == want
    assert (memory[:, 1] == middle).all(), "nothing between the pages is touched"


def test_a_cache_of_tensors_needs_no_view_as_bytes(client: Client) -> None:
    torch = pytest.importorskip("torch")
    memory = torch.randn(2, 8, 16, 2, 32).to(torch.bfloat16)
    want = memory[:, 3].clone()
    cache = PagedCache([memory[0], memory[1]])
    assert client.put_blocks(cache, [key(1)], [3])
    memory[:, 5] = 0
    assert client.get_blocks(cache, [key(1)], [5]) == [cache.block_bytes]
    assert torch.equal(memory[:, 5], want)


@pytest.mark.parametrize(("len_bytes", "reason"), [(127, "too_long"), (129, "too_short")])
def test_a_block_of_another_length_is_a_miss(client: Client, len_bytes: int, reason: str) -> None:
    client.put(key(1), bytes(len_bytes))
    [missed] = client.get_blocks(PagedCache([numpy.zeros((1, 128), "u1")]), [key(1)], [0])
    assert isinstance(missed, Miss)
    assert (missed.reason, missed.needed_bytes) == (reason, len_bytes)
