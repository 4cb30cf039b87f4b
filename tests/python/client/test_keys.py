"""Keys are the same in every language: the golden values are those of the Rust tests."""

from pathlib import Path

import pytest

from cascade_kv import Namespace

GOLDEN = Path(__file__).parents[2] / "formats" / "keys.txt"


def golden() -> dict[str, bytes]:
    pairs = (line.rsplit(": ", 1) for line in GOLDEN.read_text().splitlines())
    return {name: bytes.fromhex(value) for name, value in pairs}


def full() -> Namespace:
    return Namespace(
        model="meta-llama/Llama-3.1-8B",
        revision="0e9e39f",
        weights_fingerprint=b"\xa5" * 32,
        dtype="bfloat16",
        layout="NHD",
        block_tokens=16,
        tensor_parallel=4,
        pipeline_parallel=2,
        lora="sql",
        tenant_salt="tenant-1",
    )


def test_the_root_of_a_namespace_is_the_golden_one() -> None:
    assert full().root == golden()["namespace root, all fields set"]
    empty = Namespace(model="", tensor_parallel=0, pipeline_parallel=0)
    assert empty.root == golden()["namespace root, all fields empty"]


def test_a_chain_is_the_golden_one_and_has_no_key_for_a_partial_block() -> None:
    tokens = [i * 3 + 128_000 for i in range(40)]
    name = "chain of 40 tokens from 128000 by 3, block {}"
    assert full().chain(tokens) == [golden()[name.format(i)] for i in range(2)]
    assert full().chain(range(16)) == [golden()["block key, tokens 0..16"]]


def test_a_wrapped_engine_hash_is_the_golden_one() -> None:
    assert full().wrap([b"\xff" * 32]) == [golden()["wrapped key of 32 times ff"]]


def test_a_namespace_without_block_tokens_makes_no_keys_of_tokens() -> None:
    with pytest.raises(ValueError, match="block_tokens"):
        Namespace(model="m").chain([1, 2, 3])


def test_a_fingerprint_is_a_whole_digest_or_none() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 5"):
        Namespace(model="m", weights_fingerprint=b"short")
    assert Namespace(model="m", weights_fingerprint=b"").root == Namespace(model="m").root


@pytest.mark.parametrize("token", [-1, 2**32])
def test_a_token_is_32_bits(token: int) -> None:
    with pytest.raises(OverflowError):
        Namespace(model="m", block_tokens=1).chain([token])
