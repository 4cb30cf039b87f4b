"""What the namespace leaves to vLLM's own block hashes, pinned: a vLLM that changes it fails here."""

from __future__ import annotations

import pytest
from vllm.lora.request import LoRARequest
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import get_hash_fn_by_name
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash, resolve_none_hash_seed
from vllm.v1.request import Request

from cascade_kv.vllm.support import STRONG_HASHES

TOKENS = list(range(64))


def hashes(algorithm: str = "sha256", tokens: list[int] = TOKENS, **fields: object) -> list[bytes]:
    """Of blocks of 16 tokens."""
    function = get_hash_fn_by_name(algorithm)
    init_none_hash(function)
    request = Request(
        request_id="r",
        prompt_token_ids=tokens,
        sampling_params=SamplingParams(max_tokens=1),
        pooling_params=None,
        block_hasher=get_request_block_hasher(16, function),
        **fields,
    )
    return [bytes(value) for value in request.block_hashes]


def lora(name: str, path: str) -> LoRARequest:
    return LoRARequest(lora_name=name, lora_int_id=1, lora_path=path)


def test_hashes_are_chained_over_whole_blocks() -> None:
    plain = hashes()
    assert len(plain) == 4
    assert len(hashes(tokens=TOKENS[:63])) == 3
    assert hashes(tokens=TOKENS[:20] + [999] + TOKENS[21:])[0] == plain[0]
    assert not set(hashes(tokens=[999] + TOKENS[1:])) & set(plain)


@pytest.mark.parametrize(
    "fields",
    [{"cache_salt": "tenant"}, {"lora_request": lora("a", "/a")}],
    ids=["cache_salt", "lora"],
)
def test_salt_and_adapter_change_every_hash(fields: dict[str, object]) -> None:
    assert not set(hashes(**fields)) & set(hashes())


def test_adapters_differ_by_name_and_by_path() -> None:
    found = [hashes(lora_request=lora(name, path)) for name, path in (("a", "/a"), ("b", "/a"), ("a", "/b"))]
    assert len({tuple(value) for value in found}) == 3


@pytest.mark.parametrize("algorithm", STRONG_HASHES)
def test_strong_hashes_have_32_bytes_and_one_seed_everywhere(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    seed = resolve_none_hash_seed(get_hash_fn_by_name(algorithm))
    assert seed == resolve_none_hash_seed(get_hash_fn_by_name(algorithm))
    first = hashes(algorithm)
    assert all(len(value) == 32 for value in first)
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    assert resolve_none_hash_seed(get_hash_fn_by_name(algorithm)) == "7"
    assert not set(hashes(algorithm)) & set(first)
