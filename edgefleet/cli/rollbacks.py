"""Commands that go back: rollback, pin, unpin."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from edgefleet.cli.here import home_prefect, looking_around
from edgefleet.cli.output import Json, say, told
from edgefleet.cli.releases import Workload
from edgefleet.cli.rulings import Name
from edgefleet.settings import Settings
from edgefleet.spec import load_spec
from tasks import pins
from tasks.drivers import start_missing
from tasks.pins import Pinned
from tasks.rollbacks import in_words, roll_back

Nodes = Annotated[list[str], typer.Argument(help="Nodes of the workload.")]
Why = Annotated[str, typer.Option(help="Why; it is shown wherever the node or release is.")]


def join(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (rollback, pin, unpin):
        app.command()(command)


def rollback(
    workload: Workload,
    *,
    reason: Why,
    to: Annotated[
        str, typer.Option(help="The release to go back to; by default the one before the champion.")
    ] = "",
    factory: Annotated[
        list[str] | None, typer.Option(help="Only a factory's nodes: they are pinned.")
    ] = None,
    node: Annotated[list[str] | None, typer.Option(help="Only this node: it is pinned.")] = None,
    name: Name = "",
    as_json: bool = Json,
) -> None:
    """Go back to an earlier release's package: with a canary and waves, or for some nodes only."""
    with told():
        settings = Settings()
        with home_prefect(settings):
            found = roll_back(
                workload,
                reason,
                name or getpass.getuser(),
                to=to,
                factories=factory or (),
                nodes=node or (),
            )
            start_missing()
        say(found, as_json=as_json, draw=lambda: in_words(found))


def pin(
    workload: Workload,
    nodes: Nodes,
    *,
    reason: Why,
    to: Annotated[
        str, typer.Option(help="The release whose package they keep; by default the champion.")
    ] = "",
    name: Name = "",
    as_json: bool = Json,
) -> None:
    """Keep nodes at a release's package, whatever is released later."""
    with told():
        spec = load_spec(Settings().spec_file(workload))
        with looking_around():
            found = pins.pin(spec, nodes, reason, name or getpass.getuser(), to)
        say(found, as_json=as_json, draw=lambda: _line(found))


def unpin(workload: Workload, nodes: Nodes, *, name: Name = "", as_json: bool = Json) -> None:
    """Let pinned nodes follow the champion again."""
    with told():
        found = pins.unpin(workload, nodes, name or getpass.getuser())
        say(found, as_json=as_json, draw=lambda: _line(found))


def _line(found: Pinned) -> str:
    names = ", ".join(found.nodes)
    done = f"pinned to {found.release_id}" if found.release_id else "unpinned"
    return f"[bold]{names}[/bold] {done}: the next reconcile brings along what differs"
