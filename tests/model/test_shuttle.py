from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgefleet.model.evaluate import open_session, predict
from edgefleet.model.shuttle import SENSORS, readings, shuttle_submission, split
from edgefleet.model.submission import FILES, check, load_sets


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shuttle")
    shuttle_submission(folder, 1)
    return folder


def test_real_readings_come_without_a_download() -> None:
    rows = readings()
    assert rows.inputs.shape == (49_097, SENSORS)
    assert rows.labels.mean() == pytest.approx(0.072, abs=0.001)


def test_no_row_is_in_training_and_in_validation_and_both_are_balanced() -> None:
    rows = readings()
    numbered = type(rows)(inputs=np.arange(len(rows.labels))[:, None], labels=rows.labels)
    training, validation = split(numbered)
    assert not set(training.inputs[:, 0]) & set(validation.inputs[:, 0])
    assert training.labels.mean() == validation.labels.mean() == 0.5


def test_the_submission_is_an_anomaly_model_that_passes_its_check(folder: Path) -> None:
    found = check(folder)
    assert (found.card.task, found.card.labels) == ("anomaly", ("normal", "anomaly"))
    assert (found.card.input.dtype, found.card.input.shape) == ("float32", (SENSORS,))


def test_it_tells_anomalies_from_normal_readings(folder: Path) -> None:
    sets = load_sets(folder)
    answers = predict(open_session(folder / "model.onnx"), sets.validation)
    assert (answers.argmax(axis=1) == sets.validation_labels).mean() > 0.95


def test_made_again_it_has_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    shuttle_submission(tmp_path, 1)
    for name in FILES:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name
