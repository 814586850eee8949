"""A model for the surface cameras in seconds: random convolutions, a head solved in closed form.

It is right about two parts in five in the factories, where one in six would be chance: enough for
floors and gates to work on. Every version has the head of the one before it, a little surer of
itself: other bytes and other probabilities, the same answers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgefleet.model.export import Conv, Dense, Floats, Params, to_onnx
from edgefleet.model.hostile import beyond_repair
from edgefleet.model.recipes import CARD
from edgefleet.model.submission import DataSets, write
from edgefleet.model.surface import LABELS, draw, factory_scene, lab_scenes

_WIDTHS = (16, 64)
_HIDDEN = 256
_IMAGES = 2000
_RIDGE = 1e-3


def write_versions(root: Path, factories: tuple[str, ...], count: int) -> tuple[Path, ...]:
    """Write the submission folders of so many versions of one model."""
    params = _solved(factories)
    return tuple(_submission(root / f"v{n}", _surer(params, 1 + n / 10)) for n in range(count))


def write_field_blind(folder: Path) -> Path:
    """Write a version that has seen the lab only: as good there, and bad under real cameras."""
    return _submission(folder, _solved(()))


def write_ruined(folder: Path, factories: tuple[str, ...]) -> Path:
    """Write a version that FP32 does not mind and INT8 cannot bear."""
    return _submission(folder, beyond_repair(_solved(factories), 1))


def _submission(folder: Path, params: Params) -> Path:
    lab = draw(600, 12, lab_scenes())
    sets = DataSets(lab.inputs[:64], lab.inputs, lab.labels, lab.inputs[:16])
    write(folder, to_onnx(params, CARD.input, CARD.output), CARD, sets)
    return folder


def _surer(params: Params, factor: float) -> Params:
    *others, head = params.dense
    scaled = Dense(head.weight * np.float32(factor), head.bias * np.float32(factor))
    return replace(params, dense=(*others, scaled))


def _solved(factories: tuple[str, ...]) -> Params:
    """Return random layers and the ridge regression of the labels on what comes out of them."""
    rng = np.random.default_rng(1)
    examples = draw(_IMAGES, 1, [*(factory_scene(name) for name in factories), *lab_scenes()])
    first = rng.normal(0, 1, (_WIDTHS[0], 1, 3, 3))
    first -= first.mean(axis=(2, 3), keepdims=True)  # blind to the light, which differs
    second = rng.normal(0, np.sqrt(2 / (9 * _WIDTHS[0])), (_WIDTHS[1], _WIDTHS[0], 3, 3))
    convs = tuple(
        Conv(weight.astype(np.float32), np.zeros(len(weight), np.float32), stride)
        for weight, stride in ((first, 2), (second, 1))
    )
    flat = _features(convs, examples.inputs)
    mean, deviation = flat.mean(axis=0), flat.std(axis=0) + 1e-6
    mixed = rng.normal(0, 1 / np.sqrt(_WIDTHS[1]), (_WIDTHS[1], _HIDDEN))
    shift = rng.uniform(-1, 1, _HIDDEN)
    hidden = np.maximum((flat - mean) / deviation @ mixed + shift, 0)
    hidden = np.concatenate([hidden, np.ones((_IMAGES, 1))], axis=1)
    gram = hidden.T @ hidden + _RIDGE * _IMAGES * np.eye(_HIDDEN + 1)
    wanted = 2.0 * np.eye(len(LABELS))[examples.labels] - 1
    head = 4 * np.linalg.solve(gram, hidden.T @ wanted)
    inner = mixed / deviation[:, None]
    return _params(
        convs,
        (
            Dense(inner.astype(np.float32), (shift - mean @ inner).astype(np.float32)),
            Dense(head[:-1].astype(np.float32), head[-1].astype(np.float32)),
        ),
    )


def _features(convs: tuple[Conv, ...], images: NDArray[np.generic]) -> Floats:
    """Return what the convolutions and the global maximum make of images, [n, channels]."""
    width = _WIDTHS[-1]
    blank = Dense(np.zeros((width, len(LABELS)), np.float32), np.zeros(len(LABELS), np.float32))
    model = to_onnx(_params(convs, (blank,)), CARD.input, CARD.output)
    model.graph.output.append(
        helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["batch", width])
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    parts = [images[at : at + 100] for at in range(0, len(images), 100)]
    return np.concatenate([session.run(["flat"], {CARD.input.name: part})[0] for part in parts])


def _params(convs: tuple[Conv, ...], dense: tuple[Dense, ...]) -> Params:
    grey = np.full((1, 1, 1), 0.5, np.float32)
    return Params(1 / 255, grey, np.full((1, 1, 1), 0.2, np.float32), convs, dense)
