"""Commands about a release that is held: extend, override. To go back is `edgefleet abort`."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from edgefleet.cli.here import home_prefect
from edgefleet.cli.output import Json, say, told
from edgefleet.cli.releases import ReleaseId
from edgefleet.fleet.ruling import Decided, Ruling
from edgefleet.settings import Settings
from flows.ruling import settle
from tasks.starts import start_release

Name = Annotated[str, typer.Option(help="Who decides; by default the user of this session.")]
Reason = Annotated[str, typer.Option(help="Why; it goes into the journal.")]


def join(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (extend, override):
        app.command()(command)


def extend(
    release_id: ReleaseId,
    *,
    windows: Annotated[
        int, typer.Option(min=0, help="How many more to look at; 0: as many as the soak had.")
    ] = 0,
    name: Name = "",
    reason: Reason = "",
    as_json: bool = Json,
) -> None:
    """Look on at a held canary; part of the error budget was kept for it."""
    _decided(release_id, "extend", name, reason, windows, as_json=as_json)


def override(
    release_id: ReleaseId, *, name: Name = "", reason: Reason = "", as_json: bool = Json
) -> None:
    """Take a held release to the whole fleet without a verdict; it needs a reason."""
    _decided(release_id, "override", name, reason, 0, as_json=as_json)


def _decided(
    release_id: str, decided: Decided, name: str, reason: str, windows: int, *, as_json: bool
) -> None:
    with told():
        ruling = settle(release_id, decided, name or getpass.getuser(), reason, windows)
        with home_prefect(Settings()):
            start_release(release_id)
        say(ruling, as_json=as_json, draw=lambda: _line(release_id, ruling))


def _line(release_id: str, ruling: Ruling) -> str:
    return f"[bold]{release_id}[/bold]: {ruling.in_words}"
