"""Single calls of the Python client, as `bench/python/latency.py` measures them against a node of our own.

Its figures are taken over as they are (`python_get_into_4kib_p50_ns`, `python_match_64_p50_ns`, ...).
`python_get_into_2mib_ratio`   its speed of Python over Rust for gets of 2 MiB, in turns, if it is given the
                               Rust program.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from node_process import Node

from engines.figures import Figures

LATENCY = Path(__file__).parents[2] / "python" / "latency.py"
ITS_RATIO = "python_to_rust_get_into_2mib_speed_ratio"
RATIO = "python_get_into_2mib_ratio"
LIMIT_S = 120.0


def measure(rust: Path | None, figures: Figures) -> None:
    """`rust` is the example get_latency of the Rust client, built for release."""
    command = [sys.executable, LATENCY, "--json", *(["--rust", rust] if rust else [])]
    with Node("latency") as node:
        environment = {**os.environ, "CASCADE_SOCKET": node.socket}
        said = subprocess.check_output(command, env=environment, timeout=LIMIT_S)
    for name, value in json.loads(said).items():
        if name.startswith(("python_", "rust_")):
            figures.values[name.replace(ITS_RATIO, RATIO)] = value
    if rust is None:
        figures.leave_out(RATIO, "no program of the Rust client was given (--rust)")
