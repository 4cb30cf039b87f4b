"""One altered tensor is seen; unaltered files are read once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import cascade_kv.vllm.fingerprint as fingerprints
from cascade_kv.vllm.fingerprint import SETTLED_NS, fingerprint, model_files
from cascade_kv.vllm.support import Unsupported


@pytest.fixture
def remembered(tmp_path: Path) -> Path:
    return tmp_path / "remembered"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model in two files of weights, as old as downloaded ones are."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"hidden_size": 8}')
    (folder / "tokenizer.json").write_text("{}")
    for part in range(2):
        save_file(
            {f"a{part}": torch.zeros(64, 8), f"b{part}": torch.ones(8)}, folder / f"part{part}.safetensors"
        )
    return folder


def read_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with the size of each file that is hashed."""
    sizes: list[int] = []
    real = fingerprints.digest_of_chunks

    def counted(path: Path, size_bytes: int, pool: object) -> bytes:
        sizes.append(size_bytes)
        return real(path, size_bytes, pool)

    monkeypatch.setattr(fingerprints, "digest_of_chunks", counted)
    return sizes


def test_one_altered_tensor_of_the_same_size_is_another_model(model: Path, remembered: Path) -> None:
    before = fingerprint(model, remembered=remembered)
    assert fingerprint(model, remembered=remembered) == before
    part = model / "part1.safetensors"
    times = os.stat(part)
    changed = torch.zeros(64, 8)
    changed[63, 7] = 2**-20
    save_file({"a1": changed, "b1": torch.ones(8)}, part)
    os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert os.stat(part).st_size == times.st_size
    assert fingerprint(model, remembered=remembered) != before


def test_a_bit_altered_in_place_is_seen_though_the_digest_was_remembered(
    model: Path, remembered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "SETTLED_NS", -(1 << 62))
    before = fingerprint(model, remembered=remembered)
    assert len(list(remembered.iterdir())) == 3
    part = model / "part0.safetensors"
    times = os.stat(part)
    while os.stat(part).st_ctime_ns == times.st_ctime_ns:
        with open(part, "r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last[0] ^ 1]))
        if os.stat(part).st_ctime_ns == times.st_ctime_ns:
            with open(part, "r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(last)
    os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert fingerprint(model, remembered=remembered) != before


def test_settled_files_are_read_once(model: Path, remembered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "SETTLED_NS", -(1 << 62))
    sizes = read_bytes(monkeypatch)
    first = fingerprint(model, remembered=remembered)
    assert len(sizes) == 3
    assert fingerprint(model, remembered=remembered) == first
    assert len(sizes) == 3


def test_files_that_changed_a_moment_ago_are_not_remembered(model: Path, remembered: Path) -> None:
    assert SETTLED_NS > 0
    os.utime(model / "config.json", ns=(1 << 62, 1 << 62))
    fingerprint(model / "config.json", remembered=remembered)
    assert not remembered.exists()


def test_a_damaged_memory_of_digests_costs_time_only(
    model: Path, remembered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "SETTLED_NS", -(1 << 62))
    first = fingerprint(model, remembered=remembered)
    for entry in remembered.iterdir():
        entry.write_text("not a digest")
    assert fingerprint(model, remembered=remembered) == first
    assert fingerprint(model, remembered=model / "config.json" / "no folder") == first


def test_large_files_are_hashed_in_chunks_to_the_last_byte(
    tmp_path: Path, remembered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "CHUNK_BYTES", 1000)
    weights = tmp_path / "weights.safetensors"
    seen = set()
    for length in (999, 1000, 1001, 2000, 2001):
        for last in b"ab":
            weights.write_bytes(b"a" * (length - 1) + bytes([last]))
            seen.add(fingerprint(weights, remembered=remembered))
    assert len(seen) == 10


def test_configuration_counts_and_the_tokenizer_does_not(model: Path, remembered: Path) -> None:
    first = fingerprint(model, remembered=remembered)
    (model / "tokenizer.json").write_text('{"changed": 1}')
    assert fingerprint(model, remembered=remembered) == first
    (model / "config.json").write_text('{"hidden_size": 9}')
    assert fingerprint(model, remembered=remembered) != first


def test_other_formats_count_where_there_are_no_safetensors(model: Path) -> None:
    (model / "original.pth").write_bytes(b"x")
    assert [path.suffix for path in model_files(model)] == [".json", ".safetensors", ".safetensors"]
    for part in model.glob("*.safetensors"):
        part.unlink()
    assert [path.suffix for path in model_files(model)] == [".json", ".pth"]


def test_a_folder_without_weights_is_refused_with_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="weights_fingerprint"):
        fingerprint(tmp_path)
