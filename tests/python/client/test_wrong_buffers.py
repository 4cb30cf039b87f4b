"""Memory that cannot be used is refused with what to pass instead, before a byte moves."""

import ctypes
from typing import Any

import numpy
import pytest

from cascade_kv import Client, PagedCache
from content import chain, key
from test_round_trips import Exported

CUDA = 2


def exported_from_a_device(array: numpy.ndarray) -> Any:
    """What an exporter hands out for a tensor on a GPU: the same capsule with another kind of device in
    it."""
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]

    class OnDevice(Exported):
        def __dlpack__(self, **keywords: Any) -> Any:
            if keywords:
                raise TypeError("no keywords before DLPack 1.0")
            capsule = self._array.__dlpack__()
            # The kind of device comes after the address of the data.
            kind = ctypes.c_int32.from_address(get_pointer(capsule, b"dltensor") + 8)
            assert kind.value == 1, "it came from the CPU"
            kind.value = CUDA
            return capsule

    return OnDevice(array)


@pytest.mark.parametrize(
    "target", [b"12345678", memoryview(b"12345678"), "read-only array", "read-only dlpack"]
)
def test_a_target_is_writable(client: Client, target: Any) -> None:
    client.put(key(1), b"12345678")
    if isinstance(target, str):
        array = numpy.zeros(8, "u1")
        array.flags.writeable = False
        target = Exported(array) if "dlpack" in target else array
    with pytest.raises(BufferError, match="read-only"):
        client.get_into(key(1), target)


@pytest.mark.parametrize("wrap", [lambda array: array, Exported, memoryview])
def test_memory_with_gaps_is_no_single_buffer(client: Client, wrap: Any) -> None:
    gaps = wrap(numpy.zeros((8, 8), "u1")[:, ::2])
    with pytest.raises(BufferError, match="not C-contiguous: pass its contiguous parts"):
        client.put(key(1), gaps)
    with pytest.raises(BufferError, match="not C-contiguous"):
        client.get_into(key(1), gaps)


def test_a_transposed_array_is_no_single_buffer(client: Client) -> None:
    with pytest.raises(BufferError, match="not C-contiguous"):
        client.put(key(1), numpy.zeros((8, 4), "u1").T)


@pytest.mark.parametrize("thing", [None, 7, "text", [1, 2]])
def test_what_lends_no_memory_is_a_type_error(client: Client, thing: Any) -> None:
    with pytest.raises(TypeError, match="neither the buffer protocol nor __dlpack__"):
        client.put(key(1), thing)


def test_a_tensor_on_a_device_is_refused_with_what_to_do(client: Client) -> None:
    with pytest.raises(BufferError, match=r"tensor\.cpu\(\)"):
        client.put(key(1), exported_from_a_device(numpy.zeros(8, "u1")))


def test_an_exporters_own_refusal_is_handed_on(client: Client) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(BufferError, match="detach"):
        client.put(key(1), torch.zeros(4, requires_grad=True))


def test_two_targets_of_one_call_do_not_overlap(client: Client) -> None:
    memory = bytearray(100)
    halves = [memoryview(memory)[:60], memoryview(memory)[40:]]
    with pytest.raises(ValueError, match="overlap"):
        client.get_into_vectored(key(1), halves)
    with pytest.raises(ValueError, match="overlap"):
        client.get_batch_into(chain(2), halves)


def test_there_is_one_buffer_for_each_key(client: Client) -> None:
    with pytest.raises(ValueError, match="2 keys, but 1 buffers"):
        client.put_batch(chain(2), [b"one"])
    with pytest.raises(ValueError, match="1 keys, but 2 targets"):
        client.get_batch_into(chain(1), [bytearray(1), bytearray(1)])
    with pytest.raises(ValueError, match="1 keys, but 2 block ids"):
        client.get_blocks(PagedCache([numpy.zeros((2, 8), "u1")]), chain(1), [0, 1])


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([], "at least one layer"),
        ([numpy.zeros((4, 8), "u1"), numpy.zeros((5, 8), "u1")], "layer 1 has 5 blocks, those before it 4"),
        ([numpy.zeros((4, 8, 2), "u1")[:, ::2]], "layer 0: its pages are not contiguous"),
        (
            [numpy.lib.stride_tricks.as_strided(numpy.zeros(32, "u1"), (4, 8), (4, 1))],
            "layer 0: its pages overlap",
        ),
    ],
)
def test_a_cache_that_is_no_pages_is_refused(layers: list[Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PagedCache(layers)


def test_the_memory_of_a_cache_is_writable() -> None:
    with pytest.raises(BufferError, match="layer 0: the target is read-only"):
        PagedCache([bytes(64)])


@pytest.mark.parametrize("call", ["put_blocks", "get_blocks"])
@pytest.mark.parametrize("block", [4, 2**40])
def test_a_block_beyond_the_cache_is_an_index_error(client: Client, call: str, block: int) -> None:
    cache = PagedCache([numpy.zeros((4, 8), "u1")])
    with pytest.raises(IndexError, match=f"block {block} of a cache of 4 blocks"):
        getattr(client, call)(cache, [key(1)], [block])


def test_the_memory_of_a_cache_is_kept_as_long_as_the_cache(client: Client) -> None:
    memory = bytearray(64)
    cache = PagedCache([memory])
    with pytest.raises(BufferError):
        memory.append(1)
    del cache
    memory.append(1)


@pytest.mark.parametrize(
    ("wrong", "error"), [(b"short", ValueError), ("x" * 32, TypeError), (None, TypeError)]
)
def test_a_key_is_32_bytes(client: Client, wrong: Any, error: type[Exception]) -> None:
    for call in (client.contains, client.get, client.pin, client.discard):
        with pytest.raises(error, match="32"):
            call(wrong)
    with pytest.raises(error, match="32"):
        client.match_chain([key(1), wrong])


@pytest.mark.parametrize("timeout_s", [-1.0, float("nan")])
def test_a_timeout_is_a_time(client: Client, timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        client.put(key(1), b"data", timeout_s=timeout_s)
