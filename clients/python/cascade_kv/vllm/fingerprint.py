"""What a model's files say, in 32 bytes: altering one tensor, at the same path and size, gives another
fingerprint.

Every byte of the configuration and weight files is hashed, by chunks on several threads. Since that takes a
while for tens of gigabytes, the digest of a file is remembered in the user's cache directory, under what
changes whenever the file does: device, inode, size, modification and change time. (A change time cannot be
set back by tools that restore the modification time.) A file that changed a moment ago is hashed but not
remembered: it may change again within one tick of the clock.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cascade_kv.vllm.support import Unsupported

log = logging.getLogger("vllm.cascade")

CHUNK_BYTES = 64 << 20
SETTLED_NS = 2_000_000_000
"""How old a change must be for the digest to be remembered."""

WEIGHT_SUFFIXES = ((".safetensors",), (".bin", ".pt", ".pth", ".gguf", ".npz"))
"""By preference, as engines load them: the second kind counts only where there is none of the first."""
CONFIG_SUFFIXES = (".json", ".py", ".yaml")
WITHOUT_EFFECT = (
    "tokenizer",
    "generation_config",
    "special_tokens_map",
    "added_tokens",
    "vocab",
    "chat_template",
)
"""Files that change which tokens are asked or answered, but not the KV of a token."""


def model_files(folder: Path) -> list[Path]:
    """The files of a model that decide its KV, in a fixed order. Raises `Unsupported` if there are no
    weights."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    weights: list[Path] = []
    for suffixes in WEIGHT_SUFFIXES:
        weights = [path for path in files if path.suffix in suffixes]
        if weights:
            break
    else:
        raise Unsupported(
            f"no weight files in {folder}, so the cache cannot tell when they change: set "
            '"weights_fingerprint" in kv_connector_extra_config'
        )
    configs = [
        path
        for path in files
        if path.parent == folder
        and path.suffix in CONFIG_SUFFIXES
        and not path.name.startswith(WITHOUT_EFFECT)
    ]
    return configs + weights


def fingerprint(
    model: str | os.PathLike[str], *, remembered: Path | None = None, threads: int | None = None
) -> bytes:
    """32 bytes that stand for the files of a model: a folder, or a single weight file.

    `remembered` is the folder that keeps digests of files; None: the user's cache directory. One that cannot
    be written costs time, no more. Raises `Unsupported` if there are no weights, `OSError` if a file cannot
    be read.
    """
    root = Path(model)
    files = [root] if root.is_file() else model_files(root)
    digests = Digests(remembered if remembered is not None else cache_folder())
    began = time.monotonic()
    with ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1), "cascade-fingerprint") as pool:
        total = hashlib.sha256(b"cascade model files 1\0")
        for path in files:
            name = path.name if path == root else path.relative_to(root).as_posix()
            total.update(len(name.encode()).to_bytes(8, "little") + name.encode() + digests.of(path, pool))
    if digests.hashed_bytes:
        log.info(
            "cascade: hashed %.2f GB of %s in %.1f s; remembered in %s",
            digests.hashed_bytes / 1e9,
            model,
            time.monotonic() - began,
            digests.folder,
        )
    return total.digest()


def combine(parts: Iterable[bytes]) -> bytes:
    """One fingerprint for several."""
    return hashlib.sha256(b"".join(parts)).digest()


class Digests:
    """Digests of files, remembered one small file each, so that engines that start at once need no lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hashed_bytes = 0
        """What had to be read."""

    def of(self, path: Path, pool: ThreadPoolExecutor) -> bytes:
        """The digest of a file's content."""
        found = os.stat(path)
        identity = [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
        name = hashlib.sha256(json.dumps([str(path.resolve()), *identity]).encode()).hexdigest()
        entry = self.folder / name
        try:
            digest = bytes.fromhex(entry.read_text("ascii"))
            if len(digest) == 32:
                return digest
        except (OSError, ValueError):
            pass
        started_ns = time.time_ns()
        digest = digest_of_chunks(path, found.st_size, pool)
        self.hashed_bytes += found.st_size
        if started_ns - max(found.st_mtime_ns, found.st_ctime_ns) > SETTLED_NS:
            self._remember(entry, digest)
        return digest

    def _remember(self, entry: Path, digest: bytes) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False) as file:
                file.write(digest.hex())
            os.replace(file.name, entry)
        except OSError as error:
            log.info("cascade: the digest of a weight file is not remembered: %s", error)


def digest_of_chunks(path: Path, size_bytes: int, pool: ThreadPoolExecutor) -> bytes:
    """SHA-256 over the length and the SHA-256 of every chunk: one large file is hashed by all threads."""

    def chunk(offset: int) -> bytes:
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            left = min(CHUNK_BYTES, size_bytes - offset)
            digest = hashlib.sha256()
            while left and (data := file.read(min(left, 1 << 20))):
                digest.update(data)
                left -= len(data)
        if left:
            raise OSError(f"{path} became shorter while it was hashed")
        return digest.digest()

    total = hashlib.sha256(size_bytes.to_bytes(8, "little"))
    for digest in pool.map(chunk, range(0, size_bytes, CHUNK_BYTES)):
        total.update(digest)
    return total.digest()


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/cascade/weights`, else under `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "cascade" / "weights"
