"""The extension module: the Rust client, for Python. Import these names from `cascade_kv`."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeAlias, TypeVar, final

from cascade_kv.errors import CascadeError as CascadeError
from cascade_kv.errors import DeadlinePassed as DeadlinePassed
from cascade_kv.errors import Forked as Forked
from cascade_kv.errors import NodeLost as NodeLost
from cascade_kv.errors import RefusedByNode as RefusedByNode

# Anything with the buffer protocol (bytes, bytearray, memoryview, mmap, a NumPy array, a ctypes array) or
# with `__dlpack__` on the CPU (a torch or JAX tensor), C-contiguous, of any type of item: lengths are in
# bytes. Targets must be writable, and no two of one call overlap. What is wrong with one raises `TypeError`
# (it lends no memory) or `BufferError` (it is read-only, has gaps, or lies on a device), with what to pass
# instead.
Buffer: TypeAlias = Any

# One rank's, one KV group's share of every block, for a match: (rank, group), or (rank, group, window_blocks)
# of which only the last blocks are required: sliding-window attention, or with 1 a recurrent layer's last
# state.
Share: TypeAlias = tuple[int, int] | tuple[int, int, int]

__version__: str

def nbytes(data: Buffer) -> int:
    """Bytes of any buffer that the calls of a client take."""

Reason: TypeAlias = Literal[
    "absent", "corrupt", "pin_budget", "expired", "declined", "fenced", "too_short", "too_long"
]

@final
class Miss:
    """Why a piece was not there. A miss is a value, and false."""

    def __init__(self, reason: Reason, needed_bytes: int | None = None) -> None: ...
    @property
    def reason(self) -> Reason:
        """One of: "absent": nowhere, or for what only reads memory not resident, or just being changed.
        "corrupt": the checksum did not match, the node was told. "pin_budget": too much is pinned or held;
        gets still work. "expired": it did not come from a lower tier in time. "declined": it would have come
        too late, so it was not tried. "fenced": the lower tier that has it is given up for now. "too_short",
        "too_long": the target was, for a call that takes exactly one length (`get_blocks`) or at most
        one."""
    @property
    def needed_bytes(self) -> int | None:
        """For "too_short" and "too_long": the length of the piece."""
    def __bool__(self) -> Literal[False]: ...

@final
class Stored:
    """What became of a put. True when a get of this client finds the piece from now on."""

    @property
    def outcome(self) -> Literal["posted", "fresh", "already_present", "refused"]:
        """One of: "posted": copied and on its way; this client reads it from now on, others soon. "fresh":
        published for all clients. "already_present": it was there, the first one stays. "refused": not
        stored."""
    @property
    def refusal(self) -> Literal["no_room", "too_large", "expired", "not_yours"] | None:
        """Why it was refused. "no_room": everything is pinned or the segment still grows. "too_large": longer
        than the largest slot. "expired": no slot came free before the deadline. "not_yours": the slot was
        taken back."""
    def __bool__(self) -> bool: ...

@final
class Namespace:
    """Every field that changes the bytes of a KV block. Engines share blocks exactly when all fields agree.

    `weights_fingerprint` is empty or a digest of 32 bytes.
    """

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
        """32 bytes: where the chains of this namespace start, and the parent of their first blocks, under
        which `Client.describe` puts the description."""
    @property
    def description(self) -> str:
        """What this namespace says of itself, a JSON object."""
    def chain(self, tokens: Sequence[int]) -> list[bytes]:
        """The keys of a token sequence, one a whole block of `block_tokens`; tokens past the last one have
        none."""
    def wrap(self, engine_hashes: Sequence[bytes]) -> list[bytes]:
        """The keys for an engine's own strong, chained block hashes."""

@final
class PagedCache:
    """An engine's paged KV memory: for each layer a buffer whose first axis counts blocks. The rest of it, a
    block's page of this layer, is contiguous: [blocks, page_bytes], [blocks, tokens, heads, size], of any
    type of item. Pages may lie apart (a stride larger than the page); layers may differ in the bytes of a
    page, not in the number of blocks. Pages of two layers never overlap. Memory that is [2, blocks, ...] is
    two layers: `cache[0], cache[1]`.

    A block is its page of every layer, in the order given. The buffers are kept alive; they are read and
    written with the GIL released, by block number, so the engine must not move them.
    """

    def __init__(self, layers: Sequence[Buffer]) -> None: ...
    @property
    def blocks(self) -> int:
        """Blocks of the cache; a block id is below it, or `IndexError`."""
    @property
    def block_bytes(self) -> int:
        """Bytes of one block over all layers: the length of its piece."""

@final
class View:
    """The bytes of a piece where they lie, pinned as long as this or any buffer made of it lives. Read-only.

    Not verified until `verify` is asked. `memoryview(view)`, `numpy.frombuffer(view, ...)`. A forked child
    must not touch a buffer that its parent made: the memory is not mapped there.
    """

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def verify(self) -> bool:
        """Reads all bytes and compares their checksum; the node is told if it does not match."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives the pin back now; `BufferError` if a memoryview of it is alive."""

@final
class Hold:
    """A claim on the leading blocks of a chain: none of them is evicted while this lives, whoever reads
    them."""

    @property
    def blocks(self) -> int:
        """Blocks that were claimed, from the first of the chain."""
    def release(self) -> None:
        """Lets them go. Again does nothing."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...

@final
class Located:
    """How much of a chain can be used, and from where. False if nothing can."""

    @property
    def blocks(self) -> int:
        """Leading blocks that can be used, wherever they lie."""
    @property
    def memory_blocks(self) -> int:
        """Leading blocks that can be used from memory at once; the others have to be promoted."""
    @property
    def tiers(self) -> int:
        """The lower tiers that the others would come from, as bits in the order in which the node lists
        them."""
    def __bool__(self) -> bool: ...

@final
class Promotion:
    """The part of a chain that is in memory now. The node keeps it there until this is released or dropped,
    up to a little after the timeout; take a `hold` for what is to stay longer."""

    @property
    def blocks(self) -> int:
        """Leading blocks that can be used from memory now."""
    @property
    def reason(self) -> Literal["expired", "declined", "fenced"] | None:
        """Why not all came that could be used, as a `Miss` tells it; None if all did."""
    def hold(self) -> Hold | Miss:
        """Claims what is there. `ValueError` once it was released."""
    def release(self) -> None:
        """Lets the chain go. Again does nothing."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...

@final
class Fill:
    """A slot of shared memory to be written in place, then committed. Dropping it gives the slot back."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def write(self, data: Buffer, offset: int = 0) -> None:
        """Copies any buffer into the slot, from byte `offset` on."""
    def commit(
        self,
        key: bytes,
        *,
        rank: int = 0,
        group: int = 0,
        parent: bytes | None = None,
        depth: int = 0,
        wait: bool = False,
        timeout_s: float = 1.0,
    ) -> Stored:
        """Publishes what was written. `BufferError` while a memoryview of the fill is alive."""
    def commit_async(
        self,
        key: bytes,
        *,
        rank: int = 0,
        group: int = 0,
        parent: bytes | None = None,
        depth: int = 0,
        timeout_s: float = 1.0,
    ) -> Pending[Stored]: ...
    def abort(self) -> None:
        """Gives the slot back. Again, or after a commit, does nothing. `BufferError` while a memoryview is
        alive."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...

Answer = TypeVar("Answer", covariant=True)

@final
class Pending(Generic[Answer]):
    """An answer that is on its way. Dropping it cancels what was asked; a commit goes on without witness.
    (Generic for type checkers only: write `"Pending[Stored]"` in quotes.)"""

    def poll(self) -> Answer | None:
        """The answer, if it came. Does not wait for it. It is given once: after that `ValueError`."""
    def wait(self, timeout_s: float = 1.0) -> Answer:
        """Waits for the answer; after `DeadlinePassed` it can be waited for again."""

class Client:
    """A handle on the node of this machine; any thread may use it. See `connect`.

    A piece is named by its block's key (32 bytes), a rank and a KV group. `parent` and `depth` tell where the
    block stands in its chain (the first block of a chain: no parent, depth 0; in a namespace that was
    described, its root and 1); eviction and holds rest on them. Timeouts are in seconds. The GIL is released while bytes move and while a call waits, not for copies
    of less than 128 KiB, which are over sooner. After `fork` a child's handle answers `Forked`.
    """

    def put(
        self,
        key: bytes,
        data: Buffer,
        *,
        rank: int = 0,
        group: int = 0,
        parent: bytes | None = None,
        depth: int = 0,
        wait: bool = False,
        timeout_s: float = 1.0,
    ) -> Stored:
        """Stores a piece by copy; `data` may be changed when this returns. Waits only for a slot, with `wait`
        also for the node's verdict ("fresh" in place of "posted")."""
    def put_vectored(
        self,
        key: bytes,
        fragments: Sequence[Buffer],
        *,
        rank: int = 0,
        group: int = 0,
        parent: bytes | None = None,
        depth: int = 0,
        wait: bool = False,
        timeout_s: float = 1.0,
    ) -> Stored:
        """`put` of fragments, which become one piece in one pass: an engine's block is a fragment per
        layer."""
    def describe(self, namespace: Namespace, *, timeout_s: float = 1.0) -> Stored:
        """Puts what a namespace says of itself under its root, unless it is there: before the first put under
        it, whose chains then have the root as parent. By it people and `forget` find whose blocks are
        whose."""
    def put_batch(
        self,
        keys: Sequence[bytes],
        data: Sequence[Buffer],
        *,
        rank: int = 0,
        group: int = 0,
        parent: bytes | None = None,
        depth: int = 0,
        timeout_s: float = 1.0,
    ) -> list[Stored]:
        """Puts consecutive blocks of one chain; `parent` and `depth` are the first one's."""
    def put_blocks(
        self,
        cache: PagedCache,
        keys: Sequence[bytes],
        block_ids: Sequence[int],
        *,
        rank: int = 0,
        group: int = 0,
        parent: bytes | None = None,
        depth: int = 0,
        timeout_s: float = 1.0,
    ) -> list[Stored]:
        """As `put_batch`, from an engine's memory: `block_ids[i]` is stored under `keys[i]`."""
    def get_into(self, key: bytes, target: Buffer, *, rank: int = 0, group: int = 0) -> int | Miss:
        """The length in bytes; `target` holds exactly what was put, verified. After a miss `target` is
        unspecified."""
    def get_within(
        self, key: bytes, target: Buffer, *, rank: int = 0, group: int = 0, timeout_s: float = 1.0
    ) -> int | Miss:
        """`get_into` of a piece that may lie in a lower tier: what is not in memory is brought there first,
        within the timeout. Misses tell why it did not come."""
    def get_into_vectored(
        self, key: bytes, targets: Sequence[Buffer], *, rank: int = 0, group: int = 0
    ) -> int | Miss:
        """`get_into` over fragments, filled one after the other; they need not be cut as those of the put
        were."""
    def get_batch_into(
        self, keys: Sequence[bytes], targets: Sequence[Buffer], *, rank: int = 0, group: int = 0
    ) -> list[int | Miss]:
        """`get_into` for each of `keys`, into the target at its place."""
    def get_blocks(
        self,
        cache: PagedCache,
        keys: Sequence[bytes],
        block_ids: Sequence[int],
        *,
        rank: int = 0,
        group: int = 0,
    ) -> list[int | Miss]:
        """As `get_batch_into`, into an engine's memory. A piece of another length than `block_bytes` is a
        miss."""
    def get(self, key: bytes, *, rank: int = 0, group: int = 0) -> bytes | Miss:
        """The bytes of a piece, verified. `get_into` saves the allocation."""
    def pin(self, key: bytes, *, rank: int = 0, group: int = 0) -> View | Miss:
        """The bytes of a piece where they lie."""
    def contains(self, key: bytes, *, rank: int = 0, group: int = 0) -> bool:
        """Whether a piece can be read now. It may be gone by the time it is."""
    def match_chain(self, keys: Sequence[bytes], shares: Sequence[Share] = ((0, 0),)) -> int:
        """Leading blocks that can be used: every share is there as its rule requires. Claims nothing."""
    def hold(self, keys: Sequence[bytes], shares: Sequence[Share] = ((0, 0),)) -> Hold | Miss:
        """Claims the leading blocks that can be used and are published; `Miss("absent")` if there is none.
        Any process of the instance reads them with plain gets. Needs the lineage that the blocks were put
        with."""
    def locate(
        self, keys: Sequence[bytes], shares: Sequence[Share] = ((0, 0),), *, timeout_s: float = 1.0
    ) -> Located:
        """Leading blocks that can be used, wherever they lie, and how many of them from memory. Asks the node,
        which looks at its books and waits for no tier. Claims nothing."""
    def locate_async(
        self, keys: Sequence[bytes], shares: Sequence[Share] = ((0, 0),), *, timeout_s: float = 1.0
    ) -> Pending[Located]:
        """`locate`, to poll. Never waits."""
    def promote(
        self, keys: Sequence[bytes], shares: Sequence[Share] = ((0, 0),), *, timeout_s: float = 1.0
    ) -> Promotion:
        """Brings into memory what can be used of a chain and lies in lower tiers; answers when that is done,
        or at the timeout with what is there then. `DeadlinePassed` only if the node itself does not
        answer."""
    def promote_async(
        self, keys: Sequence[bytes], shares: Sequence[Share] = ((0, 0),), *, timeout_s: float = 1.0
    ) -> Pending[Promotion]:
        """`promote`, to poll. Never waits."""
    def touch(self, tail: bytes, blocks: int, *, rank: int = 0, group: int = 0) -> bool:
        """Says that the `blocks` blocks of the chain that ends in `tail` are in use; false if `tail` is not
        there."""
    def reserve(self, len_bytes: int, *, timeout_s: float = 1.0) -> Fill | Stored:
        """A slot to fill in place, or why there is none."""
    def reserve_async(self, len_bytes: int, *, timeout_s: float = 1.0) -> Pending[Stored | Fill]:
        """`reserve`, to poll: asks for a slot at the first `poll`, if none is at hand. The node gives up at
        the timeout."""
    def discard(self, key: bytes, *, rank: int = 0, group: int = 0) -> bool:
        """The piece is of no use to anybody: the node drops it, and its name can be put anew. Does not
        wait."""
    def flush(self, timeout_s: float = 1.0) -> None:
        """Waits until the node has taken all that was posted."""
    def stats(self) -> dict[str, int]:
        """What this client counted since it connected: hits, bytes_out, misses_absent, misses_corrupt,
        misses_pin_budget, misses_too_short, misses_expired, misses_declined, misses_fenced, promotions,
        promoted_blocks, puts, bytes_in, refused, waits, reattaches."""
    def status(self, timeout_s: float = 1.0) -> dict[str, Any]:
        """What the node says of itself, as `cascade-node status --json` prints it."""
    def event_fd(self) -> int:
        """Readable when an answer may be there, or the node has gone; owned by the client. Poll what is
        pending then, after `clear_event`, and every 50 ms besides: a node that is gone rings nobody.
        `cascade_kv.aio` does."""
    def clear_event(self) -> None:
        """Makes `event_fd` unreadable until the node rings again. Call it before polling, not after."""
    def close(self) -> None:
        """Lets the node go. Views, holds and fills live on; every other call answers `ValueError` from now
        on."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...

def connect(
    *, instance: str | None = None, sockets: Sequence[str] | None = None, timeout_s: float = 5.0
) -> Client:
    """Attaches to the node of this user and job (`CASCADE_SOCKET`, else the rule of the paths). Raises
    `NodeLost`."""

def socket_paths(instance: str | None = None) -> list[str]:
    """Where `connect` looks for the node."""
