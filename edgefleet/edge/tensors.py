"""The Open Inference Protocol V2: requests to arrays and arrays to answers, JSON and binary.

Pure: bytes in, values out. Everything that does not fit the model's card is declined with a
message that names what was expected and what came.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec
import numpy as np

from edgefleet.edge.contract import Card, TensorSpec
from edgefleet.edge.errors import Declined
from edgefleet.edge.slots import Tensor

DATATYPES: Final = {"uint8": "UINT8", "float32": "FP32"}


class Parameters(msgspec.Struct, frozen=True):
    """The binary tensor extension's parameters; others are ignored."""

    binary_data_size: int | None = None
    binary_data: bool | None = None
    binary_data_output: bool = False


class InputTensor(msgspec.Struct, frozen=True):
    """One input of a request."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: Parameters = Parameters()
    data: list[Any] | None = None


class RequestedOutput(msgspec.Struct, frozen=True):
    """One output that is asked for."""

    name: str
    parameters: Parameters = Parameters()


class InferRequest(msgspec.Struct, frozen=True):
    """The JSON part of an inference request."""

    inputs: tuple[InputTensor, ...]
    id: str | None = None
    parameters: Parameters = Parameters()
    outputs: tuple[RequestedOutput, ...] = ()


_REQUEST: Final = msgspec.json.Decoder(InferRequest)


def parse_infer(body: bytes, header_length: int | None) -> tuple[InferRequest, bytes]:
    """Return the JSON part and the binary rest; `header_length` None: all of it is JSON.

    Raises:
        Declined: the JSON part does not parse or is longer than the body.
    """
    if header_length is not None and not 0 < header_length <= len(body):
        problem = f"Inference-Header-Content-Length {header_length} of a body of {len(body)} bytes"
        raise Declined(400, problem)
    end = len(body) if header_length is None else header_length
    try:
        return _REQUEST.decode(body[:end]), body[end:]
    except msgspec.DecodeError as error:
        raise Declined(400, f"the request is not a V2 inference request: {error}") from error


def input_batch(request: InferRequest, binary: bytes, card: Card, max_batch: int) -> Tensor:
    """Return the one input tensor, [batch, *card.input.shape].

    Raises:
        Declined: name, datatype, shape, number of values or size is not the card's.
    """
    spec = card.input
    if len(request.inputs) != 1 or request.inputs[0].name != spec.name:
        names = [item.name for item in request.inputs]
        raise Declined(400, f"inputs {names}: expected exactly one, named {spec.name!r}")
    tensor = request.inputs[0]
    if tensor.datatype != DATATYPES[spec.dtype]:
        raise Declined(
            400, f"input {spec.name!r} has datatype {tensor.datatype}, not {DATATYPES[spec.dtype]}"
        )
    if tensor.shape[1:] != spec.shape or tensor.shape[0] < 1:
        expected = ["batch", *spec.shape]
        raise Declined(400, f"input {spec.name!r} has shape {list(tensor.shape)}, not {expected}")
    if tensor.shape[0] > max_batch:
        raise Declined(400, f"batch of {tensor.shape[0]}: at most {max_batch} at once")
    size = tensor.parameters.binary_data_size
    if size is None:
        if binary:
            raise Declined(400, f"{len(binary)} bytes of binary data that no input claims")
        return _from_values(tensor, spec)
    if tensor.data is not None:
        raise Declined(400, f"input {spec.name!r} has both data and binary_data_size")
    if size != len(binary):
        raise Declined(400, f"binary_data_size {size}, but {len(binary)} bytes came")
    return from_bytes(binary, spec, tensor.shape[0])


def from_bytes(content: bytes, spec: TensorSpec, batch: int) -> Tensor:
    """Return little-endian bytes as an array [batch, *spec.shape].

    Raises:
        Declined: there are too many or too few.
    """
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    expected = batch * math.prod(spec.shape) * dtype.itemsize
    if len(content) != expected:
        wanted = f"{expected} bytes ({spec.dtype}{[batch, *spec.shape]})"
        raise Declined(400, f"{len(content)} bytes came, expected {wanted}")
    return np.frombuffer(content, dtype).reshape(batch, *spec.shape)


def wants_binary(request: InferRequest, card: Card) -> bool:
    """Say whether the output is to be sent as bytes.

    Raises:
        Declined: an output is asked for that the model does not have.
    """
    for output in request.outputs:
        if output.name != card.output.name:
            raise Declined(400, f"output {output.name!r}: the model has only {card.output.name!r}")
        if output.parameters.binary_data is not None:
            return output.parameters.binary_data
    return request.parameters.binary_data_output


def infer_response(
    outputs: Tensor, card: Card, request_id: str, *, binary: bool
) -> tuple[bytes, int | None]:
    """Return the body, and the length of its JSON part if bytes follow it (else None)."""
    spec = card.output
    content = outputs.astype(np.dtype(spec.dtype).newbyteorder("<"), copy=False).tobytes()
    tensor: dict[str, object] = {
        "name": spec.name,
        "datatype": DATATYPES[spec.dtype],
        "shape": outputs.shape,
    }
    if binary:
        tensor["parameters"] = {"binary_data_size": len(content)}
    else:
        tensor["data"] = outputs.ravel().tolist()
    answer = {
        "model_name": card.model,
        "model_version": card.version,
        "id": request_id,
        "outputs": [tensor],
    }
    head = msgspec.json.encode(answer)
    return (head + content, len(head)) if binary else (head, None)


def metadata(card: Card) -> dict[str, object]:
    """Return the model metadata of `GET /v2/models/{name}`."""

    def described(spec: TensorSpec) -> dict[str, object]:
        return {"name": spec.name, "datatype": DATATYPES[spec.dtype], "shape": [-1, *spec.shape]}

    return {
        "name": card.model,
        "versions": [card.version],
        "platform": "onnxruntime_onnx",
        "inputs": [described(card.input)],
        "outputs": [described(card.output)],
    }


def _from_values(tensor: InputTensor, spec: TensorSpec) -> Tensor:
    """Return JSON values, nested or flat, as an array; nothing is rounded, cut or wrapped."""
    if tensor.data is None:
        raise Declined(400, f"input {spec.name!r} has neither data nor binary_data_size")
    try:
        values = np.asarray(tensor.data)
        kinds = "iu" if spec.dtype == "uint8" else "iuf"
        if values.dtype.kind not in kinds:
            problem = f"holds values of another kind than {spec.dtype}"
            raise Declined(400, f"input {spec.name!r} {problem}")
        if values.size != math.prod(tensor.shape):
            problem = f"has {values.size} values for shape {list(tensor.shape)}"
            raise Declined(400, f"input {spec.name!r} {problem}")
        if spec.dtype == "uint8" and (values.min() < 0 or values.max() > np.iinfo(np.uint8).max):
            problem = f"has values from {values.min()} to {values.max()}, a uint8 is 0 to 255"
            raise Declined(400, f"input {spec.name!r} {problem}")
        return values.astype(spec.dtype).reshape(tensor.shape)
    except (ValueError, OverflowError, TypeError) as error:
        raise Declined(400, f"input {spec.name!r}: {error}") from error
