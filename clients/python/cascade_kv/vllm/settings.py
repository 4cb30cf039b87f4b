"""What a user may set in `kv_connector_extra_config`. Unknown keys are errors with a suggestion."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from cascade_kv.vllm.support import Unsupported


@dataclass(frozen=True)
class Settings:
    """The settings, with their defaults. Each is documented in docs/vllm.md."""

    instance: str | None = None
    """The node's instance on this machine; None: the default one."""
    socket: str | None = None
    """The node's socket itself; before `instance` and CASCADE_SOCKET."""
    tenant_salt: str = ""
    """Engines of different salts share nothing. Set by who runs the engine, never by a request."""
    weights_fingerprint: str = ""
    """Stands for the weights instead of a hash of their files, which then are not read. Say something that
    changes when they do."""
    load_threads: int = 2
    """Threads of each worker that load blocks."""
    put_timeout_ms: int = 20
    """How long a worker waits for room for a stretch of blocks. Then the rest of the step is not saved."""
    prefill_tokens_per_s: int = 20_000
    """How fast the engine computes prompts, as assumed until its steps have told: nobody waits for lower tiers
    for longer than computing would take."""
    staging_mib: int = 256
    """Pinned host memory of each worker whose KV cache is on a device. Not used on CPU."""

    @classmethod
    def of(cls, extra: Mapping[str, Any]) -> Settings:
        """Checked settings. Raises `Unsupported` for a key that does not exist or a value of another type."""
        known = {field.name: field for field in fields(cls)}
        for key, value in extra.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
                raise Unsupported(f"kv_connector_extra_config: no setting {key!r}{hint}")
            default = known[key].default
            wanted = int if isinstance(default, int) else str
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise Unsupported(
                    f"kv_connector_extra_config: {key} must be {wanted.__name__}, not {value!r}"
                )
            if wanted is int and value < 1:
                raise Unsupported(f"kv_connector_extra_config: {key} must be at least 1, not {value}")
        return cls(**extra)
