"""`edgefleet demo`: three stories on real servers and processes, and a report of what happened."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edgefleet.cli.output import ENDED_OTHERWISE, ERR, OUT, Json, say, told


class Approve(StrEnum):
    """Who answers the demo's approval forms."""

    AUTO = "auto"
    UI = "ui"


Who = Annotated[
    Approve,
    typer.Option(case_sensitive=False, help="auto, or ui: wait for a click in Prefect's UI."),
]


def join(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(demo)


def demo(
    *,
    approve: Who = Approve.AUTO,
    home: Annotated[Path, typer.Option(help="Everything is written here.")] = Path("build/demo"),
    as_json: bool = Json,
) -> None:
    """Show a good release, a bad one coming back, and two that INT8 ruins."""
    from edgefleet.cli.demo.story import tell  # noqa: PLC0415 - loads everything
    from edgefleet.report.page import terminal  # noqa: PLC0415 - as above

    with told():
        report, file = tell(home.resolve(), approve, ERR if as_json else OUT)
        content = {"ok": report.ok, "checks": report.checks, "report": str(file)}
        say(content, as_json=as_json, draw=lambda: terminal(report))
        if not as_json:
            OUT.print(f"report: {file}", soft_wrap=True)
    if not report.ok:
        raise typer.Exit(ENDED_OTHERWISE)
