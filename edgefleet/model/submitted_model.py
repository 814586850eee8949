"""The checks on the ONNX file of a submission: loadable on an old edge runtime, and as its card."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, ValueInfoProto, numpy_helper

from edgefleet.edge.contract import MODEL_FILE, Card, TensorSpec
from edgefleet.errors import Refused
from edgefleet.model.evaluate import Samples, open_session, predict

MOST_OPSET: Final = 21
MOST_IR: Final = 10
MOST_BYTES: Final = 2_000_000_000
_TYPES: Final = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
_INVALID: Final = (
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    ValueError,
    RuntimeError,
)
_SUM_TOLERANCE: Final = 1e-2
_BATCH_TOLERANCE: Final = 1e-3
_TRIED: Final = 64
_ALONE: Final = 8


def check_model(path: Path, card: Card, samples: Samples) -> None:
    """Check a model file against its card; `samples` are inputs of shape [n, ...].

    Raises:
        Refused: it does not load, or is not what the card says.
    """
    model = _loaded(path)
    _check_weights(model)
    weights = {weight.name for weight in model.graph.initializer}
    # Older exporters list the weights among the inputs.
    inputs = [value for value in model.graph.input if value.name not in weights]
    _check_tensor("input", inputs, card.input)
    _check_tensor("output", list(model.graph.output), card.output)
    if card.output.shape != (len(card.labels),):
        raise Refused(
            "card.json",
            f"output of shape {card.output.shape} for {len(card.labels)} labels",
            "Name one label per output",
        )
    _check_answers(path, samples[:_TRIED])


def _loaded(path: Path) -> ModelProto:
    try:
        model = onnx.load_model(path, load_external_data=False)
        _check_versions(model)
        _check_whole(model)
        onnx.checker.check_model(model, full_check=True)
    except (DecodeError, *_INVALID) as error:
        first = next(iter(str(error).strip().splitlines()), "empty or cut short")
        raise Refused(
            MODEL_FILE,
            f"{path.stat().st_size} bytes that are no valid ONNX model: {first}",
            "Export it again, in one file",
        ) from error
    return model


def _check_versions(model: ModelProto) -> None:
    opset = next((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), 0)
    if opset > MOST_OPSET or model.ir_version > MOST_IR:
        raise Refused(
            MODEL_FILE,
            f"opset {opset} and IR version {model.ir_version}, the edge loads up to "
            f"{MOST_OPSET} and {MOST_IR}",
            "Export with opset 17 and ir_version 10",
        )


def _check_whole(model: ModelProto) -> None:
    outside = [name for name, weight in _weights(model) if weight.external_data]
    if outside:
        raise Refused(
            MODEL_FILE,
            f"{len(outside)} weights lie in other files ({outside[0]}, ...)",
            "Save it with save_as_external_data=False",
        )


def _check_weights(model: ModelProto) -> None:
    for name, weight in _weights(model):
        values = numpy_helper.to_array(weight)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise Refused(
                f"{MODEL_FILE}: weight {name}",
                f"{bad} of {values.size} values are NaN or infinite",
                "Train it again with a lower learning rate",
            )


def _weights(model: ModelProto) -> Iterator[tuple[str, TensorProto]]:
    """Yield initializers, and the constants that some exporters write as nodes."""
    for weight in model.graph.initializer:
        yield weight.name, weight
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield node.name or node.output[0], attribute.t


def _check_tensor(side: str, found: list[ValueInfoProto], spec: TensorSpec) -> None:
    named = {value.name: value for value in found}
    if set(named) != {spec.name}:
        raise Refused(
            f"{MODEL_FILE}: {side}",
            f"has {len(named)}: {', '.join(named) or 'none'}; the card says {spec.name}",
            f"One {side} of the card's name",
        )
    tensor = named[spec.name].type.tensor_type
    if tensor.elem_type != _TYPES[spec.dtype]:
        kind = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise Refused(
            f"{MODEL_FILE}: {side} {spec.name}",
            f"is {kind}, the card says {spec.dtype}",
            "Correct the card or export again",
        )
    dims = tensor.shape.dim
    shape = tuple(dim.dim_value for dim in dims)
    if shape[1:] != spec.shape:
        raise Refused(
            f"{MODEL_FILE}: {side} {spec.name}",
            f"has shape {shape[1:]} after the batch, the card says {spec.shape}",
            "Correct the card or export again",
        )
    if not dims or dims[0].dim_value:
        raise Refused(
            f"{MODEL_FILE}: {side} {spec.name}",
            f"the batch is fixed to {dims[0].dim_value if dims else 1}",
            "Export with a dynamic batch dimension",
        )


def _check_answers(path: Path, samples: Samples) -> None:
    session = open_session(path)
    try:
        answers = predict(session, samples)
        alone = predict(session, samples[:_ALONE], batch=1)
    except Exception as error:  # the runtime's errors share no other base class
        raise Refused(
            MODEL_FILE,
            f"onnxruntime cannot run it on {len(samples)} inputs: {error}",
            "Check the export with these inputs: a shape in the graph may be fixed",
        ) from error
    sums = answers.sum(axis=1)
    if (
        not np.isfinite(answers).all()
        or np.abs(sums - 1).max() > _SUM_TOLERANCE
        or (answers.min() < -_SUM_TOLERANCE)
    ):
        raise Refused(
            MODEL_FILE,
            f"answers from {answers.min():.3g} to {answers.max():.3g} that sum to "
            f"{sums.min():.3g} to {sums.max():.3g}: no probabilities",
            "End the graph with a Softmax",
        )
    if np.ptp(answers, axis=0).max() == 0:
        raise Refused(
            MODEL_FILE,
            f"gives the same answer to {len(samples)} different inputs",
            "Check the export: the input may not be connected",
        )
    apart = float(np.abs(answers[: len(alone)] - alone).max())
    if apart > _BATCH_TOLERANCE:
        raise Refused(
            MODEL_FILE,
            f"an input's answer changes by up to {apart:.3g} with the inputs beside it",
            "Export in evaluation mode: a norm over the batch may still be active",
        )
