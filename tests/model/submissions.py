"""A small submission that passes, and the ways to spoil one part of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgefleet.edge.contract import Card, TensorSpec
from edgefleet.errors import Refused
from edgefleet.model.export import Conv, Dense, Params, to_onnx
from edgefleet.model.submission import CALIBRATION, GOLDEN, VALIDATION, DataSets, check, write
from edgefleet.model.submitted_model import MOST_BYTES

INPUT = TensorSpec(name="image", dtype="uint8", shape=(1, 8, 8), low=0, high=255)
OUTPUT = TensorSpec(name="probabilities", dtype="float32", shape=(3,), low=0, high=1)
CARD = Card(
    model="small",
    version="",
    task="classification",
    metric="accuracy",
    labels=("round", "square", "long"),
    input=INPUT,
    output=OUTPUT,
)


def model(given: TensorSpec = INPUT) -> ModelProto:
    rng = np.random.default_rng(1)
    params = Params(
        scale=1 / 255,
        mean=np.full((1, 1, 1), 0.5, np.float32),
        deviation=np.full((1, 1, 1), 0.2, np.float32),
        convs=(
            Conv(rng.normal(0, 1, (4, 1, 3, 3)).astype(np.float32), np.zeros(4, np.float32), 2),
        ),
        dense=(Dense(rng.normal(0, 1, (4, 3)).astype(np.float32), np.zeros(3, np.float32)),),
    )
    return to_onnx(params, given, OUTPUT)


def sets() -> DataSets:
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (300, 1, 8, 8), dtype=np.uint8)
    return DataSets(images[:32], images[:200], rng.integers(0, 3, 200), images[:4])


def handed_in(folder: Path) -> Path:
    write(folder, model(), CARD, sets())
    return folder


# --- what can be wrong with it ----------------------------------------------------------------

Spoil = Callable[[Path], object]


def without(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def with_bytes(name: str, content: bytes) -> Spoil:
    return lambda folder: (folder / name).write_bytes(content)


def cut_to(name: str, share: float) -> Spoil:
    def spoil(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return spoil


def with_card(**fields: object) -> Spoil:
    return lambda folder: (folder / "card.json").write_bytes(
        msgspec.json.encode(msgspec.to_builtins(CARD) | fields)
    )


def with_input(**fields: object) -> Spoil:
    return with_card(input=msgspec.to_builtins(INPUT) | fields)


def with_output(**fields: object) -> Spoil:
    return with_card(output=msgspec.to_builtins(OUTPUT) | fields)


def with_set(name: str, **changed: object) -> Spoil:
    def spoil(folder: Path) -> None:
        with np.load(folder / name) as content:
            arrays = {key: content[key] for key in content} | changed
        np.savez(folder / name, **{k: np.asarray(v) for k, v in arrays.items() if v is not None})

    return spoil


def with_model(change: Callable[[ModelProto], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        changed = model()
        change(changed)
        (folder / "model.onnx").write_bytes(changed.SerializeToString())

    return spoil


def weight_of(changed: ModelProto, name: str) -> TensorProto:
    return next(weight for weight in changed.graph.initializer if weight.name == name)


def with_weight(name: str, value: float, at: int | slice) -> Spoil:
    def change(changed: ModelProto) -> None:
        weight = weight_of(changed, name)
        values = numpy_helper.to_array(weight).copy()
        values.reshape(-1)[at] = value
        weight.CopyFrom(numpy_helper.from_array(values, name))

    return with_model(change)


def with_constant_node(value: float) -> Spoil:
    def change(changed: ModelProto) -> None:
        weight = weight_of(changed, "dense1.bias")
        changed.graph.initializer.remove(weight)
        tensor = numpy_helper.from_array(np.float32([value, 0, 0]))
        node = helper.make_node("Constant", [], ["dense1.bias"], name="constant", value=tensor)
        changed.graph.node.insert(0, node)

    return with_model(change)


def move_a_weight_outside(changed: ModelProto) -> None:
    weight = weight_of(changed, "conv1.weight")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "weights.bin"


def use_an_unknown_operator(changed: ModelProto) -> None:
    changed.graph.node[3].op_type = "Dvi"


def set_opset(changed: ModelProto) -> None:
    changed.opset_import[0].version = 24


def set_ir(changed: ModelProto) -> None:
    changed.ir_version = 11


def fix_the_batch(changed: ModelProto) -> None:
    for value in (changed.graph.input[0], changed.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1


def rename_the_output(changed: ModelProto) -> None:
    changed.graph.node[-1].output[0] = changed.graph.output[0].name = "scores"


def add_an_output(changed: ModelProto) -> None:
    kind = TensorProto.FLOAT
    changed.graph.output.append(helper.make_tensor_value_info("dense1", kind, ["batch", 3]))


def end_with(kind: str, **attributes: object) -> Spoil:
    def change(changed: ModelProto) -> None:
        last = changed.graph.node[-1]
        last.CopyFrom(helper.make_node(kind, last.input, last.output, name="last", **attributes))

    return with_model(change)


def normalise_over_the_batch(changed: ModelProto) -> None:
    nodes = changed.graph.node
    mean = helper.make_node("ReduceMean", ["flat"], ["batch_mean"], name="mean_of_batch", axes=[0])
    nodes[-2].input[0] = "centred_features"
    less = helper.make_node("Sub", ["flat", "batch_mean"], ["centred_features"], name="less")
    last = [nodes.pop(), nodes.pop()]
    nodes.extend([mean, less, *reversed(last)])


def fix_a_shape_inside(changed: ModelProto) -> None:
    nodes = changed.graph.node
    shape = numpy_helper.from_array(np.array([32, 4], np.int64), "fixed")
    changed.graph.initializer.append(shape)
    nodes[-2].input[0] = "reshaped"
    node = helper.make_node("Reshape", ["flat", "fixed"], ["reshaped"], name="reshape")
    last = [nodes.pop(), nodes.pop()]
    nodes.extend([node, *reversed(last)])
    for value in list(changed.graph.value_info):
        changed.graph.value_info.remove(value)


def too_large(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        with (folder / name).open("r+b") as stream:
            stream.truncate(MOST_BYTES + 100_000_000)  # sparse: takes no room

    return spoil


def images(count: int, **how: object) -> np.ndarray:
    rng = np.random.default_rng(3)
    shape = how.get("shape", (1, 8, 8))
    assert isinstance(shape, tuple)
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8)


def with_floats(value: float, name: str) -> Spoil:
    """Turn the whole submission to float32 inputs, one of them `value`."""

    def spoil(folder: Path) -> None:
        given = msgspec.structs.replace(INPUT, dtype="float32")
        (folder / "model.onnx").write_bytes(model(given).SerializeToString())
        with_input(dtype="float32")(folder)
        for file in (CALIBRATION, VALIDATION, GOLDEN):
            with np.load(folder / file) as content:
                inputs = content["inputs"].astype(np.float32)
            if file == name:
                inputs[1, 0, 2, 2] = value
            with_set(file, inputs=inputs)(folder)

    return spoil


def one_bare_array(folder: Path) -> None:
    np.save(folder / "bare.npy", images(4))
    (folder / "bare.npy").replace(folder / GOLDEN)


@dataclass(frozen=True)
class Case:
    name: str
    spoil: Spoil
    subject: str
    problem: tuple[str, ...]
    remedy: str

    def holds(self, folder: Path) -> None:
        """Spoil a submission in `folder`, and see that its check names the flaw."""
        self.spoil(handed_in(folder))
        with pytest.raises(Refused) as caught:
            check(folder)
        assert self.subject == caught.value.subject
        for part in self.problem:
            assert part in caught.value.problem
        assert self.remedy in caught.value.remedy
