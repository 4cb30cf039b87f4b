"""The extension module: the Rust client, for Python. Import these names from `cascade_kv`."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal, Protocol, Self, final

# Anything with the buffer protocol (bytes, bytearray, memoryview, mmap, a NumPy array, a ctypes array) or with
# `__dlpack__` on the CPU (a torch or JAX tensor), C-contiguous. Targets must be writable.
type Buffer = Any

__version__: str

class CascadeError(Exception):
    """What all errors of this module derive from."""

class NodeLost(CascadeError):
    """No node answered until the deadline. The message lists the socket paths that were tried."""

class DeadlinePassed(CascadeError, TimeoutError):
    """The node lives, but did not answer until the deadline."""

class Forked(CascadeError):
    """The handle was made in the parent process: connect anew in this one."""

class RefusedByNode(CascadeError):
    """The node will not serve this client (another layout version, another user, too many clients)."""

@final
class Miss:
    """Why a piece was not there. A miss is a value, and false."""

    reason: Literal["absent", "corrupt", "pin_budget", "too_short"]
    needed_bytes: int | None
    """For "too_short": the length of the piece."""
    def __bool__(self) -> Literal[False]: ...

@final
class Stored:
    """What became of a put. True when a get of this client finds the piece from now on."""

    outcome: Literal["posted", "fresh", "already_present", "refused"]
    refusal: Literal["no_room", "too_large", "expired", "not_yours"] | None
    def __bool__(self) -> bool: ...

@final
class Namespace:
    """Every field that changes the bytes of a KV block. Engines share blocks exactly when all fields agree."""

    def __init__(
        self,
        *,
        model: str,
        revision: str = "",
        weights_fingerprint: bytes = b"",
        dtype: str = "",
        layout: str = "",
        block_tokens: int = 0,
        tensor_parallel: int = 1,
        pipeline_parallel: int = 1,
        lora: str = "",
        tenant_salt: str = "",
    ) -> None: ...
    @property
    def root(self) -> bytes:
        """32 bytes: where the chains of this namespace start."""
    def chain(self, tokens: Sequence[int]) -> list[bytes]:
        """The keys of a token sequence, one a whole block of `block_tokens`."""
    def wrap(self, engine_hashes: Sequence[bytes]) -> list[bytes]:
        """The keys for an engine's own strong, chained block hashes."""

@final
class PagedCache:
    """An engine's paged KV memory: for each layer a buffer of shape [blocks, page_bytes], uint8, each page contiguous.

    A block is its page of every layer, in the order given. The buffers are kept alive; they are read and written with
    the GIL released, by block number, so the engine must not move them.
    """

    def __init__(self, layers: Sequence[Buffer]) -> None: ...
    @property
    def blocks(self) -> int: ...
    @property
    def block_bytes(self) -> int:
        """Bytes of one block over all layers: the length of its piece."""

@final
class View:
    """The bytes of a piece where they lie, pinned as long as this or any buffer made of it lives. Read-only.

    Not verified until `verify` is asked. `memoryview(view)`, `numpy.frombuffer(view, ...)`.
    """

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def verify(self) -> bool: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """Gives the pin back now; `BufferError` if a memoryview of it is alive."""

@final
class Hold:
    """A claim on the leading blocks of a chain: none of them is evicted while this lives, whoever reads them."""

    @property
    def blocks(self) -> int: ...
    def release(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None: ...

@final
class Fill:
    """A slot of shared memory to be written in place, then committed. Dropping it gives the slot back."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def commit(self, key: bytes, *, rank: int = 0, group: int = 0, parent: bytes | None = None, depth: int = 0,
               wait: bool = False, timeout_s: float = 1.0) -> Stored:
        """Publishes what was written. `BufferError` while a memoryview of the fill is alive."""
    def commit_async(self, key: bytes, *, rank: int = 0, group: int = 0, parent: bytes | None = None, depth: int = 0,
                     timeout_s: float = 1.0) -> Pending: ...
    def abort(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None: ...

@final
class Pending:
    """An answer that is on its way."""

    def poll(self) -> Stored | Fill | None:
        """The answer, if it came. Never waits."""
    def wait(self, timeout_s: float = 1.0) -> Stored | Fill: ...

class Client:
    """A handle on the node of this machine; any thread may use it. See `connect`.

    A piece is named by its block's key (32 bytes), a rank and a KV group. `parent` and `depth` tell where the block
    stands in its chain (the first block of a chain: no parent, depth 0); eviction and holds rest on them.
    The GIL is released while bytes move and while a call waits.
    """

    def put(self, key: bytes, data: Buffer, *, rank: int = 0, group: int = 0, parent: bytes | None = None,
            depth: int = 0, wait: bool = False, timeout_s: float = 1.0) -> Stored: ...
    def put_vectored(self, key: bytes, fragments: Sequence[Buffer], *, rank: int = 0, group: int = 0,
                     parent: bytes | None = None, depth: int = 0, wait: bool = False, timeout_s: float = 1.0) -> Stored: ...
    def put_batch(self, keys: Sequence[bytes], data: Sequence[Buffer], *, rank: int = 0, group: int = 0,
                  parent: bytes | None = None, depth: int = 0, timeout_s: float = 1.0) -> list[Stored]:
        """Puts consecutive blocks of one chain; `parent` and `depth` are the first one's."""
    def put_blocks(self, cache: PagedCache, keys: Sequence[bytes], block_ids: Sequence[int], *, rank: int = 0,
                   group: int = 0, parent: bytes | None = None, depth: int = 0, timeout_s: float = 1.0) -> list[Stored]:
        """As `put_batch`, from an engine's memory."""
    def get_into(self, key: bytes, target: Buffer, *, rank: int = 0, group: int = 0) -> int | Miss:
        """The length in bytes; `target` holds exactly what was put, verified. After a miss `target` is unspecified."""
    def get_into_vectored(self, key: bytes, targets: Sequence[Buffer], *, rank: int = 0, group: int = 0) -> int | Miss: ...
    def get_batch_into(self, keys: Sequence[bytes], targets: Sequence[Buffer], *, rank: int = 0,
                       group: int = 0) -> list[int | Miss]: ...
    def get_blocks(self, cache: PagedCache, keys: Sequence[bytes], block_ids: Sequence[int], *, rank: int = 0,
                   group: int = 0) -> list[int | Miss]:
        """As `get_batch_into`, into an engine's memory. A piece of another length than `block_bytes` is a miss."""
    def get(self, key: bytes, *, rank: int = 0, group: int = 0) -> bytes | Miss: ...
    def pin(self, key: bytes, *, rank: int = 0, group: int = 0) -> View | Miss: ...
    def contains(self, key: bytes, *, rank: int = 0, group: int = 0) -> bool: ...
    def match_chain(self, keys: Sequence[bytes], shares: Sequence[tuple[int, int]] = ((0, 0),)) -> int:
        """Leading blocks of which every share (rank, group) is there. Claims nothing."""
    def hold(self, keys: Sequence[bytes], shares: Sequence[tuple[int, int]] = ((0, 0),)) -> Hold | Miss: ...
    def touch(self, tail: bytes, blocks: int, *, rank: int = 0, group: int = 0) -> bool: ...
    def reserve(self, len_bytes: int, *, timeout_s: float = 1.0) -> Fill | Stored: ...
    def reserve_async(self, len_bytes: int, *, timeout_s: float = 1.0) -> Pending: ...
    def discard(self, key: bytes, *, rank: int = 0, group: int = 0) -> bool:
        """The piece is of no use to anybody: the node drops it, and its name can be put anew. Does not wait."""
    def flush(self, timeout_s: float = 1.0) -> None:
        """Waits until the node has taken all that was posted."""
    def stats(self) -> dict[str, int]: ...
    def status(self, timeout_s: float = 1.0) -> dict[str, Any]: ...
    def event_fd(self) -> int:
        """Readable when an answer may be there; owned by the client."""
    def clear_event(self) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None: ...

def connect(*, instance: str | None = None, sockets: Sequence[str] | None = None, timeout_s: float = 5.0) -> Client:
    """Attaches to the node of this user and job (`CASCADE_SOCKET`, else the rule of the paths). Raises `NodeLost`."""

def socket_paths(instance: str | None = None) -> list[str]:
    """Where `connect` looks for the node."""
