"""A process that has imported vLLM once and forks servers from then on: a start takes seconds, not a minute.

Run as `python -m harness.nursery`. Each line of standard input is an order in JSON (`argv`, `environment`, `log`), each line
of standard output the pid of the server that was forked for it. A server leads a process group of its own and runs vLLM's
own `main`; it forks its engine and its workers too, where vLLM on a CPU would insist on spawning them. `Server` in
`servers.py` also knows the plain way, `python -m vllm.entrypoints.openai.api_server`, in which all of them are spawned.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from typing import Any


def main() -> None:
    """Serves orders until standard input ends."""
    # What a server needs of vLLM. No tensor is computed here: OpenMP's threads do not survive a fork.
    for module in ("vllm.v1.engine.async_llm", "vllm.v1.worker.cpu_model_runner"):
        importlib.import_module(module)
    from vllm.entrypoints.launchers.api_server import entry

    # Nobody waits for the servers here; the tests watch them by pidfd.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become_server(order)
            entry.main()
            os._exit(0)
        print(pid, file=answers, flush=True)


def become_server(order: dict[str, Any]) -> None:
    """Turns this process into what a freshly started one would be."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, target)
    os.environ.update(order["environment"])
    sys.argv = ["api_server", *order["argv"]]
    fork_instead_of_spawn()


def fork_instead_of_spawn() -> None:
    """Sets the start method back that vLLM's CPU platform overrules, whatever it was asked for."""
    from vllm.platforms.cpu import CpuPlatform

    overrule = CpuPlatform.check_and_update_config.__func__

    def check_and_update_config(cls: type[CpuPlatform], config: Any) -> None:
        overrule(cls, config)
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"

    CpuPlatform.check_and_update_config = classmethod(check_and_update_config)


if __name__ == "__main__":
    main()
