"""An engine of a few lines around the connector's two parts, to drive them through any order of events, by a
seed.

It schedules, preempts, drafts tokens that are then rejected, recycles blocks and slides windows as vLLM does,
and asks the parts in vLLM's order. Its "KV" of a token is a digest of all tokens up to it, so that every byte
in the cache and in the engine can be told right from wrong. Everything below it is real: the parts, the
client, the node.
"""

from __future__ import annotations

import hashlib
import random
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch

from cascade_kv import Client
from cascade_kv.vllm.groups import Group, Groups
from cascade_kv.vllm.link import Link
from cascade_kv.vllm.messages import NULL_BLOCK
from cascade_kv.vllm.namespace import Identity, Namespaces
from cascade_kv.vllm.patience import Patience
from cascade_kv.vllm.scheduler import SchedulerPart
from cascade_kv.vllm.settings import Settings
from cascade_kv.vllm.worker import WorkerPart

BLOCK_TOKENS = 4
WINDOW_BLOCKS = 2
KV_BYTES = 8
LAYERS = (("full.0", "full.1"), ("window.0",))
GROUPS = Groups(
    BLOCK_TOKENS,
    "LBHNC",
    (
        Group(0, "full_attention", LAYERS[0], "full"),
        Group(1, "sliding_window", LAYERS[1], "window", WINDOW_BLOCKS),
    ),
)
IDENTITY = Identity(
    model="small",
    revision="",
    weights_fingerprint=bytes(32),
    dtype="uint8",
    kv_cache_dtype="auto",
    quantization="None",
    layout=GROUPS.layout,
    groups=("full", "window"),
    block_tokens=BLOCK_TOKENS,
    tensor_parallel=1,
    pipeline_parallel=1,
    pipeline_partition="",
    hash_algorithm="sha256",
    hash_seed="seed",
    device="cpu",
    load_format="auto",
    max_length=0,
    drafter="",
    tenant_salt="",
)


@dataclass
class SmallRequest:
    """What the parts read of vLLM's request."""

    request_id: str
    tokens: list[int]
    block_hashes: list[bytes] = field(default_factory=list)
    num_computed_tokens: int = 0
    lora_request: None = None
    skip_reading_prefix_cache: bool = False
    over: bool = False
    loads: int = 0
    failed_loads: int = 0
    blocks: tuple[list[int], ...] = field(default_factory=lambda: ([], []))

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)

    def is_finished(self) -> bool:
        return self.over

    def add(self, tokens: list[int]) -> None:
        """Confirms tokens, and names the blocks that they fill."""
        self.tokens.extend(tokens)
        for end in range((len(self.block_hashes) + 1) * BLOCK_TOKENS, len(self.tokens) + 1, BLOCK_TOKENS):
            self.block_hashes.append(digest(self.tokens[:end]))


def digest(tokens: list[int]) -> bytes:
    """Names a prefix."""
    return hashlib.sha256(repr(tokens).encode()).digest()


def kv(layer: str, prefix: list[int]) -> bytes:
    """The KV of the last token of a prefix."""
    return hashlib.sha256(layer.encode() + digest(prefix)).digest()[:KV_BYTES]


class SmallEngine:
    """See the module. `step` until `idle`."""

    def __init__(self, socket: str, seed: int, blocks: int = 48, prefill_tokens_per_s: float = 1000) -> None:
        self.random = random.Random(seed)
        self.namespaces = Namespaces(IDENTITY)
        link, other = Link("a scheduler", socket=socket), Link("a worker", socket=socket)
        link.open()
        self.scheduler = SchedulerPart(
            GROUPS,
            1,
            self.namespaces,
            link,
            Patience(prefill_tokens_per_s),
            loads=True,
            saves=True,
            tells_overwritten=True,
        )
        self.worker = WorkerPart(GROUPS, 0, Settings(put_timeout_ms=1000), other)
        self.memory = {
            layer: torch.zeros(blocks, 1, BLOCK_TOKENS, KV_BYTES, dtype=torch.uint8)
            for layers in LAYERS
            for layer in layers
        }
        self.worker.register(self.memory, blocks)
        self.free = list(range(1, blocks))
        self.waiting: list[SmallRequest] = []
        self.loading: dict[str, SmallRequest] = {}
        self.running: list[SmallRequest] = []
        self.wanted: dict[str, int] = {}
        self.vanished = 0

    @property
    def idle(self) -> bool:
        return not (self.waiting or self.loading or self.running)

    def ask(self, request: SmallRequest, output_tokens: int) -> None:
        """Adds a request."""
        self.wanted[request.request_id] = request.num_tokens + output_tokens
        self.scheduler.arrived(request)
        self.waiting.append(request)

    def step(self, before_loads: Client | None = None) -> None:
        """One step. With a client, pieces may vanish between the match and the load."""
        self.random.shuffle(self.free)
        scheduled: dict[str, int] = {}
        started: list[SmallRequest] = []
        if self.running and self.random.random() < 0.1:
            self._preempt(self.running.pop())
        for request in list(self.waiting):
            if len(self.running) + len(self.loading) < 3:
                admitted = self._admit(request)
                if admitted is not None:
                    self.waiting.remove(request)
                if admitted:
                    started.append(request)
        for request in self.running:
            count = request.num_tokens - request.num_computed_tokens
            chunk = min(count, self.random.randint(1, 12))
            drafts = self.random.randint(0, 5) if chunk == count else 0
            self._give_blocks(request, request.num_computed_tokens + chunk + drafts)
            scheduled[request.request_id] = chunk + drafts
        output = SimpleNamespace(
            num_scheduled_tokens=scheduled,
            total_num_scheduled_tokens=sum(scheduled.values()),
            kv_connector_block_state=SimpleNamespace(get_block_ids=self._blocks_of),
            scheduled_new_reqs=[SimpleNamespace(block_ids=request.blocks) for request in started],
            scheduled_cached_reqs=SimpleNamespace(new_block_ids=[r.blocks for r in self.running] + [None]),
        )
        plan = self.scheduler.plan(output)
        if before_loads is not None and plan.loads and (not self.vanished or self.random.random() < 0.5):
            keys = plan.loads[0].blocks.keys
            assert before_loads.discard(self.random.choice(keys), rank=0, group=0)
            self.vanished += 1
        self.worker.fence(plan)
        for request in self.running:
            self._compute(request, scheduled[request.request_id])
        self.worker.start_loads(plan)
        self.worker.save(plan)
        self._deliver(self.worker.finished(plan), self.worker.take_unfilled())
        for request in list(self.running):
            self._sample(request, scheduled[request.request_id])
        if not scheduled:
            # As vLLM does.
            time.sleep(0.001)

    def close(self) -> None:
        self.worker.close()
        self.scheduler.close()

    def _admit(self, request: SmallRequest) -> bool | None:
        """Matches and gives blocks. True if the request is computed right away, None if the cache is to be
        asked again."""
        tokens, in_background = 0, False
        if request.num_computed_tokens == 0:
            for _ in range(self.random.randint(1, 3)):
                matched, in_background = self.scheduler.matched(request, 0)
                if matched is None:
                    return None
                tokens = matched
        request.num_computed_tokens += tokens
        self._give_blocks(request, request.num_computed_tokens)
        if tokens:
            self._slide(request)
        self.scheduler.allocated(request, SimpleNamespace(get_block_ids=lambda: request.blocks), tokens)
        if in_background:
            assert not request.failed_loads, "a request whose load failed is offered no other"
            request.loads += 1
            self.loading[request.request_id] = request
        else:
            self.running.append(request)
        return not in_background

    def _deliver(self, results: object, unfilled: set[int]) -> None:
        assert not unfilled, "with several groups the request is named, not its blocks"
        delivered = SimpleNamespace(
            finished_recving=results.finished_recving,
            failed_recving=results.failed_recving,
            invalid_block_ids=set(),
        )
        self.scheduler.delivered(delivered)
        for request_id in results.finished_recving:
            request = self.loading.pop(request_id)
            if request_id in results.failed_recving:
                request.failed_loads += 1
                self._release(request)
            else:
                self._check(request, request.num_computed_tokens)
                request.num_computed_tokens = min(request.num_computed_tokens, request.num_tokens - 1)
            self.waiting.insert(0, request)

    def _compute(self, request: SmallRequest, count: int) -> None:
        """Writes the KV of so many tokens: confirmed ones, then drafts that will be wrong."""
        start = request.num_computed_tokens
        tokens = request.tokens + [-1] * (start + count - request.num_tokens)
        for position in range(start, start + count):
            for group, layers in enumerate(LAYERS):
                block = request.blocks[group][position // BLOCK_TOKENS]
                assert block != NULL_BLOCK
                for layer in layers:
                    value = kv(layer, tokens[: position + 1])
                    self.memory[layer][block, 0, position % BLOCK_TOKENS] = torch.tensor(list(value))

    def _sample(self, request: SmallRequest, count: int) -> None:
        request.num_computed_tokens = min(request.num_computed_tokens + count, request.num_tokens)
        if request.num_computed_tokens < request.num_tokens:
            return
        self._check(request, request.num_tokens)
        if request.num_tokens >= self.wanted[request.request_id]:
            request.over = True
            self.running.remove(request)
            self.scheduler.finished(request)
            self._release(request)
            return
        request.add([int.from_bytes(digest(request.tokens)[:2], "little") for _ in range(1)])

    def _check(self, request: SmallRequest, computed: int) -> None:
        """Every byte of what counts as computed, as far as the windows still hold it."""
        for position in range(computed):
            for group, layers in enumerate(LAYERS):
                block = request.blocks[group][position // BLOCK_TOKENS]
                for layer in layers if block != NULL_BLOCK else ():
                    found = bytes(self.memory[layer][block, 0, position % BLOCK_TOKENS].tolist())
                    assert found == kv(layer, request.tokens[: position + 1]), (request.request_id, position)

    def _give_blocks(self, request: SmallRequest, tokens: int) -> None:
        self._slide(request)
        for ids in request.blocks:
            while len(ids) * BLOCK_TOKENS < tokens:
                ids.append(self.free.pop())

    def _slide(self, request: SmallRequest) -> None:
        passed = request.num_computed_tokens // BLOCK_TOKENS - WINDOW_BLOCKS
        ids = request.blocks[1]
        for number in range(min(passed, len(ids))):
            if ids[number] != NULL_BLOCK:
                self.free.append(ids[number])
                ids[number] = NULL_BLOCK

    def _preempt(self, request: SmallRequest) -> None:
        self._release(request)
        self.waiting.insert(0, request)

    def _release(self, request: SmallRequest) -> None:
        self.free.extend(block for ids in request.blocks for block in ids if block != NULL_BLOCK)
        request.blocks = ([], [])
        request.num_computed_tokens = 0

    def _blocks_of(self, request_id: str) -> tuple[list[int], ...] | None:
        return next((request.blocks for request in self.running if request.request_id == request_id), None)
