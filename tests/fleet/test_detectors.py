"""Bets that are begun at every step: what they promise in a calm, and how soon they find."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgefleet.fleet.detectors import (
    MOST_PAID,
    USUAL_PHI,
    grown,
    paid_on_pairs,
    paid_on_share,
    pooled_phi,
    strength,
)
from edgefleet.fleet.stats import Floats

ONE = np.ones(1)


def alarm_at(paid: Floats, boundary: float) -> int | None:
    """Return the step at which one stream alarms; `paid` has shape (steps, bets)."""
    held = np.zeros((paid.shape[1], 1))
    for step, each in enumerate(paid, 1):
        held = grown(held, each[:, np.newaxis], ONE)
        if strength(held)[0] >= math.log(boundary):
            return step
    return None


def test_alarms_come_no_sooner_than_stated_while_the_share_is_at_its_limit() -> None:
    """The worst that is no change: exactly the limit, and every alarm starts it anew."""
    rng, stated, steps, streams = np.random.default_rng(1), 200, 400, 300
    held, alarms = np.zeros((5, streams)), 0
    limit, phi = np.full(streams, 0.07), np.ones(streams)
    for _ in range(steps):
        hits = rng.binomial(20, 0.07, streams).astype(np.float64)
        paid = paid_on_share(np.full(streams, 20.0), hits, limit, 0.02, phi)
        held = grown(held, paid, np.ones(streams))
        over = strength(held) >= math.log(stated)
        alarms += int(over.sum())
        held[:, over] = 0.0
    assert 0 < alarms <= steps * streams / stated


def test_pairs_that_lose_exactly_the_margin_alarm_no_sooner_than_stated() -> None:
    rng, stated, steps, streams = np.random.default_rng(2), 200, 400, 300
    held, alarms = np.zeros((5, streams)), 0
    for _ in range(steps):
        losses = rng.binomial(20, 0.04, streams).astype(np.float64)
        gains = rng.binomial(20, 0.02, streams).astype(np.float64)
        n = np.full(streams, 20.0)
        held = grown(held, paid_on_pairs(n, gains, losses, 0.02, ONE), n)
        over = strength(held) >= math.log(stated)
        alarms += int(over.sum())
        held[:, over] = 0.0
    assert alarms <= steps * streams / stated


def test_a_change_is_found_as_soon_after_a_long_calm_as_after_a_short_one() -> None:
    rng = np.random.default_rng(3)

    def delay(calm: int) -> float:
        found = []
        for _ in range(40):
            shares = np.concatenate([np.full(calm, 0.05), np.full(400, 0.15)])
            hits = rng.binomial(20, shares).astype(np.float64)
            n, limit = np.full(len(hits), 20.0), np.full(len(hits), 0.07)
            at = alarm_at(paid_on_share(n, hits, limit, 0.02, np.ones(len(hits))).T, 1e5)
            assert at is not None
            found.append(at - calm)
        return float(np.median(found))

    assert 0 < delay(2000) <= delay(20) + 2


def test_one_step_however_bad_raises_no_alarm() -> None:
    worst = paid_on_share(np.full(1, 1e5), np.full(1, 1e5), np.full(1, 0.01), 0.003, ONE)
    assert strength(grown(np.zeros((5, 1)), worst, ONE))[0] <= MOST_PAID + math.log(2)


def test_a_step_without_samples_changes_nothing() -> None:
    held = np.full((5, 2), 3.0)
    after = grown(held, np.full((5, 2), 9.0), np.array([0.0, 1.0]))
    assert (after[:, 0] == 3.0).all()
    assert (after[:, 1] > 3.0).all()


def test_dispersion_is_what_is_usual_until_it_is_known() -> None:
    rng = np.random.default_rng(4)
    sizes = np.full((50, 96), 60.0)
    shares = np.clip(rng.normal(0.05, 0.02, sizes.shape), 0.001, 1)
    hits = rng.binomial(60, shares).astype(np.float64)

    def of(blocks: int) -> float:
        n, h = sizes[:, :blocks], hits[:, :blocks]
        return pooled_phi(n.sum(1), h.sum(1), (h * h / n).sum(1), np.full(50, float(blocks)))

    assert of(1) == pytest.approx(USUAL_PHI)
    # A share that wanders by two points adds 60 x .02^2 / (.05 x .95) = .5 to the variance.
    assert of(96) == pytest.approx(1.5, abs=0.1)
