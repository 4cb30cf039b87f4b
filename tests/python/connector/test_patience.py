"""How long is waited for lower tiers: by the speeds of prefill and of the tiers, whatever comes."""

from __future__ import annotations

import random

import pytest

from cascade_kv.vllm.patience import FIRST, LARGEST_PROBE, PROBE_EVERY, Patience

PREFILL = 10_000.0


def computing_s(tokens: int, prefill: float = PREFILL) -> float:
    return tokens / prefill


def test_tiers_of_which_nothing_is_known_are_given_a_chance_once() -> None:
    patience = Patience(PREFILL)
    assert patience.of(8000) == pytest.approx(FIRST * computing_s(8000))
    patience.brought(10, FIRST * computing_s(8000))
    assert patience.of(8000) == 0.0


def test_fast_tiers_are_waited_for_as_long_as_they_need() -> None:
    patience = Patience(PREFILL)
    patience.brought(8000, 0.1)
    assert patience.tier_tokens_per_s == pytest.approx(80_000)
    assert 8000 / 80_000 < patience.of(8000) < computing_s(8000)


@pytest.mark.parametrize("seed", range(20))
def test_nobody_waits_longer_than_computing_takes(seed: int) -> None:
    rng, patience = random.Random(seed), Patience(PREFILL)
    for _ in range(500):
        tokens = rng.randint(1, 200_000)
        patience_s = patience.of(tokens)
        assert 0 <= patience_s <= computing_s(tokens)
        if patience_s:
            patience.brought(rng.choice([0, tokens // 10, tokens]), rng.uniform(1e-6, patience_s))


@pytest.mark.parametrize("tier_tokens_per_s", [0, 50, 2000, 9000])
def test_tiers_slower_than_prefill_cost_a_twentieth_at_most(tier_tokens_per_s: int) -> None:
    """Whatever they bring: the time of a request is what it waits, and what it computes then."""
    patience = Patience(PREFILL)
    spent_s = cold_s = 0.0
    for number in range(200):
        tokens = 8000
        waited_s = patience.of(tokens)
        brought = int(waited_s * tier_tokens_per_s)
        if waited_s:
            patience.brought(brought, waited_s)
        spent_s += waited_s + computing_s(tokens - brought)
        cold_s += computing_s(tokens)
        assert waited_s <= (LARGEST_PROBE if number else FIRST) * computing_s(tokens)
    assert spent_s <= 1.05 * cold_s


def test_tiers_that_have_become_fast_are_found_out_again() -> None:
    patience = Patience(PREFILL)
    patience.brought(0, 1.0)
    asked = 0
    while patience.of(8000) < 0.1:
        asked += 1
        assert asked < 20 * PROBE_EVERY
        if patience_s := patience.of(8000):
            patience.brought(min(8000, int(patience_s * 500_000)), patience_s)


def test_a_probe_in_which_nothing_came_makes_the_next_one_longer() -> None:
    """A tier that is fast, but takes its time to begin."""
    patience = Patience(PREFILL)
    patience.brought(0, 1.0)
    probes = []
    for _ in range(10 * PROBE_EVERY):
        if patience_s := patience.of(1000):
            probes.append(patience_s)
            patience.brought(0, patience_s)
    assert probes == sorted(probes)
    assert probes[-1] == pytest.approx(LARGEST_PROBE * computing_s(1000))


def test_the_steps_of_the_engine_tell_the_speed_of_prefill() -> None:
    patience, now_s = Patience(PREFILL), 0.0
    for step in range(40):
        patience.stepped(2048, now_s)
        # Now and then two steps are planned at once, or the engine has nothing to do.
        now_s += {7: 1e-6, 19: 60.0}.get(step, 0.05)
    assert patience.prefill_tokens_per_s == pytest.approx(2048 / 0.05)
    for _ in range(40):
        patience.stepped(8, now_s)
        now_s += 0.02
    assert patience.prefill_tokens_per_s == pytest.approx(2048 / 0.05), "decoding tells nothing"
