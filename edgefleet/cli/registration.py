"""The command that registers a model, and tells Prefect that it is there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from edgefleet import wiring
from edgefleet.cli.here import home_prefect
from edgefleet.cli.output import ERR, Json, say, told
from edgefleet.errors import Refused
from edgefleet.model.submission import checked_metrics, gather_submission
from edgefleet.ports import ModelVersion
from edgefleet.settings import Settings
from tasks.events import tell_registered


def join(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(register)


def register(
    model: Annotated[
        Path, typer.Argument(help="An ONNX file, or a folder with it, its card and its data.")
    ],
    *,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with card.json and the sets, where MODEL is a file."),
    ] = None,
    as_json: bool = Json,
) -> None:
    """Check a model with its data sets and register it; refused in words when something is off."""
    with told(), _submission(model, data) as folder:
        metrics = checked_metrics(folder)
        made = wiring.models(Settings()).register(folder, metrics)
        if silent := _told_prefect(made):
            ERR.print(f"Prefect was not told, the next watch will find it: {silent}")
        say(made, as_json=as_json, draw=lambda: f"registered {made.model} version {made.version}")


def _told_prefect(made: ModelVersion) -> str:
    """Send the registration's event; return why that did not work, empty if it did."""
    try:
        with home_prefect(Settings()):
            return tell_registered(made.model, made.version, "edgefleet register")
    except Refused as error:
        return str(error)


@contextmanager
def _submission(model: Path, data: Path | None) -> Iterator[Path]:
    """Return a submission folder: the one that was named, or one made of a file and its data."""
    if data is None and model.is_dir():
        yield model
        return
    if data is None or not model.is_file():
        raise Refused(
            str(model),
            "is no folder" if data is None else "is no file",
            "Name a submission folder, or an ONNX file and --data with its card and sets",
        )
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        gather_submission(model, data, folder)
        yield folder
