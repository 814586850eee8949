"""Paired comparisons: their numbers against hand counts and against simulated truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgefleet.errors import Refused
from edgefleet.model.evaluate import (
    median_interval,
    open_session,
    paired_drop,
    predict,
    race,
    right,
)
from tests.model import textures


def flags(*counts: tuple[int, bool]) -> np.ndarray:
    return np.concatenate([np.full(n, value) for n, value in counts])


def test_a_drop_counts_pairs_and_not_two_separate_samples() -> None:
    base = flags((90, True), (10, False))
    new = flags((87, True), (3, False), (1, True), (9, False))
    drop = paired_drop(base, new)
    assert (drop.points, drop.n, drop.gains, drop.losses) == (2.0, 100, 1, 3)
    # Agresti and Min by hand: cells 3.5 and 1.5 of 102, z = 1.645.
    assert drop.upper_points == pytest.approx(
        100 * (2 + 1.6448536 * (5 - 4 / 102) ** 0.5) / 102, rel=1e-6
    )


def test_no_changed_answer_still_leaves_doubt_and_less_with_more_samples() -> None:
    few, many = (paired_drop(flags((n, True)), flags((n, True))) for n in (50, 5000))
    assert few.points == many.points == 0
    assert few.upper_points > 1 > many.upper_points > 0


@pytest.mark.parametrize(("n", "loss", "gain"), [(300, 0.02, 0.01), (1000, 0.005, 0.005)])
def test_the_bound_covers_the_true_drop_at_least_as_often_as_it_says(
    n: int, loss: float, gain: float
) -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(2000):
        draw = rng.random(n)
        lost, gained = draw < loss, draw > 1 - gain
        covered += paired_drop(~gained, ~lost).upper_points >= 100 * (loss - gain)
    assert covered / 2000 > 0.94


def test_no_samples_prove_nothing() -> None:
    with pytest.raises(Refused, match="0 answers"):
        paired_drop(np.zeros(0, np.bool_), np.zeros(0, np.bool_))


def test_the_median_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    hits = 0
    for _ in range(1000):
        _, low, high = median_interval(rng.exponential(1, 41).tolist())
        hits += low <= np.log(2) <= high
    assert hits / 1000 > 0.94


def test_a_model_races_itself_to_a_draw(tmp_path: Path) -> None:
    model = textures.write_model(tmp_path / "model.onnx")
    a, b = open_session(model), open_session(model)
    result = race(a, b, textures.golden(), rounds=101, seed=1)
    assert 0.8 < result.ratio < 1.25
    assert result.low <= result.ratio <= result.high


def test_models_that_name_their_input_otherwise_race_too(tmp_path: Path) -> None:
    file = textures.write_model(tmp_path / "model.onnx")
    model = onnx.load(file)
    [given] = model.graph.input
    for node in model.graph.node:
        node.input[:] = ["photograph" if name == given.name else name for name in node.input]
    given.name = "photograph"
    onnx.save(model, tmp_path / "other.onnx")
    a, b = open_session(file), open_session(tmp_path / "other.onnx")
    assert race(a, b, textures.golden(), rounds=5).rounds == 5


def test_batches_do_not_change_an_answer(tmp_path: Path) -> None:
    session = open_session(textures.write_model(tmp_path / "model.onnx"))
    held = textures.validation()
    whole = predict(session, held.inputs[:40], batch=40)
    assert whole.shape == (40, 4)
    np.testing.assert_allclose(whole, predict(session, held.inputs[:40], batch=7), atol=1e-5)
    assert right(whole, held.labels[:40]).mean() > 0.9


def test_a_file_that_is_no_model_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(Refused, match=r"model\.onnx: onnxruntime cannot load it"):
        open_session(tmp_path / "model.onnx")
