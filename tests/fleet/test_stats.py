from __future__ import annotations

import math

import numpy as np
import pytest

from edgefleet.fleet import paths, stats
from edgefleet.fleet.cohorts import Member


def test_bets_and_dispersion_equal_the_reference_implementation() -> None:
    assert stats.log_bet_on_loss_below(400, 10, 14, 0.02, 1.3) == pytest.approx(-0.0992225419)
    assert stats.log_bet_on_loss(10, 14, 1.3) == pytest.approx(-0.0796172051)
    assert stats.log_bet_on_loss(5, 60) == pytest.approx(24.5927607531)


def test_a_bet_against_what_is_true_hardly_ever_wins_at_any_of_many_looks() -> None:
    rng = np.random.default_rng(1)
    runs, looks, wins = 400, 40, np.zeros(3)
    for _ in range(runs):
        gains, losses = (
            rng.binomial(20, 0.02, looks).cumsum(),
            rng.binomial(20, 0.04, looks).cumsum(),
        )
        n = 20 * np.arange(1, looks + 1)
        below = [stats.log_bet_on_share_below(*x, 0.04) for x in zip(n, losses, strict=True)]
        above = [stats.log_bet_on_share_above(*x, 0.04) for x in zip(n, losses, strict=True)]
        pairs = [stats.log_bet_on_loss_below(*x, 0.02) for x in zip(n, gains, losses, strict=True)]
        wins += [max(logs) >= math.log(20) for logs in (below, above, pairs)]
    # Binomial, 99.9 %: at most 34 of 400 where the truth is 5 %.
    assert (wins <= 34).all()


def test_samples_that_come_in_identical_blocks_are_worth_one_each() -> None:
    rng = np.random.default_rng(2)
    blocks = rng.binomial(1, 0.3, (40, 30)).astype(np.float64)
    variance = stats.share_variance(1200, blocks.sum())
    alone = stats.dispersion(np.ones_like(blocks), blocks, variance)
    repeated = stats.dispersion(np.full_like(blocks, 5), 5 * blocks, variance)
    assert alone == pytest.approx(1, abs=0.3)
    assert repeated == pytest.approx(5, rel=0.3)


def test_wilson_holds_the_share_and_nothing_seen_is_no_knowledge() -> None:
    assert stats.wilson(0, 0, 1.96) == (0.0, 1.0)
    low, high = stats.wilson(5, 100, stats.z_of(0.95))
    assert (low, high) == pytest.approx((0.0215, 0.1118), abs=1e-4)
    assert stats.wilson(5, 100, 1.96, phi=4)[1] > high


@pytest.mark.parametrize("power", [paths.EARLY, paths.EVENLY])
def test_paths_never_spend_more_than_their_budget_and_keep_some_for_an_extension(
    power: float,
) -> None:
    rng = np.random.default_rng(3)
    state, values = paths.fresh(500), np.zeros(501)
    for look in range(1, 91):
        values = values + rng.normal(size=501)
        state, _ = paths.cross(state, values, paths.spent(0.05, look, 30, power))
        assert state.used <= 0.05 * 501
        if look == 30:
            assert state.used == math.floor(0.9 * 0.05 * 501)
    assert state.used == math.floor(0.05 * 501)


def test_the_real_path_crosses_no_more_often_than_its_share() -> None:
    rng = np.random.default_rng(4)
    crossed = 0
    for _ in range(400):
        state, values = paths.fresh(200), np.zeros(201)
        for look in range(1, 21):
            values = values + rng.normal(size=201)
            state, hit = paths.cross(state, values, paths.spent(0.05, look, 20, paths.EARLY))
            crossed += hit
    assert crossed <= 34


def test_the_same_look_taken_again_spends_nothing() -> None:
    values = np.random.default_rng(5).normal(size=201)
    once, _ = paths.cross(paths.fresh(200), values, 0.05)
    assert paths.cross(once, values, 0.05) == (once, False)


def test_the_real_path_needs_to_be_more_extreme_than_equal_ones() -> None:
    assert not paths.cross(paths.fresh(200), np.zeros(201), 0.05)[1]
    assert paths.cross(paths.fresh(200), np.eye(201)[0], 0.05)[1]


def test_a_contrast_is_with_controls_of_the_same_factory() -> None:
    nodes = tuple(Member(f"n{i}", f"f{i % 2}") for i in range(8))
    draws = paths.draws_of(nodes, ("n0", "n1"), "w/1", 50)
    level = np.array([0.0, 10.0] * 4)
    level[0] -= 3
    assert draws.contrasts(level, np.ones(8)).tolist() == [-3, 0]
