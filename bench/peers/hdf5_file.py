"""HDF5 by h5py: a dataset for each block, or all blocks as the chunks of one dataset. No filter.

Each way by the call that moves the bytes fewest times: chunks are written and read past the chunk cache.
"""

from __future__ import annotations

from pathlib import Path

import h5py
from peer import Peer, Setup


class Hdf5File(Peer):
    """One file."""

    def __init__(self, setup: Setup) -> None:
        self._sources, self._targets = setup.blocks_of_stage()
        self._shape = (setup.blocks, setup.block_bytes)
        self._chunks = setup.variant == "chunks"
        self._path = Path(setup.store) / "blocks.h5"
        self._where = "on the disk" if setup.cold else "in memory"
        self._file = h5py.File(self._path, "w", libver="latest")
        self._make()

    def identity(self) -> dict[str, str]:
        kept = "as the chunks of one dataset" if self._chunks else "as a dataset each"
        return {
            "version": f"{h5py.version.hdf5_version} (h5py {h5py.__version__})",
            "path": h5py.__file__,
            "setup": f"a file {self._where}, blocks {kept}, no filter; flushed after the last put",
        }

    def put(self, number: int) -> bool:
        if self._chunks:
            self._dataset.id.write_direct_chunk((number, 0), self._sources[number])
        else:
            self._group.create_dataset(str(number), data=self._sources[number])
        return True

    def settle(self) -> None:
        self._file.flush()

    def get(self, number: int) -> bool:
        if self._chunks:
            filters, _ = self._dataset.id.read_direct_chunk((number, 0), out=self._targets[number])
            return filters == 0
        dataset = self._group.get(str(number))
        if dataset is None:
            return False
        dataset.read_direct(self._targets[number])
        return True

    def clear(self) -> None:
        # Within one file, which uses the space again: a new file would get its pages anew.
        del self._file["blocks"]
        self._make()

    def rest(self) -> None:
        self._file.close()

    def wake(self) -> None:
        self._file = h5py.File(self._path, "r+", libver="latest")
        self._open()

    def close(self) -> None:
        self._file.close()

    def _make(self) -> None:
        if self._chunks:
            chunk = (1, self._shape[1])
            self._file.create_dataset("blocks", self._shape, "u1", chunks=chunk)
        else:
            self._file.create_group("blocks")
        self._open()

    def _open(self) -> None:
        self._dataset = self._group = self._file["blocks"]
