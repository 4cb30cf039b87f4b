"""Models small enough to be made on the spot: random weights, a tokenizer of bytes, nothing downloaded.

The weights are saved, so that each process loads the same ones, and wide enough (standard deviation 0.08) that the next
token depends on the whole prompt: a wrong KV block shows in the tokens. `load_format=dummy` would nearly always answer
the same token.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import transformers

VOCABULARY = 512
POSITIONS = 4096
WEIGHT_STD = 0.08

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": POSITIONS,
    "tie_word_embeddings": True,
    "initializer_range": WEIGHT_STD,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}


def make_llama(folder: Path, dtype: Literal["float32", "bfloat16"]) -> Path:
    """Full attention in all layers: one KV group. Returns `folder`."""
    from transformers import LlamaConfig

    return _save(folder, LlamaConfig(**_SHAPE), dtype)


def make_hybrid(folder: Path) -> Path:
    """Sliding windows of 64 tokens in every second layer: two KV groups, of which one forgets. Returns `folder`."""
    from transformers import Gemma3TextConfig

    kinds = ["sliding_attention", "full_attention"] * 2
    return _save(folder, Gemma3TextConfig(**_SHAPE, sliding_window=64, layer_types=kinds), "float32")


def make_qwen(folder: Path) -> Path:
    """The shape of Qwen2.5-0.5B but for its vocabulary, which is 2048: 360 M parameters, bfloat16, 12 KiB of KV a token. Large
    enough for measurements. Returns `folder`."""
    from transformers import Qwen2Config

    shape = Qwen2Config(
        vocab_size=2048,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
        rope_theta=1e6,
        # Wider layers than the small models': half the deviation keeps the next token as dependent on the whole prompt.
        initializer_range=WEIGHT_STD / 2,
        bos_token_id=256,
        eos_token_id=257,
        pad_token_id=258,
    )
    return _save(folder, shape, "bfloat16")


def alter_one_tensor(model: Path, tensor: str) -> None:
    """Negates one tensor of the weights in its place: same path, same length, same config."""
    from safetensors.torch import load_file, save_file

    file = model / "model.safetensors"
    tensors = load_file(file)
    tensors[tensor] = -tensors[tensor]
    save_file(tensors, file, metadata={"format": "pt"})


def _save(folder: Path, config: transformers.PretrainedConfig, dtype: str) -> Path:
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    _byte_tokenizer(config.vocab_size).save_pretrained(folder)
    return folder


def _byte_tokenizer(vocabulary: int) -> transformers.PreTrainedTokenizerFast:
    """256 bytes, three specials, and names for the rest of the vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|bos|>", "<|eos|>", "<|pad|>"]
    words += [f"<{number}>" for number in range(len(words), vocabulary)]
    tokenizer = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|pad|>"
    )
