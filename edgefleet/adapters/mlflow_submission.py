"""What a submission folder is in MLflow: which file lies where, its digests, and its model page."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from edgefleet.edge.contract import CARD_FILE, MODEL_FILE, Card, TensorSpec
from edgefleet.errors import Refused

MODEL_DIR: Final = "model"
"""Of a run's artifacts: what MLflow itself can load."""
_REST_DIR: Final = "submission"


def read_card(folder: Path) -> Card:
    """Return the card of a submission.

    Raises:
        Refused: the model or the card is missing, or the card does not parse.
    """
    remedy = "Hand in a whole submission folder: model, card and data sets"
    if not (folder / MODEL_FILE).is_file():
        raise Refused(str(folder), f"holds no {MODEL_FILE}", remedy)
    try:
        return msgspec.json.decode((folder / CARD_FILE).read_bytes(), type=Card)
    except (OSError, msgspec.MsgspecError) as error:
        raise Refused(str(folder / CARD_FILE), str(error), remedy) from error


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a submission, by its path in the folder."""
    names = (
        MODEL_FILE,
        CARD_FILE,
        *(f"data/{file.name}" for file in (folder / "data").glob("*.npz")),
    )
    return {name: sha256(folder / name) for name in sorted(names)}


def sha256(file: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content(files: Mapping[str, str]) -> str:
    """Return one digest over names and digests: the identity of a submission."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def place(name: str) -> str:
    """Return where a submission's file lies among a run's artifacts."""
    return f"{MODEL_DIR if name == MODEL_FILE else _REST_DIR}/{name}"


def params(card: Card) -> Mapping[str, str]:
    """Return what a run's page shows of the card."""
    return {
        "task": card.task,
        "classes": str(len(card.labels)),
        "input": _text(card.input),
        "output": _text(card.output),
    }


def write_mlflow_model(folder: Path, submission: Path, card: Card) -> None:
    """Write an ONNX model as MLflow keeps it: the same bytes in one file, and its signature."""
    import numpy as np  # noqa: PLC0415 - seconds in all; only a registration needs them
    import onnx  # noqa: PLC0415 - as above
    from mlflow.models import ModelSignature  # noqa: PLC0415 - as above
    from mlflow.onnx import save_model  # noqa: PLC0415 - as above
    from mlflow.types import Schema  # noqa: PLC0415 - as above
    from mlflow.types import TensorSpec as Column  # noqa: PLC0415 - as above

    def schema(spec: TensorSpec) -> Schema:
        return Schema([Column(np.dtype(spec.dtype), (-1, *spec.shape), spec.name)])

    with warnings.catch_warnings():
        # MLflow imports more of itself here and warns of its own type hints.
        warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType")
        save_model(
            onnx.load(submission / MODEL_FILE),
            str(folder),
            signature=ModelSignature(inputs=schema(card.input), outputs=schema(card.output)),
            # Named here, else MLflow starts an interpreter to find out, which takes a while.
            pip_requirements=["onnxruntime"],
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
        )
    # MLflow has parsed and written it anew: the bytes must be those that were handed in.
    shutil.copyfile(submission / MODEL_FILE, folder / MODEL_FILE)


def _text(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype} {list(spec.shape)}"
