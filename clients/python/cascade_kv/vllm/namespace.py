"""Under which name an engine's blocks are kept: every field that changes their bytes is in it.

vLLM's block hashes already tell apart what differs between requests: tokens, multimodal inputs, prompt
embeddings, cache_salt, the name and path of a LoRA adapter. They say nothing of the engine: two models, or
two weights under one path, hash alike. `Identity` is the engine; its blocks are vLLM's hashes wrapped in a
namespace made of it. An adapter's weights go into it too, since files under a path may change.

Only the scheduler makes namespaces; workers are told keys.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade_kv import Namespace
from cascade_kv.vllm.fingerprint import combine, fingerprint
from cascade_kv.vllm.support import Unsupported

if TYPE_CHECKING:
    from vllm.config import ModelConfig, VllmConfig
    from vllm.lora.request import LoRARequest

    from cascade_kv.vllm.groups import Groups
    from cascade_kv.vllm.settings import Settings

log = logging.getLogger("vllm.cascade")

FORMAT = 1
"""Grows when the connector writes other bytes for the same engine."""

LENGTH_FREE_ROPES = ("default", "linear", "yarn", "llama3", "mrope", "deepseek_yarn", "proportional")
"""Rotary embeddings that do not look at the engine's maximum length."""


@dataclass(frozen=True)
class Identity:
    """What an engine is. Two engines share blocks exactly when all fields agree."""

    model: str
    revision: str
    weights_fingerprint: bytes
    dtype: str
    kv_cache_dtype: str
    quantization: str
    layout: str
    groups: tuple[str, ...]
    """Of each KV group its layers and vLLM's description of their pages."""
    block_tokens: int
    tensor_parallel: int
    pipeline_parallel: int
    pipeline_partition: str
    hash_algorithm: str
    hash_seed: str
    device: str
    load_format: str
    max_length: int
    """0 unless the rotary embedding depends on it."""
    drafter: str
    tenant_salt: str
    lora: str = ""
    epoch: str = ""
    """Not empty after the engine was told to forget its cache: then it shares with nobody."""
    format: int = FORMAT

    def namespace(self) -> Namespace:
        """The namespace of this engine's blocks."""
        named = ("model", "revision", "weights_fingerprint", "dtype", "block_tokens", "tensor_parallel",
                 "pipeline_parallel", "lora", "tenant_salt")  # fmt: skip
        fields = asdict(self)
        rest = {name: value for name, value in fields.items() if name not in named}
        return Namespace(**{name: fields[name] for name in named}, layout=json.dumps(rest, sort_keys=True))


class Namespaces:
    """The namespaces of one engine: of its base model, and of each LoRA adapter once its files were read."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._base = identity.namespace()
        self._lock = threading.Lock()
        self._adapters: dict[tuple[str, int, str], Namespace | None] = {}
        self.epoch = 0
        """Changes when all namespaces have changed."""

    def of(self, adapter: LoRARequest | None) -> Namespace | None:
        """The namespace for a request. Never waits: None while an adapter's files are being read, and for
        adapters that cannot be told from what they were (reloaded in place, unreadable): such requests run
        without the cache."""
        if adapter is None:
            return self._base
        if adapter.load_inplace:
            return None
        name = (adapter.lora_name, adapter.lora_int_id, adapter.lora_path)
        with self._lock:
            if name in self._adapters:
                return self._adapters[name]
            self._adapters[name] = None
        threading.Thread(
            target=self._read, args=(name, self._identity), name="cascade-lora", daemon=True
        ).start()
        return None

    def forget(self, epoch: str) -> None:
        """From now on nothing that was stored before is found. `epoch`: a word never used before."""
        with self._lock:
            self._identity = replace(self._identity, epoch=epoch)
            self._base = self._identity.namespace()
            self._adapters = {}
            self.epoch += 1

    def _read(self, name: tuple[str, int, str], identity: Identity) -> None:
        try:
            adapter = replace(identity, lora=f"{name[0]}:{fingerprint(name[2]).hex()}").namespace()
        except (OSError, Unsupported) as error:
            log.warning("cascade: requests of LoRA adapter %s run without the cache: %s", name[0], error)
            return
        with self._lock:
            if identity is self._identity:
                self._adapters[name] = adapter


def identify(config: VllmConfig, groups: Groups, settings: Settings) -> Identity:
    """Reads an engine's configuration and hashes its weight files. Raises `Unsupported` if there are none to
    be found."""
    from vllm.utils.hashing import get_hash_fn_by_name
    from vllm.v1.core.kv_cache_utils import resolve_none_hash_seed

    model, cache, parallel = config.model_config, config.cache_config, config.parallel_config
    architecture = architecture_of(model)
    speculative = config.speculative_config
    drafter = "" if speculative is None else str(speculative.method)
    files = [architecture.encode()]
    if settings.weights_fingerprint:
        files.append(settings.weights_fingerprint.encode())
    else:
        files.append(fingerprint(model_folder(model)))
        draft = getattr(speculative, "draft_model_config", None)
        if draft is not None and draft.model != model.model:
            files.append(fingerprint(model_folder(draft)))
    return Identity(
        model=model.model,
        revision=model.revision or "",
        weights_fingerprint=combine(files),
        dtype=str(model.dtype),
        kv_cache_dtype=str(cache.cache_dtype),
        quantization=str(model.quantization),
        layout=groups.layout,
        groups=tuple(f"{','.join(group.layers)} {group.description}" for group in groups.groups),
        block_tokens=groups.block_tokens,
        tensor_parallel=parallel.tensor_parallel_size,
        pipeline_parallel=parallel.pipeline_parallel_size,
        pipeline_partition=os.environ.get("VLLM_PP_LAYER_PARTITION", ""),
        hash_algorithm=str(cache.prefix_caching_hash_algo),
        hash_seed=resolve_none_hash_seed(get_hash_fn_by_name(cache.prefix_caching_hash_algo)),
        device=str(config.device_config.device_type),
        load_format=str(config.load_config.load_format),
        max_length=length_that_matters(architecture, model.max_model_len),
        drafter=drafter,
        tenant_salt=settings.tenant_salt,
    )


def architecture_of(model: ModelConfig) -> str:
    """The model's configuration as the engine uses it, overrides included, without what only names it."""
    config: dict[str, Any] = model.hf_config.to_dict()
    for name in ("_name_or_path", "transformers_version"):
        config.pop(name, None)
    return json.dumps(config, sort_keys=True, default=str)


def length_that_matters(architecture: str, max_length: int) -> int:
    """`max_length` if the KV of a token depends on it (LongRoPE chooses its factors by it), else 0."""
    kinds: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, dict):
            for name in ("rope_type", "type"):
                if isinstance(node.get(name), str) and any("rope" in key or key == "factor" for key in node):
                    kinds.add(node[name])
            for child in node.values():
                visit(child)
        elif isinstance(node, list):
            for child in node:
                visit(child)

    visit(json.loads(architecture))
    return 0 if kinds <= set(LENGTH_FREE_ROPES) else max_length


def model_folder(model: ModelConfig) -> Path:
    """Where the engine's weight files lie. Raises `Unsupported` if they are not on this machine."""
    path = Path(model.model)
    if path.exists():
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model.model, revision=model.revision, local_files_only=True))
    except Exception as error:
        raise Unsupported(
            f"the weight files of {model.model} were not found on this machine ({error}), so the cache "
            'cannot tell when they change: set "weights_fingerprint" in kv_connector_extra_config'
        ) from error
