"""A vLLM server of one system: the tests' server, with the arguments that a user would give it and all
processors to itself."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.servers import ENVIRONMENT, Nursery, Server, Setup

from engines import cpu
from engines.request import Reply, ask
from engines.systems import System

READY_LIMIT_S = 600.0
"""A calm machine takes half a minute for one; several start at once, and other people may be at work."""

BLOCK_TOKENS = 128
"""Tokens of a block of vLLM's on a CPU, unless it is told otherwise."""

FIRST_TOKENS = 24
"""Of the first request to an engine, which has nothing to do with any other."""


@dataclass(frozen=True)
class Model:
    """What is served, as far as an engine must be told."""

    folder: Path
    kv_bytes_per_token: int
    context_tokens: int
    """The longest prompt and answer that an engine must take."""


@dataclass(frozen=True)
class Deployment(Setup):
    """A server's command line. `model` is the folder of the model."""

    engine_bytes: int = 0
    context_tokens: int = 0
    connector: Mapping[str, object] | None = None

    def argv(self, socket: Path) -> list[str]:
        """The platform's defaults where there are any; blocks of `BLOCK_TOKENS` among them."""
        given = ["--uds", str(socket), "--model", str(self.model), "--served-model-name", "tiny"]
        given += ["--dtype", self.dtype, "--enforce-eager", "--enable-prompt-tokens-details"]
        given += ["--max-model-len", str(self.context_tokens), "--max-num-batched-tokens", "8192"]
        given += ["--kv-cache-memory-bytes", str(self.engine_bytes)]
        if self.connector is not None:
            given += ["--kv-transfer-config", json.dumps(self.connector)]
        return given


def nursery() -> Nursery:
    """What engines are forked off, with vLLM imported: each starts in seconds."""
    return Nursery({**ENVIRONMENT, **openmp()})


def openmp() -> dict[str, str]:
    """All processors to every engine. vLLM would set up the same for the workers that it spawns, too late for
    one that is forked with OpenMP loaded; here both are told so from the start."""
    processors = [str(number) for number in sorted(os.sched_getaffinity(0))]
    return {"OMP_NUM_THREADS": str(len(processors)), "GOMP_CPU_AFFINITY": " ".join(processors)}


class Engine(Server):
    """A server of a system that is open. It is ready when `await_ready` returns."""

    def __init__(self, system: System, model: Model, nursery: Nursery) -> None:
        """Starts it and returns at once."""
        setup = Deployment(
            model=model.folder,
            dtype="bfloat16",
            environment=(*openmp().items(), *system.environment().items()),
            engine_bytes=system.memory.engine_bytes,
            context_tokens=model.context_tokens,
            connector=system.connector(),
        )
        super().__init__(setup, system.folder, nursery if system.forked else None)
        self.system = system
        self._model = model
        self._nursery = nursery

    def another(self) -> Engine:
        """A new engine of the same system."""
        return Engine(self.system, self._model, self._nursery)

    def await_ready(self) -> None:
        """Returns once it has answered a first, short request."""
        self.ready(READY_LIMIT_S)
        self.ask([0] * FIRST_TOKENS, 1)

    def ask(self, prompt: Sequence[int], answer_tokens: int) -> Reply:
        """One request, from any thread; see `request.ask`."""
        return ask(self._http, prompt, answer_tokens)

    def cpu_s(self) -> float:
        """CPU seconds so far of the engine and of what its system keeps running."""
        return cpu.used_s(cpu.with_descendants([self.pid, *self.system.processes()]))
