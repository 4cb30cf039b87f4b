"""A new engine, and a prompt that another one computed: what a restart costs its users.

`ttft_cascade_new_process_s`   the second request of an engine that has just started. The first was a short
                               one that has nothing to do with it (`Engine.await_ready`), so that what every
                               engine does once is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from engines.calm import settle
from engines.engine import Engine
from engines.figures import Figures
from engines.measure.hits import ANSWER_TOKENS, is_hit

FIGURE = "ttft_cascade_new_process_s"


def measure(engines: dict[str, Engine], prompt: Sequence[int], count: int, figures: Figures) -> None:
    """Stops the engine of Cascade and starts so many new ones, one of which then takes its place in
    `engines`."""
    former = engines.pop("cascade")
    former.stop()
    fresh = [former.another() for _ in range(count)]
    try:
        for engine in fresh:
            engine.await_ready()
        replies = []
        for engine in fresh:
            settle()
            replies.append(engine.ask(prompt, ANSWER_TOKENS))
        engines["cascade"] = fresh.pop()
    finally:
        for engine in fresh:
            engine.stop()
    computed = sum(not is_hit(reply) for reply in replies)
    if computed:
        figures.leave_out(FIGURE, f"{computed} of {count} new engines computed the prompt again")
    else:
        figures.enter_samples(FIGURE, [reply.ttft_s for reply in replies])
