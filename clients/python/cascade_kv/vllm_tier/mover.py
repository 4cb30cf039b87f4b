"""How chunks get in and out of the node: the work of the tier's threads.

A chunk is one piece: a row of the primary tier, in which the blocks of all ranks lie side by side. From a
job's submission until its outcome was taken, vLLM keeps the row where it is and lets nobody else write it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from cascade_kv import CascadeError, Client, Miss, Namespace, NodeLost, PagedCache
from cascade_kv.vllm.link import Link
from cascade_kv.vllm_tier.chains import Run
from cascade_kv.vllm_tier.jobs import Job, Outcome

log = logging.getLogger("vllm.cascade")

PUT_BYTES = 4 << 20
"""What one call puts at a time: its deadline is there for waiting, and must not pass while bytes are
copied."""

FIGURE_OF_PUT = {
    "posted": "saved_blocks",
    "fresh": "saved_blocks",
    "already_present": "present_blocks",
    "refused": "refused_blocks",
}
FIGURE_OF_MISS = {
    "absent": "missed_absent",
    "corrupt": "missed_corrupt",
    "too_short": "missed_length",
    "too_long": "missed_length",
}


class Mover:
    """Copies chunks between the primary tier and the node. Any thread; raises nothing."""

    def __init__(self, primary: memoryview, link: Link, put_timeout_s: float) -> None:
        """`primary`: the rows, [chunks, row_bytes]; kept until `close`. `put_timeout_s`: how long a put may
        wait for room, or for the node."""
        # A view of our own: the traceback of an error, kept by some log, keeps the rows too, and vLLM must be
        # able to release its view all the same.
        self._primary: PagedCache | None = PagedCache([memoryview(primary)])
        self._link = link
        self._put_timeout_s = put_timeout_s

    def move(self, job: Job) -> Outcome:
        """Does a job, or a part of one.

        Of a load, the rows of chunks that are not among those moved are unspecified. Of a store, what the
        node has is not copied, and what there is no room, time or node for is dropped.
        """
        outcome, began_s = Outcome(job), time.monotonic()
        client, primary = self._link.client(), self._primary
        assert primary is not None, "closed"
        try:
            if client is not None and job.is_load:
                load(client, primary, outcome)
            elif client is not None:
                store(client, primary, outcome, self._put_timeout_s)
        except CascadeError as error:
            if isinstance(error, NodeLost):
                self._link.lost(client, error)
        except Exception:
            # Anything at all: vLLM waits for the outcome of every job, and keeps its rows until then.
            log.exception("cascade: a transfer of %d chunks failed", len(job.keys()))
        outcome.took_s = time.monotonic() - began_s
        account(outcome)
        return outcome

    def touch(self, namespace: Namespace, runs: list[Run]) -> None:
        """Says that chains are in use, as far as the node has them."""
        client = self._link.client()
        try:
            for run in runs if client is not None else ():
                client.match_chain(namespace.wrap(run.hashes()), [(0, run.group)])
        except (CascadeError, ValueError) as error:
            log.debug("cascade: a touch was lost: %s", error)

    def close(self) -> None:
        """Lets go of the rows."""
        self._primary = None


def store(client: Client, primary: PagedCache, outcome: Outcome, timeout_s: float) -> None:
    """Puts chunks, parents first. An error ends it: what is left would only wait as long again."""
    job, limit = outcome.job, max(1, PUT_BYTES // primary.block_bytes)
    client.describe(job.namespace, timeout_s=timeout_s)
    for run in (part for whole in job.runs for part in whole.parts(limit)):
        answers = client.put_blocks(
            primary,
            job.namespace.wrap(run.hashes()),
            run.rows,
            group=run.group,
            parent=job.namespace.root if run.parent is None else job.namespace.wrap([run.parent])[0],
            # The root is the first of every chain.
            depth=run.depth + 1,
            timeout_s=timeout_s,
        )
        for key, answer in zip(run.keys, answers, strict=True):
            outcome.stats.count(FIGURE_OF_PUT[answer.outcome])
            if answer:
                outcome.moved.append(key)
                outcome.moved_bytes += 0 if answer.outcome == "already_present" else primary.block_bytes


def load(client: Client, primary: PagedCache, outcome: Outcome) -> None:
    """Fills rows. A chunk that no engine of this namespace can load is dropped: it stands in the way of the
    right one."""
    for run in outcome.job.runs:
        keys = outcome.job.namespace.wrap(run.hashes())
        answers = client.get_blocks(primary, keys, run.rows, group=run.group)
        for key, wrapped, answer in zip(run.keys, keys, answers, strict=True):
            if not isinstance(answer, Miss):
                outcome.moved.append(key)
                outcome.moved_bytes += answer
                continue
            figure = FIGURE_OF_MISS.get(answer.reason, "missed_absent")
            outcome.stats.count(figure)
            if figure == "missed_length":
                client.discard(wrapped, group=run.group)


def account(outcome: Outcome) -> None:
    """Adds what follows from the rest. Chunks that were not come to are those for want of a node, or of
    time."""
    stats, chunks, moved = outcome.stats, len(outcome.job.keys()), len(outcome.moved)
    if outcome.job.is_load:
        stats.count("loaded_blocks", moved)
        stats.count("loaded_bytes", outcome.moved_bytes)
        stats.count("load_seconds", outcome.took_s)
        stats.count("missed_unreachable", chunks - moved - counted(stats.data, FIGURE_OF_MISS))
    else:
        stats.count("saved_bytes", outcome.moved_bytes)
        stats.count("save_seconds", outcome.took_s)
        stats.count("unsaved_blocks", chunks - counted(stats.data, FIGURE_OF_PUT))


def counted(figures: Mapping[str, float], names: Mapping[str, str]) -> float:
    """The sum of the figures that are named."""
    return sum(figures.get(name, 0) for name in set(names.values()))
