"""A trained network as numpy arrays, and as the ONNX file that is handed in.

`Params` is the whole model, normalisation included, so that nobody has to preprocess anything
outside the graph. The file is for runtimes several years old: opset 17 and IR version 10, where
onnx's own defaults would be too new. Sessions and quantization are not this module's business.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgefleet.edge.contract import TensorSpec

OPSET: Final = 17
IR_VERSION: Final = 10
_TENSOR_TYPES: Final = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Conv:
    """A padded 3x3 convolution, followed by ReLU."""

    weight: Floats
    """Shape [out, in, 3, 3]."""
    bias: Floats
    """Shape [out]."""
    stride: int


@dataclass(frozen=True, slots=True)
class Dense:
    """A full layer; all but the last are followed by ReLU."""

    weight: Floats
    """Shape [in, out]."""
    bias: Floats
    """Shape [out]."""


@dataclass(frozen=True, slots=True)
class Params:
    """A network: (input * scale - mean) / deviation, convolutions, global maximum, full layers."""

    scale: float
    mean: Floats
    """Shape broadcast against one input: [1, 1, 1] for an image, [9] for nine sensors."""
    deviation: Floats
    convs: tuple[Conv, ...]
    """Empty: the input is a vector."""
    dense: tuple[Dense, ...]


def to_onnx(params: Params, given: TensorSpec, answer: TensorSpec) -> ModelProto:
    """Return the checked ONNX model: `given` in, class probabilities out, batch dimension free."""
    graph = _Graph()
    _layers(graph, params, given, answer.name)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "edgefleet",
            [_value(given)],
            [_value(answer)],
            initializer=graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="edgefleet",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def macs(params: Params, side: int) -> int:
    """Return multiply-accumulates for one input of `side` x `side` (ignored without convs)."""
    total = 0
    for conv in params.convs:
        side = -(-side // conv.stride)
        total += side * side * conv.weight.size
    return total + sum(dense.weight.size for dense in params.dense)


class _Graph:
    """Nodes and weights in the making; each node's name is its output's."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def weight(self, name: str, array: NDArray[np.generic]) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, name: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name


def _layers(graph: _Graph, params: Params, given: TensorSpec, answer: str) -> None:
    """Chain the nodes from the given tensor to the answer."""
    flow = given.name
    if given.dtype != "float32":
        flow = graph.node("Cast", "cast", flow, to=TensorProto.FLOAT)
    flow = graph.node(
        "Mul", "scaled", flow, graph.weight("scale", np.array([params.scale], np.float32))
    )
    flow = graph.node("Sub", "centred", flow, graph.weight("mean", params.mean))
    flow = graph.node("Div", "normal", flow, graph.weight("deviation", params.deviation))
    for number, conv in enumerate(params.convs, start=1):
        name = f"conv{number}"
        flow = graph.node(
            "Conv",
            name,
            flow,
            graph.weight(f"{name}.weight", conv.weight),
            graph.weight(f"{name}.bias", conv.bias),
            strides=[conv.stride, conv.stride],
            # Even sides: symmetric padding of one keeps ceil(side / stride).
            pads=[1, 1, 1, 1],
            kernel_shape=[3, 3],
        )
        flow = graph.node("Relu", f"relu{number}", flow)
    if params.convs:
        flow = graph.node("GlobalMaxPool", "pool", flow)
        flow = graph.node("Flatten", "flat", flow, axis=1)
    for number, dense in enumerate(params.dense, start=1):
        name = f"dense{number}"
        flow = graph.node(
            "Gemm",
            name,
            flow,
            graph.weight(f"{name}.weight", dense.weight),
            graph.weight(f"{name}.bias", dense.bias),
        )
        if number < len(params.dense):
            flow = graph.node("Relu", f"{name}.relu", flow)
    graph.node("Softmax", answer, flow, axis=1)


def _value(spec: TensorSpec) -> onnx.ValueInfoProto:
    kind = _TENSOR_TYPES[spec.dtype]
    return helper.make_tensor_value_info(spec.name, kind, ["batch", *spec.shape])


def save(params: Params, path: Path) -> None:
    """Write the parameters to an npz, from which training can go on; whole, or not at all."""
    arrays: dict[str, NDArray[np.generic]] = {
        "scale": np.array(params.scale),
        "mean": params.mean,
        "deviation": params.deviation,
        "strides": np.array([conv.stride for conv in params.convs], np.int64),
    }
    kinds: tuple[tuple[str, Sequence[Conv | Dense]], ...] = (
        ("conv", params.convs),
        ("dense", params.dense),
    )
    for kind, layers in kinds:
        for number, layer in enumerate(layers):
            arrays[f"{kind}{number}.weight"] = layer.weight
            arrays[f"{kind}{number}.bias"] = layer.bias
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type] # its stub takes keywords for flags
    partial.replace(path)


def restore(path: Path) -> Params:
    """Return the parameters that `save` wrote."""
    with np.load(path, allow_pickle=False) as held:
        strides = held["strides"]
        convs = tuple(
            Conv(held[f"conv{n}.weight"], held[f"conv{n}.bias"], int(stride))
            for n, stride in enumerate(strides)
        )
        count = sum(name.startswith("dense") for name in held) // 2
        dense = tuple(Dense(held[f"dense{n}.weight"], held[f"dense{n}.bias"]) for n in range(count))
        return Params(float(held["scale"]), held["mean"], held["deviation"], convs, dense)
