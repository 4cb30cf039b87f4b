"""`python -m engines`: Cascade in a real vLLM, beside vLLM alone and beside its peers, in one run.

Two stages, as memory allows no more engines at a time: the time to the first token, the cost of saving and
traffic without reuse; then the chats. Standard output holds the report and nothing else. Needs
`tests/python/engines` (servers, models) and `tests/python/tier` (vLLM's tiering on a CPU) on PYTHONPATH,
beside the folder that this package lies in; `cargo xtask bench engines` sees to all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection
from contextlib import redirect_stdout
from pathlib import Path

from harness.servers import Nursery

from engines.calm import others_cpu_ratio
from engines.effort import FULL, QUICK, Effort
from engines.engine import Model, nursery
from engines.figures import Figures
from engines.measure import chat, client_calls, cold, hits, new_process, no_reuse
from engines.origin import origin
from engines.prompts import Prompts
from engines.stage import serving
from engines.systems import Memory, System
from engines.systems.cascade import Cascade
from engines.systems.lmcache_mp import LMCacheServer
from engines.systems.native import Native
from engines.systems.tiering import CascadeTier, FileSystemTier
from engines.table import table

KV_BYTES_PER_TOKEN = 2 * 24 * 2 * 64 * 2
"""Keys and values of 24 layers, 2 heads of 64, 2 bytes each: the shape of `harness.models.make_qwen`."""

PARTS = ("calls", "ttft", "no-reuse", "chats")
"""What `--only` can name: calls of the Python client; times to the first token, and what saving costs; traffic
without reuse; the chats."""

MAKE_MODEL = """
import sys
from pathlib import Path
from harness.models import make_qwen
make_qwen(Path(sys.argv[1]))
"""

CONFIGURES_OTHERS = ("CASCADE_SOCKET", "VLLM_", "LMCACHE_", "PYTHONHASHSEED", "OMP_")
"""Variables that the user has set for nodes and engines of his own: ours get none of them."""


def main() -> None:
    """Reads the command line, measures, reports."""
    parser = argparse.ArgumentParser(prog="engines", description="Measure Cascade in vLLM beside its peers.")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--quick", action="store_true", help="see that it works; no figures")
    parser.add_argument(
        "--only", action="append", choices=PARTS, help="measure this part alone; may be given several times"
    )
    parser.add_argument("--folder", type=Path, help="keep the model and the logs here [default: nowhere]")
    parser.add_argument("--rust", type=Path, help="the example get_latency of the Rust client")
    arguments = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(CONFIGURES_OTHERS)]:
        del os.environ[name]
    # As an error, so that what was started is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    effort = QUICK if arguments.quick else FULL
    # What the servers say on their way up belongs to the log, not to the report.
    with redirect_stdout(sys.stderr), tempfile.TemporaryDirectory(prefix="cascade-bench-") as scratch:
        came_from = origin()
        parts = arguments.only or PARTS
        figures = measure(effort, parts, arguments.folder or Path(scratch), arguments.rust)
    report = {**came_from, "quick": arguments.quick, "parts": sorted(parts), **figures.as_dict()}
    print(json.dumps(report, sort_keys=True) if arguments.json else table(figures, came_from))


def measure(effort: Effort, parts: Collection[str], folder: Path, rust: Path | None) -> Figures:
    """These parts, in the order of the module."""
    figures = Figures()
    weights = folder / "qwen"
    if not (weights / "config.json").exists():
        # In a process of its own: torch and the weights would stay in ours.
        subprocess.run([sys.executable, "-c", MAKE_MODEL, weights], check=True)
    figures.enter("others_cpu_ratio_before", others_cpu_ratio())
    if "calls" in parts:
        client_calls.measure(rust, figures)
    parent = nursery()
    try:
        if not {"ttft", "no-reuse"}.isdisjoint(parts):
            single_prompts(effort, parts, weights, folder, parent, figures)
        if "chats" in parts:
            conversations(effort, weights, folder, parent, figures)
    finally:
        parent.close()
    figures.enter("others_cpu_ratio_after", others_cpu_ratio())
    return figures


def single_prompts(
    effort: Effort, parts: Collection[str], weights: Path, folder: Path, parent: Nursery, figures: Figures
) -> None:
    """The first stage. Traffic without reuse needs none of the peers."""
    model = Model(weights, KV_BYTES_PER_TOKEN, 2 * effort.prompt_tokens)
    prompt_bytes = effort.prompt_tokens * KV_BYTES_PER_TOKEN
    # One prompt and a twelfth: never both of the two that are asked in turn.
    primary = Memory(effort.engine_bytes, prompt_bytes * 13 // 12)
    alone = Memory(effort.engine_bytes, 0)
    cached = Memory(effort.engine_bytes, effort.cache_bytes)
    systems: list[System] = [
        Native(alone, _inside(folder, "native")),
        Cascade(cached, _inside(folder, "cascade")),
    ]
    if "ttft" in parts:
        systems += [
            LMCacheServer(cached, _inside(folder, "lmcache")),
            FileSystemTier(primary, _inside(folder, "fs-tier")),
            CascadeTier(primary, _inside(folder, "cascade-tier"), effort.cache_bytes),
        ]
    fresh = Prompts("fresh")
    repeated = [fresh.next(effort.prompt_tokens) for _ in range(2)]

    def absent(name: str, why: str) -> None:
        figures.leave_out(hits.figure_of(name), why)

    with serving(systems, model, parent, absent) as engines:
        if "ttft" in parts:
            cold.measure(engines, repeated, fresh, effort.cold_rounds, figures)
            hits.measure(engines, repeated, fresh, effort.hit_rounds, figures)
            for name in set(engines) - {"native", "cascade"}:
                engines.pop(name).stop()
            new_process.measure(engines, repeated[0], effort.fresh_engines, figures)
        if "no-reuse" in parts:
            no_reuse.measure(engines, fresh, effort, figures)


def conversations(effort: Effort, weights: Path, folder: Path, parent: Nursery, figures: Figures) -> None:
    """The second stage."""
    longest = effort.chat.system_tokens + effort.chat.turns * effort.chat.turn_tokens[1] + chat.ANSWER_TOKENS
    model = Model(weights, KV_BYTES_PER_TOKEN, longest)
    alone, shared = chat.memory(effort.chat, model)
    systems: list[System] = [
        Native(alone, _inside(folder, "chat-native")),
        Cascade(shared, _inside(folder, "chat-cascade")),
        LMCacheServer(shared, _inside(folder, "chat-lmcache")),
    ]

    def absent(name: str, why: str) -> None:
        figures.leave_out(f"chat_{name}_tokens_per_s", why)

    with serving(systems, model, parent, absent) as engines:
        chat.measure(engines, effort.chat, model, figures)


def _inside(folder: Path, name: str) -> Path:
    inner = folder / name
    inner.mkdir(parents=True, exist_ok=True)
    return inner


if __name__ == "__main__":
    main()
