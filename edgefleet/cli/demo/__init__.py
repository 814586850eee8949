"""`edgefleet demo`: three stories on real servers and processes, and a report of what happened."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgefleet.cli.output import ENDED_OTHERWISE, told

Approve = Annotated[str, typer.Option(help="auto, or ui: wait for a click in Prefect's UI.")]


def join(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(demo)


def demo(
    *,
    approve: Approve = "auto",
    home: Annotated[Path, typer.Option(help="Everything is written here.")] = Path("build/demo"),
) -> None:
    """Show a good release, a bad one coming back, and two that INT8 ruins."""
    from edgefleet.cli.demo.story import tell  # noqa: PLC0415 - loads everything

    how: Literal["auto", "ui"] = "ui" if approve == "ui" else "auto"
    with told():
        good = tell(home.resolve(), how)
    if not good:
        raise typer.Exit(ENDED_OTHERWISE)
