"""An ONNX graph before and after quantization: repaired, named, its weighted nodes found.

Positions come from the graph's structure, never from naming habits of an exporter. One finding
shapes this module: onnxruntime itself quantizes (per tensor, coarsely) the weights of a float Conv
or Gemm that stands between a DequantizeLinear and a QuantizeLinear, and so silently undoes an
exclusion. `keep_float` breaks that pattern in the file, so that it holds in every runtime.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final

import onnx
from onnx import ModelProto, NodeProto, helper
from onnxruntime.quantization.shape_inference import quant_pre_process

WEIGHTED: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that carry the weights and nearly all of the work."""

_FLOAT_KINDS: Final = WEIGHTED | {"FusedConv", "FusedGemm", "FusedMatMul"}
_BIAS_AT: Final = 2
_FUSED: Final = "fused "


def prepare(model: Path, target: Path) -> None:
    """Write `model` to `target`, ready to quantize: repaired, folded, shapes inferred, all named.

    Symbolic shape inference fails on some honest graphs (and without sympy): then it is skipped,
    since plain shape inference is enough for all but data-dependent shapes.
    """
    repaired = target.with_suffix(".repaired.onnx")
    graph = onnx.load(str(model))
    _flatten_gemm_bias(graph)
    onnx.save(graph, str(repaired))
    with redirect_stdout(io.StringIO()):
        try:
            quant_pre_process(str(repaired), str(target))
        except Exception:  # noqa: BLE001  # it raises bare Exception; a second failure is let out
            quant_pre_process(str(repaired), str(target), skip_symbolic_shape=True)
    repaired.unlink()
    graph = onnx.load(str(target))
    _name_nodes(graph)
    onnx.save(graph, str(target))


def _flatten_gemm_bias(model: ModelProto) -> None:
    """Make [1, N] biases of Gemm one-dimensional: per-channel quantization crashes on them."""
    biases = {
        node.input[_BIAS_AT]
        for node in model.graph.node
        if node.op_type == "Gemm" and len(node.input) > _BIAS_AT
    }
    for tensor in model.graph.initializer:
        if tensor.name in biases and len(tensor.dims) == 2 and tensor.dims[0] == 1:  # noqa: PLR2004  # [1, N]
            width = tensor.dims[1]
            del tensor.dims[:]
            tensor.dims.append(width)


def _name_nodes(model: ModelProto) -> None:
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}.{index}"
        taken.add(node.name)


def weighted_nodes(model: ModelProto) -> tuple[str, ...]:
    """Return the nodes that may be quantized or excluded, in the graph's order.

    A MatMul counts only with a constant right side: two activations carry no weights.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    return tuple(
        node.name
        for node in model.graph.node
        if node.op_type in WEIGHTED and node.input[1] in constants
    )


def fringe_nodes(model: ModelProto) -> tuple[str, ...]:
    """Return the nodes before every weighted node, and those behind every one: they stay float.

    They cost next to nothing. In front, an image is scaled; behind, one scale for boxes and scores
    (or for a softmax) would destroy the small ones.
    """
    weighted = set(weighted_nodes(model))
    fed: set[str] = set()
    fed_nodes: set[str] = set()
    for node in model.graph.node:
        if node.name in weighted or fed.intersection(node.input):
            fed.update(node.output)
            fed_nodes.add(node.name)
    needed: set[str] = set()
    inner: set[str] = set()
    for node in reversed(model.graph.node):
        if node.name in weighted or needed.intersection(node.output):
            needed.update(node.input)
            inner.add(node.name)
    inner &= fed_nodes
    return tuple(node.name for node in model.graph.node if node.name not in inner)


def keep_float(model: ModelProto, excluded: Iterable[str]) -> tuple[str, ...]:
    """Change `model` so that no runtime quantizes the excluded nodes; return the guards' names.

    A guard is a LeakyRelu behind the node: with slope 0 in the place of its Relu, else with slope
    1, which changes no value. The runtime fuses it into the Conv, so it costs nothing, but does not
    look through it for a QuantizeLinear.
    """
    wanted = set(excluded)
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in model.graph.output}
    guards: list[str] = []
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        nodes.append(node)
        if node.name not in wanted or node.op_type == "MatMul":
            continue
        behind = readers.get(node.output[0], [])
        if len(behind) == 1 and behind[0].op_type == "Relu" and node.output[0] not in outputs:
            relu = behind[0]
            relu.op_type = "LeakyRelu"
            relu.attribute.append(helper.make_attribute("alpha", 0.0))
            guards.append(relu.name)
            continue
        given = node.output[0]
        node.output[0] = f"{given}.float"
        guard = helper.make_node(
            "LeakyRelu", [f"{given}.float"], [given], name=f"{node.name}.guard", alpha=1.0
        )
        nodes.append(guard)
        guards.append(guard.name)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return tuple(guards)


def float_nodes(optimized: Path) -> tuple[str, ...]:
    """Return the Conv, Gemm and MatMul that still compute in float in an optimized graph.

    The runtime names a Gemm that it merged with its activation "fused" and the Gemm's name.
    """
    model = onnx.load(str(optimized))
    return tuple(
        node.name.removeprefix(_FUSED) for node in model.graph.node if node.op_type in _FLOAT_KINDS
    )
