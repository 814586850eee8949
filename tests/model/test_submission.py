from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgefleet.errors import Refused
from edgefleet.model.submission import (
    CALIBRATION,
    FILES,
    GOLDEN,
    VALIDATION,
    Submission,
    check,
    gather_submission,
    load_sets,
)
from tests.model.submissions import (
    CARD,
    Case,
    cut_to,
    handed_in,
    images,
    model,
    one_bare_array,
    sets,
    too_large,
    with_bytes,
    with_card,
    with_floats,
    with_input,
    with_set,
    without,
)

MODEL = "model.onnx"
LABELS = np.random.default_rng(4).integers(0, 3, 200)
CASES = (
    *(
        Case(f"{name} missing", without(name), name, ("not in", "found 4 files"), "has 5 files")
        for name in FILES
    ),
    Case("set too large", too_large(VALIDATION), VALIDATION, ("2.1 GB",), "fewer inputs"),
    Case(
        "card is no JSON",
        with_bytes("card.json", b"{"),
        "card.json",
        ("cannot be read",),
        "Correct",
    ),
    Case("unknown task", with_card(task="segmentation"), "card.json", ("segmentation",), "Correct"),
    Case(
        "one label",
        with_card(labels=["round"]),
        "card.json",
        ("1, of them 1",),
        "at least two",
    ),
    Case(
        "a label twice",
        with_card(labels=["round", "square", "round"]),
        "card.json",
        ("3, of them 2",),
        "each once",
    ),
    Case(
        "more labels than outputs",
        with_card(labels=["round", "square", "long", "other"]),
        "card.json",
        ("(3,)", "4 labels"),
        "one label per output",
    ),
    Case(
        "an anomaly model with other labels",
        with_card(task="anomaly"),
        "card.json",
        ("round",),
        "('normal', 'anomaly')",
    ),
    Case("set is no npz", with_bytes(GOLDEN, b"PK"), GOLDEN, ("2 bytes",), "np.savez"),
    Case("set cut short", cut_to(VALIDATION, 0.5), VALIDATION, ("bytes",), "np.savez"),
    Case(
        "one bare array",
        one_bare_array,
        GOLDEN,
        ("cannot be read",),
        "np.savez",
    ),
    Case(
        "pickled objects",
        with_set(GOLDEN, inputs=np.array([{}, {}], object)),
        GOLDEN,
        ("cannot be read",),
        "np.savez",
    ),
    Case(
        "labels missing",
        with_set(VALIDATION, labels=None),
        VALIDATION,
        ("holds inputs, lacks labels",),
        "labels=...",
    ),
    Case("a single number", with_set(GOLDEN, inputs=3), GOLDEN, ("one number",), "[n, ...]"),
    Case(
        "empty calibration",
        with_set(CALIBRATION, inputs=images(0)),
        CALIBRATION,
        ("0 inputs", "32"),
        "Add",
    ),
    Case(
        "31 for calibration",
        with_set(CALIBRATION, inputs=images(31)),
        CALIBRATION,
        ("31 inputs", "32"),
        "Add",
    ),
    Case(
        "199 for validation",
        with_set(VALIDATION, inputs=images(199), labels=LABELS[:199]),
        VALIDATION,
        ("199 inputs", "200"),
        "Add",
    ),
    Case("3 golden", with_set(GOLDEN, inputs=images(3)), GOLDEN, ("3 inputs", "4"), "Add"),
    Case("257 golden", with_set(GOLDEN, inputs=images(257)), GOLDEN, ("257", "256"), "fewer"),
    Case(
        "golden all the same",
        with_set(GOLDEN, inputs=np.repeat(images(1), 5, axis=0)),
        GOLDEN,
        ("all 5",),
        "differ",
    ),
    Case(
        "inputs of another type",
        with_set(CALIBRATION, inputs=images(40).astype(np.float32)),
        CALIBRATION,
        ("float32", "uint8"),
        "Store uint8",
    ),
    Case(
        "inputs of another shape",
        with_set(GOLDEN, inputs=images(8, shape=(8, 8))),
        GOLDEN,
        ("(8, 8)", "(1, 8, 8)"),
        "card",
    ),
    Case(
        "values above the card's",
        with_input(high=100),
        CALIBRATION,
        ("to 255", "100"),
        "range",
    ),
    Case("values below the card's", with_input(low=5), CALIBRATION, ("from 0", "5.0"), "range"),
    Case(
        "NaN among the inputs",
        with_floats(np.nan, VALIDATION),
        VALIDATION,
        ("1 values are NaN",),
        "Remove",
    ),
    Case(
        "infinity among the golden inputs",
        with_floats(np.inf, GOLDEN),
        GOLDEN,
        ("1 values",),
        "Remove",
    ),
    Case(
        "labels too high",
        with_set(VALIDATION, labels=LABELS + 1),
        VALIDATION,
        ("from 1 to 3", "names 3: 0 to 2"),
        "Correct",
    ),
    Case(
        "labels below zero",
        with_set(VALIDATION, labels=LABELS - 1),
        VALIDATION,
        ("from -1 to 1",),
        "Correct",
    ),
    Case(
        "one label too few",
        with_set(VALIDATION, labels=LABELS[1:]),
        VALIDATION,
        ("199 labels for 200",),
        "One label per input",
    ),
    Case(
        "labels of one class",
        with_set(VALIDATION, labels=LABELS * 0 + 2),
        VALIDATION,
        ("all 200 labels are 2",),
        "other classes",
    ),
    Case(
        "labels as names",
        with_set(VALIDATION, labels=np.array(CARD.labels)[LABELS]),
        VALIDATION,
        ("200 labels of type <U6",),
        "int64",
    ),
    Case(
        "labels as probabilities",
        with_set(VALIDATION, labels=LABELS / 3),
        VALIDATION,
        ("200 labels of type float64",),
        "int64",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_flaw_of_card_or_sets_is_refused_with_subject_numbers_and_remedy(
    case: Case, tmp_path: Path
) -> None:
    case.holds(tmp_path)


def test_what_is_whole_passes_and_is_counted(tmp_path: Path) -> None:
    expected = Submission(tmp_path, CARD, calibration=32, validation=200, golden=4)
    assert expected == check(handed_in(tmp_path))


def test_the_sets_come_back_as_they_were_written(tmp_path: Path) -> None:
    found, expected = load_sets(handed_in(tmp_path)), sets()
    assert np.array_equal(expected.calibration, found.calibration)
    assert np.array_equal(expected.validation, found.validation)
    assert np.array_equal(expected.validation_labels, found.validation_labels)
    assert np.array_equal(expected.golden, found.golden)


def test_written_twice_every_file_has_the_same_bytes(tmp_path: Path) -> None:
    one, two = handed_in(tmp_path / "one"), handed_in(tmp_path / "two")
    for name in FILES:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_nothing_is_changed_by_a_check(tmp_path: Path) -> None:
    before = {name: (handed_in(tmp_path) / name).read_bytes() for name in FILES}
    check(tmp_path)
    assert before == {name: (tmp_path / name).read_bytes() for name in FILES}
    assert onnx.load(str(tmp_path / MODEL)) == model()


@pytest.mark.parametrize("below", ["", "data/"])
def test_a_model_and_its_data_folder_make_the_same_submission(tmp_path: Path, below: str) -> None:
    whole = handed_in(tmp_path / "whole")
    data = tmp_path / "mine"
    (data / below).mkdir(parents=True)
    (whole / "card.json").rename(data / "card.json")
    for name in (CALIBRATION, VALIDATION, GOLDEN):
        (whole / name).rename(data / below / Path(name).name)
    made = tmp_path / "made"
    gather_submission(whole / "model.onnx", data, made)
    assert sorted(FILES) == sorted(
        str(file.relative_to(made)) for file in made.rglob("*") if file.is_file()
    )
    check(made)


def test_a_set_that_is_missing_from_the_data_folder_is_named(tmp_path: Path) -> None:
    whole = handed_in(tmp_path / "whole")
    (whole / GOLDEN).unlink()
    made = tmp_path / "made"
    gather_submission(whole / "model.onnx", whole, made)
    with pytest.raises(Refused, match=r"golden\.npz"):
        check(made)
