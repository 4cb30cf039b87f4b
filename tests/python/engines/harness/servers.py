"""vLLM's OpenAI server, asked over HTTP as any client would ask it, at temperature 0.

Two ways to start one: forked off the nursery, in seconds, or as a user does it, `python -m vllm...`, which spawns every
process anew. Either listens on a Unix socket, so that no test fails for want of a port, and writes a log whose end a
failure shows.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx

from harness.waiting import until

if TYPE_CHECKING:
    from node_process import Node

ANSWER_S = 180.0
SETTLE_S = 5.0
BLOCK_TOKENS = 32
"""Tokens of one KV block: the fewest that vLLM's attention on a CPU takes."""
ROUNDING = 1e-3
"""In log probabilities of float32 models: 2e-6 was seen from rounding, and whole units from wrong blocks."""
RECORD = "CASCADE_TEST_RECORD"
"""Names the file that `RecordingConnector` notes saved keys in."""

ENVIRONMENT = {
    # vLLM imports the recording connector by name, in each of its processes.
    "PYTHONPATH": os.pathsep.join(
        [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    ),
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    # Dev mode has /reset_prefix_cache, by which an engine forgets its own blocks.
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # One thread each: several servers share two cores, and float32 sums are the same in all of them.
    "OMP_NUM_THREADS": "1",
}

_numbers = count()


@dataclass(frozen=True, eq=False)
class Answer:
    """What a prompt was continued with. Two are equal when all tokens are, and their log probabilities but for rounding:
    a prompt of which a part was loaded is computed in other batches than a cold one."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Answer) or self.tokens != other.tokens:
            return False
        return all(abs(a - b) < ROUNDING for a, b in zip(self.logprobs, other.logprobs, strict=True))


@dataclass(frozen=True)
class Setup:
    """How a server is to be started. `node` None: vLLM alone."""

    model: Path
    node: Node | None = None
    dtype: str = "float32"
    arguments: tuple[str, ...] = ()
    extra_config: tuple[tuple[str, Any], ...] = ()
    recording: bool = False
    """Notes the keys of saved blocks, and waits after each request until they are in the cache: see `Server`."""
    environment: tuple[tuple[str, str], ...] = ()
    """Variables in place of those in `ENVIRONMENT`, and more."""

    def argv(self, socket: Path) -> list[str]:
        """The arguments of vLLM's server."""
        given = [
            "--uds", str(socket), "--model", str(self.model), "--served-model-name", "tiny",
            "--dtype", self.dtype, "--enforce-eager", "--block-size", str(BLOCK_TOKENS),
            "--max-model-len", "2048", "--kv-cache-memory-bytes", str(64 << 20),
            *self.arguments,
        ]  # fmt: skip
        if self.node is None:
            return given
        return [*given, "--kv-transfer-config", json.dumps(self.kv_transfer_config(self.node))]

    def kv_transfer_config(self, node: Node) -> dict[str, Any]:
        """What a user puts there, with the instance of a test's node."""
        name, module = ("CascadeConnector", "cascade_kv.vllm")
        if self.recording:
            name, module = ("RecordingConnector", "harness.recording")
        return {
            "kv_connector": name,
            "kv_connector_module_path": module,
            "kv_role": "kv_both",
            "kv_load_failure_policy": "recompute",
            # A busy machine saves late; here it shall save nevertheless.
            "kv_connector_extra_config": {
                "instance": node.instance,
                "put_timeout_ms": 10_000,
                **dict(self.extra_config),
            },
        }


class Nursery:
    """The process of `nursery.py`."""

    def __init__(self, environment: Mapping[str, str] = ENVIRONMENT) -> None:
        """Takes as long as importing vLLM does. OpenMP reads its variables here and not again in what is forked."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.nursery"],
            env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def fork(self, argv: Sequence[str], environment: dict[str, str], log: Path) -> int:
        """The pid of a new server."""
        assert self._process.stdin is not None and self._process.stdout is not None, "both are pipes"
        order = {"argv": list(argv), "environment": environment, "log": str(log)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the nursery died: {self._process.wait()}"
        return int(line)

    def close(self) -> None:
        """Ends it. Servers that it forked live on."""
        self._process.kill()
        self._process.wait()


class Server:
    """A running server. `stop` it, or use it in a `with`.

    A worker posts what it saves, and its scheduler, another process, finds it once the node has taken it: soon, but not at
    once. A server that records waits for that after each request, so that a test may count hits.
    """

    def __init__(self, setup: Setup, folder: Path, nursery: Nursery | None) -> None:
        """Starts it and returns at once. Without a nursery it is started as a user would, and spawns."""
        name = f"server-{next(_numbers)}"
        # A socket's path is short: pytest's folders are not.
        self._socket = Path(f"/tmp/cascade-{os.getpid()}-{name}.sock")
        self._log = folder / f"{name}.log"
        self._record = folder / f"{name}.keys"
        self._records_for = setup.node if setup.recording else None
        self._settled = 0
        environment = {RECORD: str(self._record), **dict(setup.environment)}
        argv = setup.argv(self._socket)
        print(f"{name} ({'forked' if nursery else 'spawned'}): {' '.join(argv)}")
        if nursery is not None:
            self._child = None
            self.pid = nursery.fork(argv, environment, self._log)
        else:
            command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *argv]
            with open(self._log, "ab") as log:
                self._child = subprocess.Popen(
                    command, env=os.environ | ENVIRONMENT | environment, start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
            self.pid = self._child.pid
        self._end = os.pidfd_open(self.pid)
        transport = httpx.HTTPTransport(uds=str(self._socket))
        self._http = httpx.Client(transport=transport, base_url="http://vllm", timeout=ANSWER_S)

    def ready(self, patience_s: float = ANSWER_S) -> Self:
        """Waits until it answers. `AssertionError` with its log if it ends instead."""
        until("the server answers", lambda: self._answers() or self.ended(), patience_s)
        assert not self.ended(), f"the server ended before it was ready:\n{self.log_tail()}"
        return self

    def ended(self) -> bool:
        """Whether its process is gone."""
        return bool(select.select([self._end], [], [], 0)[0])

    def complete(self, prompt: Sequence[int], tokens: int = 12, **more: Any) -> Answer:
        """Continues a prompt of token ids by so many tokens. `more` goes into the request, as `cache_salt`."""
        response = self._http.post("/v1/completions", json=request(prompt, tokens, **more))
        assert response.status_code == 200, f"{response.status_code} {response.text}\n{self.log_tail()}"
        (choice,) = response.json()["choices"]
        assert len(choice["token_ids"]) == tokens, f"{choice}\n{self.log_tail()}"
        self._settle()
        return Answer(tuple(choice["token_ids"]), tuple(choice["logprobs"]["token_logprobs"]))

    def complete_then_leave(self, prompt: Sequence[int], *, first_token: bool) -> None:
        """Asks for a long answer, and hangs up after its first token, or before."""
        asked = request(prompt, 500) | {"stream": True}
        with self._http.stream("POST", "/v1/completions", json=asked) as response:
            assert response.status_code == 200
            if first_token:
                next(response.iter_lines())

    def forget(self) -> None:
        """Makes the engine forget its own blocks; those in the cache stay."""
        until(
            "vLLM resets its prefix cache", lambda: self._http.post("/reset_prefix_cache").json()["success"]
        )

    def counter(self, name: str) -> float:
        """A counter of vLLM's /metrics, summed up over its labels. One that it does not have is 0."""
        lines = self._http.get("/metrics").text.splitlines()
        values = [line.rsplit(" ", 1) for line in lines if line.startswith((f"{name}{{", f"{name} "))]
        return sum(float(value) for _, value in values)

    def loaded_tokens(self) -> int:
        """Tokens of prompts that came from the cache, by vLLM's own count."""
        return int(self.counter("vllm:external_prefix_cache_hits_total"))

    def own_hit_tokens(self) -> int:
        """Tokens of prompts that the engine still had itself."""
        return int(self.counter("vllm:prefix_cache_hits_total"))

    def cascade(self, figure: str) -> float:
        """One of the connector's figures, as `missed_corrupt`."""
        return self.counter(f"vllm:cascade_{figure}_total")

    def running(self) -> int:
        """Requests that are being computed or wait."""
        gauges = ("vllm:num_requests_running", "vllm:num_requests_waiting")
        return int(sum(self.counter(gauge) for gauge in gauges))

    def saved_keys(self) -> list[bytes]:
        """The keys that were saved so far, oldest first. Only with `Setup.recording`."""
        return (
            [bytes.fromhex(line) for line in self._record.read_text().split()]
            if self._record.exists()
            else []
        )

    def log(self) -> str:
        """All that it said."""
        return self._log.read_text(errors="replace")

    def log_tail(self, lines: int = 40) -> str:
        """The end of what it said."""
        return "\n".join(self.log().splitlines()[-lines:])

    def stop(self) -> None:
        """Ends it as an operator does, by SIGTERM, then whatever of it is left. Once is enough, and twice no mistake."""
        if self._http.is_closed:
            return
        self._http.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        select.select([self._end], [], [], 20.0)
        with suppress(ProcessLookupError):
            # Its workers are in groups of their own sometimes; they end when it is gone.
            os.killpg(self.pid, signal.SIGKILL)
        select.select([self._end], [], [], 20.0)
        if self._child is not None:
            self._child.wait()
        os.close(self._end)
        self._socket.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self.ready()

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def _settle(self) -> None:
        keys = self.saved_keys()[self._settled :]
        if self._records_for is not None and keys:
            self._settled += len(keys)
            with self._records_for.connect() as client, suppress(AssertionError):
                # A block whose damaged piece was still there when it was to be saved never comes: the next request saves it.
                until("what was saved is in the cache", lambda: all(map(client.contains, keys)), SETTLE_S)

    def _answers(self) -> bool:
        try:
            return self._http.get("/health").status_code == 200
        except httpx.TransportError:
            return False


def request(prompt: Sequence[int], tokens: int, **more: Any) -> dict[str, Any]:
    """The body of a request whose answer is the same each time."""
    return {
        "model": "tiny",
        "prompt": list(prompt),
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "logprobs": 1,
        "return_token_ids": True,
        **more,
    }
