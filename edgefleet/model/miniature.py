"""The smallest model that goes through the whole pipeline: for rehearsals, which move no tensors.

Four numbers in, two classes out, one full layer, FP32. It is a real submission: checked, evaluated,
packaged and signed like any other, in a few milliseconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgefleet.edge.contract import Card, TensorSpec
from edgefleet.model.evaluate import Samples
from edgefleet.model.export import Dense, Params, to_onnx
from edgefleet.model.submission import DataSets, write

_INPUT = TensorSpec(name="sensors", dtype="float32", shape=(4,), low=-8.0, high=8.0)
_OUTPUT = TensorSpec(name="probabilities", dtype="float32", shape=(2,), low=0.0, high=1.0)
_SAMPLES = 400


def write_miniature(folder: Path, model: str, seed: int) -> None:
    """Write the submission folder of `model`; another seed is another version of it."""
    rng = np.random.default_rng(seed)
    towards = np.array([1.0, -1.0, 0.5, 0.25], np.float32)
    inputs = np.clip(rng.normal(0, 1, (_SAMPLES, 4)), -8, 8).astype(np.float32)
    labels = (inputs @ towards > 0).astype(np.int64)
    weight = np.stack([-towards, towards], axis=1) * np.float32(2 + seed / 100)
    layer = Dense(weight.astype(np.float32), np.zeros(2, np.float32))
    write_layer(folder, model, inputs, labels, layer)


def write_layer(
    folder: Path, model: str, inputs: Samples, labels: NDArray[np.int64], layer: Dense
) -> None:
    """Write the submission folder of one full layer; `inputs` have shape (n, 4), `labels` (n,)."""
    params = Params(
        scale=1.0,
        mean=np.zeros(4, np.float32),
        deviation=np.ones(4, np.float32),
        convs=(),
        dense=(layer,),
    )
    card = Card(
        model=model,
        version="",
        task="classification",
        metric="accuracy",
        labels=("low", "high"),
        input=_INPUT,
        output=_OUTPUT,
        preprocessing="none",
    )
    sets = DataSets(inputs[:64], inputs, labels, inputs[:16])
    write(folder, to_onnx(params, _INPUT, _OUTPUT), card, sets)
