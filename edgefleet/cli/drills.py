"""The command drill: nodes are taken off their network, and prove that they served on."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table

from edgefleet import wiring
from edgefleet.cli.here import home_prefect
from edgefleet.cli.output import ENDED_OTHERWISE, ERR, Json, say, told
from edgefleet.cli.releases import Workload
from edgefleet.fleet.drill import LONGEST_S, SHORTEST_S, Course, Drill, counted, courses
from edgefleet.fleet.finding import Outcome
from edgefleet.settings import Settings
from flows.drill import TREND
from flows.drill import drill as held
from tasks.records import drills_of


def join(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(drill)


def drill(
    workload: Workload,
    *,
    node: Annotated[
        list[str] | None, typer.Option(help="A node to unplug, repeatable; else one is picked.")
    ] = None,
    seconds: Annotated[
        int | None,
        typer.Option(
            min=SHORTEST_S,
            max=LONGEST_S,
            help="How long; by default 60, or two windows of evidence where these are longer.",
        ),
    ] = None,
    consent: Annotated[
        str, typer.Option(help="Who agreed; needed where nodes are picked, one of each factory.")
    ] = "",
    seed: Annotated[
        int | None, typer.Option(help="Fixes the pick; by default the drill's number.")
    ] = None,
    as_json: bool = Json,
) -> None:
    """Unplug nodes for a while, and prove from their own counters that they served all the time.

    They come back by themselves. Ctrl-C restores them at once.
    """
    with told(), home_prefect(Settings()):
        try:
            found = held(workload, tuple(node or ()), seconds, seed, consent)
        except KeyboardInterrupt:
            ERR.print("stopped: nothing was proven; what became of the links is said above")
            raise typer.Exit(ENDED_OTHERWISE) from None
        trend = [
            course
            for one in drills_of(wiring.world().ledger, workload)[-TREND:]
            for course in courses(one)
        ]
        said = {"verdict": found.verdict, "drill": found, "trend": trend}
        say(said, as_json=as_json, draw=lambda: _drawn(found, trend))
        if found.verdict is Outcome.FAIL:
            raise typer.Exit(ENDED_OTHERWISE)


def _drawn(found: Drill, trend: list[Course]) -> Group:
    title = f"drill {found.number} of {found.workload}, {found.seconds} s: {counted(found.nodes)}"
    nodes = Table(title=title)
    for column in (
        "node",
        "factory",
        "verdict",
        "served",
        "failed",
        "late windows",
        "what it says",
    ):
        nodes.add_column(column)
    for one in found.nodes:
        numbers = (str(number) for number in (one.served, one.failed, one.windows_late))
        nodes.add_row(one.node, one.factory, one.verdict.value, *numbers, one.text)
    past = Table(title="all drills of the workload")
    for column in ("drill", "at", "factory", "seconds", "passed", "failed", "inconclusive"):
        past.add_column(column)
    for row in reversed(trend):
        counts = (row.seconds, row.passed, row.failed, row.inconclusive)
        past.add_row(str(row.number), f"{row.at:%Y-%m-%d %H:%M}", row.factory, *map(str, counts))
    return Group(nodes, past)
