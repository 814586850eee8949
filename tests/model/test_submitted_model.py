from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import ModelProto, helper

from edgefleet.model.submission import GOLDEN, check
from tests.model.submissions import (
    CARD,
    INPUT,
    Case,
    add_an_output,
    cut_to,
    end_with,
    fix_a_shape_inside,
    fix_the_batch,
    handed_in,
    model,
    move_a_weight_outside,
    normalise_over_the_batch,
    rename_the_output,
    set_ir,
    set_opset,
    too_large,
    use_an_unknown_operator,
    with_bytes,
    with_constant_node,
    with_floats,
    with_input,
    with_model,
    with_output,
    with_weight,
)

MODEL = "model.onnx"
CASES = (
    Case("model cut short", cut_to(MODEL, 0.6), MODEL, ("bytes", "no valid ONNX"), "again"),
    Case("model empty", with_bytes(MODEL, b""), MODEL, ("0 bytes", "no valid"), "again"),
    Case("model is text", with_bytes(MODEL, b"<html>"), MODEL, ("6 bytes",), "again"),
    Case("unknown operator", with_model(use_an_unknown_operator), MODEL, ("Dvi",), "again"),
    Case(
        "weights outside",
        with_model(move_a_weight_outside),
        MODEL,
        ("1 weights", "conv1.weight"),
        "save_as_external_data=False",
    ),
    Case(
        "NaN weight",
        with_weight("conv1.weight", np.nan, 0),
        f"{MODEL}: weight conv1.weight",
        ("1 of 36",),
        "learning rate",
    ),
    Case(
        "infinite weights",
        with_weight("dense1.bias", np.inf, slice(0, 2)),
        f"{MODEL}: weight dense1.bias",
        ("2 of 3",),
        "learning rate",
    ),
    Case(
        "NaN in a constant node",
        with_constant_node(np.nan),
        f"{MODEL}: weight constant",
        ("1 of 3",),
        "learning rate",
    ),
    Case("opset too new", with_model(set_opset), MODEL, ("opset 24", "21"), "opset 17"),
    Case("IR too new", with_model(set_ir), MODEL, ("IR version 11", "10"), "ir_version 10"),
    Case(
        "input of another name",
        with_input(name="picture"),
        f"{MODEL}: input",
        ("has 1: image", "picture"),
        "One input",
    ),
    Case(
        "output of another name",
        with_model(rename_the_output),
        f"{MODEL}: output",
        ("has 1: scores", "probabilities"),
        "One output",
    ),
    Case(
        "two outputs",
        with_model(add_an_output),
        f"{MODEL}: output",
        ("has 2: probabilities, dense1",),
        "One output",
    ),
    Case(
        "input of another type",
        lambda folder: (folder / MODEL).write_bytes(
            model(msgspec.structs.replace(INPUT, dtype="float32")).SerializeToString()
        ),
        f"{MODEL}: input image",
        ("is float", "uint8"),
        "card",
    ),
    Case(
        "input of another shape",
        lambda folder: (folder / MODEL).write_bytes(
            model(msgspec.structs.replace(INPUT, shape=(1, 16, 16))).SerializeToString()
        ),
        f"{MODEL}: input image",
        ("(1, 16, 16)", "(1, 8, 8)"),
        "card",
    ),
    Case(
        "output of another type",
        with_output(dtype="uint8"),
        f"{MODEL}: output probabilities",
        ("is float", "uint8"),
        "card",
    ),
    Case(
        "output of another shape",
        with_output(shape=[4]),
        f"{MODEL}: output probabilities",
        ("(3,)", "(4,)"),
        "card",
    ),
    Case(
        "fixed batch",
        with_model(fix_the_batch),
        f"{MODEL}: input image",
        ("fixed to 1",),
        "dynamic batch",
    ),
    Case(
        "fixed shape inside",
        with_model(fix_a_shape_inside),
        MODEL,
        ("64 inputs", "reshape"),
        "shape in the graph",
    ),
    Case(
        "a norm over the batch",
        with_model(normalise_over_the_batch),
        MODEL,
        ("changes by up to 0.",),
        "evaluation mode",
    ),
    Case("no probabilities", end_with("Identity"), MODEL, ("answers from -", "sum to"), "Softmax"),
    Case(
        "sigmoid instead of softmax",
        end_with("Sigmoid"),
        MODEL,
        ("answers from 0", "sum to"),
        "Softmax",
    ),
    Case(
        "constant answer",
        with_weight("dense1.weight", 0.0, slice(None)),
        MODEL,
        ("same answer to 64",),
        "connected",
    ),
    Case("model too large", too_large(MODEL), MODEL, ("2.1 GB", "2 GB"), "smaller"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_flaw_of_the_model_is_refused_with_subject_numbers_and_remedy(
    case: Case, tmp_path: Path
) -> None:
    case.holds(tmp_path)


def test_weights_listed_among_the_inputs_as_older_exporters_do_are_no_flaw(tmp_path: Path) -> None:
    def change(changed: ModelProto) -> None:
        for weight in changed.graph.initializer:
            kind = helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
            changed.graph.input.append(kind)

    with_model(change)(handed_in(tmp_path))
    assert check(tmp_path).card == CARD


def test_float_inputs_are_no_flaw(tmp_path: Path) -> None:
    with_floats(0.5, GOLDEN)(handed_in(tmp_path))
    assert check(tmp_path).card.input.dtype == "float32"
