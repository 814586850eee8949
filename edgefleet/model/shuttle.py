"""A sensor-fusion model: nine sensors of a space shuttle's radiator, normal or not.

The readings are real (Statlog Shuttle, 49,097 rows, 7.2 % anomalies), shipped inside river's wheel;
nothing is downloaded. Four rows in five are for training, the fifth is for validation, drawn so
that half of it is anomalies: else a model that never warns would be right 93 times in 100.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgefleet.edge.contract import TensorSpec
from edgefleet.model.export import Floats, Params, to_onnx
from edgefleet.model.submission import DataSets, fresh_card, write
from edgefleet.model.surface import Examples

MODEL: Final = "shuttle-anomaly"
LABELS: Final = ("normal", "anomaly")
SENSORS: Final = 9
_LIMIT: Final = 32_000.0
"""Readings were 16-bit integers."""
INPUT: Final = TensorSpec(
    name="sensors", dtype="float32", shape=(SENSORS,), low=-_LIMIT, high=_LIMIT
)
CARD: Final = fresh_card(MODEL, "anomaly", LABELS, INPUT)
_FOLDS: Final = 5
_WIDTHS: Final = (32, 16, len(LABELS))
_SPLIT_SEED: Final = 0
"""The held-out fifth is the same for every model, else they could not be compared."""


def readings() -> Examples:
    """Return all rows: inputs float32 [n, 9], labels 0 (normal) or 1 (anomaly)."""
    from river.datasets import Shuttle  # noqa: PLC0415 - river takes a second to load

    with gzip.open(Path(Shuttle().path), "rt", encoding="ascii") as stream:
        rows: Floats = np.loadtxt(stream, delimiter=",", skiprows=1, dtype=np.float32)
    return Examples(inputs=rows[:, :SENSORS], labels=rows[:, SENSORS].astype(np.int64))


def split(rows: Examples) -> tuple[Examples, Examples]:
    """Return (training, validation), each with as many anomalies as normal rows; none in both."""
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(rows.labels))
    fold = len(order) // _FOLDS
    return _balanced(rows, order[fold:]), _balanced(rows, order[:fold])


def shuttle_params(seed: int) -> Params:
    """Return a trained network of three full layers."""
    from edgefleet.model.network import vector_network  # noqa: PLC0415 - loads JAX
    from edgefleet.model.training import train  # noqa: PLC0415 - so does this

    examples, _ = split(readings())
    start = vector_network(seed, examples.inputs.astype(np.float32), _WIDTHS)
    return train(examples, steps=600, seed=seed, start=start, batch=128)


def shuttle_submission(folder: Path, seed: int) -> Params:
    """Train the model, write its submission folder, and return it."""
    params = shuttle_params(seed)
    training, validation = split(readings())
    sets = DataSets(
        calibration=training.inputs[:256],
        validation=validation.inputs,
        validation_labels=validation.labels,
        golden=training.inputs[256:272],
    )
    write(folder, to_onnx(params, CARD.input, CARD.output), CARD, sets)
    return params


def _balanced(rows: Examples, chosen: NDArray[np.int64]) -> Examples:
    """Return the chosen rows, the normal ones thinned to the number of anomalies, mixed."""
    anomalous = rows.labels[chosen] == 1
    found = int(anomalous.sum())
    kept = np.concatenate([chosen[anomalous], chosen[~anomalous][:found]])
    kept = np.random.default_rng(_SPLIT_SEED).permutation(kept)
    return Examples(inputs=rows.inputs[kept], labels=rows.labels[kept])
