"""A model as it is handed in: one folder with the model, its card and three data sets.

    model.onnx  card.json  data/calibration.npz {inputs}
    data/validation.npz {inputs, labels}  data/golden.npz {inputs}

`check` refuses whatever would only show later, on a node. Nothing is repaired here.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from edgefleet.edge.contract import CARD_FILE, MODEL_FILE, Card, TensorSpec
from edgefleet.errors import Refused
from edgefleet.model.evaluate import Samples, open_session, predict, right
from edgefleet.model.submitted_model import MOST_BYTES, check_model

CALIBRATION: Final = "data/calibration.npz"
VALIDATION: Final = "data/validation.npz"
GOLDEN: Final = "data/golden.npz"
FILES: Final = (MODEL_FILE, CARD_FILE, CALIBRATION, VALIDATION, GOLDEN)

_LEAST: Final = {CALIBRATION: 32, VALIDATION: 200, GOLDEN: 4}
_MOST_GOLDEN: Final = 256
_ANOMALY_LABELS: Final = ("normal", "anomaly")
_FIXED_TIME: Final = (1980, 1, 1, 0, 0, 0)

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class DataSets:
    """Inputs as the card describes them, shape [n, ...]; labels int64 [n]."""

    calibration: Samples
    validation: Samples
    validation_labels: NDArray[np.int64]
    golden: Samples


@dataclass(frozen=True, slots=True)
class Submission:
    """A checked folder."""

    folder: Path
    card: Card
    calibration: int
    validation: int
    golden: int


def fresh_card(
    model: str,
    task: Literal["classification", "anomaly"],
    labels: tuple[str, ...],
    given: TensorSpec,
) -> Card:
    """Return the card of a model that answers with probabilities and has no version yet."""
    answer = TensorSpec(name="probabilities", dtype="float32", shape=(len(labels),), low=0, high=1)
    return Card(
        model=model,
        version="",
        task=task,
        metric="accuracy",
        labels=labels,
        input=given,
        output=answer,
    )


def write(folder: Path, model: onnx.ModelProto, card: Card, sets: DataSets) -> None:
    """Write a submission folder; the same arguments give the same bytes."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))
    (folder / CARD_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(card)) + b"\n")
    _write_set(folder / CALIBRATION, inputs=sets.calibration)
    _write_set(folder / VALIDATION, inputs=sets.validation, labels=sets.validation_labels)
    _write_set(folder / GOLDEN, inputs=sets.golden)


def load_sets(folder: Path) -> DataSets:
    """Return the data sets of a folder.

    Raises:
        Refused: a set is missing, unreadable, or lacks an array.
    """
    validation = _read(folder, VALIDATION, "inputs", "labels")
    labels = validation["labels"]
    if labels.dtype.kind not in "iu":
        raise Refused(
            VALIDATION,
            f"{labels.size} labels of type {labels.dtype}: classes are whole numbers from 0",
            "Store the index of each label in the card's list, as int64",
        )
    return DataSets(
        calibration=_read(folder, CALIBRATION, "inputs")["inputs"],
        validation=validation["inputs"],
        validation_labels=labels.astype(np.int64),
        golden=_read(folder, GOLDEN, "inputs")["inputs"],
    )


def gather_submission(model: Path, data: Path, folder: Path) -> None:
    """Copy an ONNX file, its card and its sets into one submission folder.

    The sets lie in `data` itself or in `data`/data. What is missing is left out: `check` names it.
    """
    (folder / CALIBRATION).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model, folder / MODEL_FILE)
    for name in (CARD_FILE, CALIBRATION, VALIDATION, GOLDEN):
        for source in (data / name, data / Path(name).name):
            if source.is_file():
                shutil.copyfile(source, folder / name)
                break


def check(folder: Path) -> Submission:
    """Return what a folder holds; refused as by `check_sets`."""
    return check_sets(folder)[0]


def check_sets(folder: Path) -> tuple[Submission, DataSets]:
    """Return what a folder holds, and its sets, which the check has read.

    Raises:
        Refused: something is missing or does not fit the card; subject, numbers, remedy.
    """
    for name in FILES:
        if not (folder / name).is_file():
            there = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
            raise Refused(
                name,
                f"not in {folder} (found {len(there)} files: {', '.join(there[:8]) or 'none'})",
                f"A submission has {len(FILES)} files: {', '.join(FILES)}",
            )
        size = (folder / name).stat().st_size
        if size > MOST_BYTES:
            raise Refused(
                name,
                f"{size / 1e9:.1f} GB, at most {MOST_BYTES / 1e9:g} GB",
                "Hand in a smaller model, or fewer inputs",
            )
    card = _card(folder)
    sets = load_sets(folder)
    for name, inputs in (
        (CALIBRATION, sets.calibration),
        (VALIDATION, sets.validation),
        (GOLDEN, sets.golden),
    ):
        _check_inputs(name, inputs, card)
    _check_labels(sets, card)
    _check_golden(sets.golden)
    check_model(folder / MODEL_FILE, card, sets.validation)
    sizes = (len(sets.calibration), len(sets.validation), len(sets.golden))
    return Submission(folder, card, *sizes), sets


def checked_metrics(folder: Path) -> dict[str, float]:
    """Check a folder; return what is registered with it: its score on its own validation set.

    Raises:
        Refused: as `check`.
    """
    found, sets = check_sets(folder)
    answers = predict(open_session(folder / MODEL_FILE), sets.validation)
    return {found.card.metric: float(right(answers, sets.validation_labels).mean())}


def _card(folder: Path) -> Card:
    try:
        card = msgspec.json.decode((folder / CARD_FILE).read_bytes(), type=Card)
    except msgspec.MsgspecError as error:
        raise Refused(
            CARD_FILE, f"cannot be read: {error}", "Correct the field it names"
        ) from error
    if len(card.labels) < 2 or len(set(card.labels)) != len(card.labels):  # noqa: PLR2004 - a choice
        raise Refused(
            CARD_FILE,
            f"labels {card.labels}: {len(card.labels)}, of them {len(set(card.labels))} different",
            "Name at least two labels, each once",
        )
    if card.task == "anomaly" and card.labels != _ANOMALY_LABELS:
        raise Refused(
            CARD_FILE,
            f"task anomaly with labels {card.labels}",
            f"An anomaly model has the labels {_ANOMALY_LABELS}, in this order",
        )
    return card


def _check_inputs(name: str, inputs: Array, card: Card) -> None:
    spec = card.input
    if len(inputs) < _LEAST[name]:
        raise Refused(
            name,
            f"{len(inputs)} inputs, at least {_LEAST[name]} needed",
            "Add inputs: fewer would measure nothing",
        )
    if inputs.dtype != np.dtype(spec.dtype):
        raise Refused(
            name, f"inputs are {inputs.dtype}, the card says {spec.dtype}", f"Store {spec.dtype}"
        )
    if inputs.shape[1:] != spec.shape:
        raise Refused(
            name,
            f"inputs have shape {inputs.shape[1:]} each, the card says {spec.shape}",
            "Correct the set or the card",
        )
    bad = inputs.size - int(np.isfinite(inputs).sum())
    if bad:
        raise Refused(name, f"{bad} values are NaN or infinite", "Remove these inputs")
    low, high = float(inputs.min()), float(inputs.max())
    if (spec.low is not None and low < spec.low) or (spec.high is not None and high > spec.high):
        raise Refused(
            name,
            f"values from {low:g} to {high:g}, the card says {spec.low} to {spec.high}",
            "Correct the set or the card's range",
        )


def _check_labels(sets: DataSets, card: Card) -> None:
    labels, inputs = sets.validation_labels, sets.validation
    if labels.shape != (len(inputs),):
        raise Refused(
            VALIDATION, f"{labels.size} labels for {len(inputs)} inputs", "One label per input"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(card.labels):
        raise Refused(
            VALIDATION,
            f"labels from {low} to {high}, the card names {len(card.labels)}: 0 to "
            f"{len(card.labels) - 1}",
            "Correct the labels or the card",
        )
    if low == high:
        raise Refused(
            VALIDATION, f"all {len(labels)} labels are {low}", "Add inputs of other classes"
        )


def _check_golden(golden: Array) -> None:
    if len(golden) > _MOST_GOLDEN:
        raise Refused(
            GOLDEN,
            f"{len(golden)} inputs, at most {_MOST_GOLDEN}",
            "Every node runs it: take fewer",
        )
    if (golden == golden[:1]).all():
        raise Refused(GOLDEN, f"all {len(golden)} inputs are the same", "Take inputs that differ")


def _read(folder: Path, name: str, *arrays: str) -> dict[str, Array]:
    try:
        # Opened here: np.load leaves a file open when it turns out to be cut short.
        with (
            (folder / name).open("rb") as stream,
            np.load(stream, allow_pickle=False) as content,
        ):
            missing = [array for array in arrays if array not in content]
            if missing:
                raise Refused(
                    name,
                    f"holds {', '.join(content) or 'nothing'}, lacks {', '.join(missing)}",
                    f"Save it with np.savez(..., {', '.join(f'{a}=...' for a in arrays)})",
                )
            found = {array: content[array] for array in arrays}
    # A file of one bare array (np.save) is no context: TypeError.
    except (OSError, ValueError, TypeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        size = (folder / name).stat().st_size if (folder / name).exists() else 0
        raise Refused(
            name, f"{size} bytes that cannot be read: {error}", "Save it again with np.savez"
        ) from error
    for array, content in found.items():
        if content.ndim == 0:
            raise Refused(
                name,
                f"{array} is one number, not one per example",
                "Store arrays of shape [n, ...]",
            )
    return found


def _write_set(path: Path, **arrays: Array) -> None:
    """Write an npz without times, so that equal sets are equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", _FIXED_TIME)
            with archive.open(entry, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
