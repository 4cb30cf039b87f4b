"""Whatever changes an engine's bytes changes where its blocks are kept."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_engine import IDENTITY

from cascade_kv.vllm.namespace import Identity, Namespaces, length_that_matters

OTHER = {str: "another", int: 7, bytes: bytes(31) + b"x", tuple: ("another",)}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Identity)])
def test_each_field_of_an_engine_changes_its_namespace(field: str) -> None:
    other = dataclasses.replace(IDENTITY, **{field: OTHER[type(getattr(IDENTITY, field))]})
    assert other.namespace().root != IDENTITY.namespace().root


def test_the_namespace_is_the_same_in_another_process() -> None:
    program = "from small_engine import IDENTITY; print(IDENTITY.namespace().root.hex())"
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); {program}",
    ]
    answers = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert answers == {IDENTITY.namespace().root.hex() + "\n"}


def test_values_do_not_run_into_each_other() -> None:
    one = dataclasses.replace(IDENTITY, dtype="ab", kv_cache_dtype="c")
    other = dataclasses.replace(IDENTITY, dtype="a", kv_cache_dtype="bc")
    assert one.namespace().root != other.namespace().root


def adapter(path: Path, in_place: bool = False) -> SimpleNamespace:
    return SimpleNamespace(lora_name="a", lora_int_id=1, lora_path=str(path), load_inplace=in_place)


def settled(namespaces: Namespaces, request: SimpleNamespace) -> bytes | None:
    """The root of an adapter's namespace once its files were read."""
    import threading

    namespaces.of(request)
    for thread in threading.enumerate():
        if thread.name == "cascade-lora":
            thread.join(30)
    found = namespaces.of(request)
    return found.root if found is not None else None


def test_an_adapter_has_a_namespace_made_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"one")
    namespaces = Namespaces(IDENTITY)
    assert namespaces.of(adapter(weights.parent)) is None, "its files are being read"
    first = settled(namespaces, adapter(weights.parent))
    assert first is not None
    assert first != namespaces.of(None).root
    weights.write_bytes(b"two")
    assert settled(Namespaces(IDENTITY), adapter(weights.parent)) not in (None, first)


def test_an_adapter_that_cannot_be_known_runs_without_the_cache(tmp_path: Path) -> None:
    assert settled(Namespaces(IDENTITY), adapter(tmp_path / "absent")) is None
    assert settled(Namespaces(IDENTITY), adapter(tmp_path, in_place=True)) is None


def test_an_engine_that_forgot_shares_with_nobody() -> None:
    namespaces = Namespaces(IDENTITY)
    before, epoch = namespaces.of(None).root, namespaces.epoch
    namespaces.forget("never used")
    assert namespaces.of(None).root != before
    assert namespaces.epoch != epoch


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ('{"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}', 0),
        ('{"rope_scaling": null, "rope_theta": 1e4}', 0),
        ('{"rope_scaling": {"rope_type": "yarn", "factor": 4}}', 0),
        ('{"rope_scaling": {"type": "longrope", "factor": 4, "long_factor": [1]}}', 4096),
        ('{"text": {"rope_parameters": {"full": {"rope_type": "dynamic", "factor": 2}}}}', 4096),
    ],
)
def test_the_longest_length_counts_where_the_embedding_depends_on_it(config: str, expected: int) -> None:
    assert length_that_matters(config, 4096) == expected
