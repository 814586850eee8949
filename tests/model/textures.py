"""A small real model in a second: random convolutions, a head solved in closed form.

Four directions of stripes under noise; deterministic. `hostile` scales the channels between two
convolutions apart by 10^U(-hostile, hostile): FP32 answers the same, INT8 collapses.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

CLASSES = ("flat", "upright", "falling", "rising")
_WIDTHS = (32, 64, 128)
_TRAIN, _VALIDATE = 800, 1000


@dataclass(frozen=True)
class Samples:
    inputs: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


@cache
def samples() -> Samples:
    rng = np.random.default_rng(0)
    n = _TRAIN + _VALIDATE
    labels = rng.integers(0, len(CLASSES), n)
    rows, columns = np.mgrid[0:64, 0:64]
    ways = np.stack([rows, columns, 0.7 * (rows + columns), 0.7 * (rows - columns)])
    speed = rng.uniform(0.5, 0.9, (n, 1, 1))
    phase = rng.uniform(0, 6.28, (n, 1, 1))
    waves = 128 + 35 * np.sin(ways[labels] * speed + phase) + rng.normal(0, 45, (n, 64, 64))
    return Samples(np.clip(waves, 0, 255).astype(np.uint8)[:, None], labels.astype(np.int64))


def calibration() -> npt.NDArray[np.uint8]:
    return samples().inputs[:64]


def validation() -> Samples:
    return Samples(samples().inputs[_TRAIN:], samples().labels[_TRAIN:])


def golden() -> npt.NDArray[np.uint8]:
    return samples().inputs[64:80]


def write_model(path: Path, hostile: float = 0.0, noise: float = 0.0) -> Path:
    """Write the trained model; `noise` spoils its head, for a model that is honestly worse."""
    weight, bias = _head()
    rng = np.random.default_rng(7)
    spoiled = weight + noise * weight.std() * rng.normal(0, 1, weight.shape)
    onnx.save(_model(hostile, (spoiled.astype(np.float32), bias)), str(path))
    return path


def write_submission(
    folder: Path, version: str = "1", hostile: float = 0.0, noise: float = 0.0
) -> Path:
    (folder / "data").mkdir(parents=True)
    write_model(folder / "model.onnx", hostile, noise)
    (folder / "card.json").write_text(json.dumps(card(version)))
    held = validation()
    np.savez(folder / "data" / "calibration.npz", inputs=calibration())
    np.savez(folder / "data" / "validation.npz", inputs=held.inputs, labels=held.labels)
    np.savez(folder / "data" / "golden.npz", inputs=golden())
    return folder


def card(version: str = "1") -> dict[str, object]:
    return {
        "model": "stripes",
        "version": version,
        "task": "classification",
        "metric": "accuracy",
        "labels": CLASSES,
        "input": {"name": "image", "dtype": "uint8", "shape": [1, 64, 64], "low": 0, "high": 255},
        "output": {"name": "probabilities", "dtype": "float32", "shape": [len(CLASSES)]},
    }


@cache
def _head() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    session = ort.InferenceSession(
        _model(0.0, None).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    inputs, labels = samples().inputs[:_TRAIN], samples().labels[:_TRAIN]
    features = np.concatenate(
        [session.run(None, {"image": inputs[i : i + 50]})[0] for i in range(0, _TRAIN, 50)]
    )
    mean, deviation = features.mean(axis=0), features.std()
    flat = (features - mean) / deviation
    wanted = 2.0 * np.eye(len(CLASSES))[labels] - 1
    gram = flat.T @ flat + 0.003 * _TRAIN * np.eye(flat.shape[1])
    weight = 4 * np.linalg.solve(gram, flat.T @ wanted) / deviation
    return weight.astype(np.float32), (-mean @ weight).astype(np.float32)


def _model(
    hostile: float, head: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None
) -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    layers = []
    given = 1
    for width in _WIDTHS:
        weight = rng.normal(0, np.sqrt(2 / (9 * given)), (width, given, 3, 3))
        layers.append((weight, rng.normal(0, 0.05, width)))
        given = width
    spread = 10 ** rng.uniform(-hostile, hostile, _WIDTHS[1])
    layers[1] = (layers[1][0] * spread[:, None, None, None], layers[1][1] * spread)
    layers[2] = (layers[2][0] / spread[None, :, None, None], layers[2][1])
    weights = {"unit": np.float32(1 / 255).reshape(1)}
    # Nodes without names, as some exporters write them.
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "unit"], ["x0"]),
    ]
    for i, (weight, bias) in enumerate(layers):
        weights |= {f"w{i}": weight.astype(np.float32), f"b{i}": bias.astype(np.float32)}
        stride = 1 if i == 0 else 2
        nodes += [
            helper.make_node(
                "Conv",
                [f"x{i}", f"w{i}", f"b{i}"],
                [f"c{i}"],
                pads=[1, 1, 1, 1],
                strides=[stride, stride],
            ),
            helper.make_node("Relu", [f"c{i}"], [f"x{i + 1}"]),
        ]
    nodes += [
        helper.make_node("GlobalAveragePool", [f"x{len(layers)}"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["features"]),
    ]
    answer, size = "features", _WIDTHS[-1]
    if head is not None:
        # A bias of shape [1, N], as skl2onnx writes it.
        weights |= {"wh": head[0], "bh": head[1].reshape(1, -1)}
        nodes += [
            helper.make_node("Gemm", ["features", "wh", "bh"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ]
        answer, size = "probabilities", len(CLASSES)
    graph = helper.make_graph(
        nodes,
        "stripes",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 1, 64, 64])],
        [helper.make_tensor_value_info(answer, TensorProto.FLOAT, ["n", size])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    onnx.checker.check_model(model)
    return model
