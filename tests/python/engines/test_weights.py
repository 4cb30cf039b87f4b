"""Weights that changed under the same path never meet KV of the old ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from node_process import Node

from harness.models import alter_one_tensor
from harness.prompts import prompt
from harness.servers import Server, Setup

Start = Callable[..., Server]

TENSOR = "model.layers.2.self_attn.v_proj.weight"
PROMPT_TOKENS = 256


@pytest.mark.short
def test_one_altered_tensor_is_a_miss_and_the_old_weights_hit_again(
    node: Node, llama: Path, scratch: Path, start: Start
) -> None:
    model = shutil.copytree(llama, scratch / "altered")
    asked = prompt("weights", PROMPT_TOKENS)
    loaded, answers = [], []
    for alters in (False, True, True):
        if alters:
            # The second time negates it back.
            alter_one_tensor(model, TENSOR)
        server = start(Setup(model, node)).ready()
        answers.append(server.complete(asked))
        loaded.append(server.loaded_tokens())
        server.stop()
    assert loaded == [0, 0, PROMPT_TOKENS]
    assert answers[0] == answers[2]
    assert answers[0].tokens != answers[1].tokens
