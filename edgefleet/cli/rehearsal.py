"""`edgefleet rehearse`: the release flow on a fleet in memory, before the real thing."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group

from edgefleet.adapters.memory.faults import parse_fault
from edgefleet.cli.output import ENDED_OTHERWISE, Json, say, told
from edgefleet.fleet.release import Phase, Release
from edgefleet.ports import Entry
from edgefleet.rehearsal import stage
from edgefleet.spec import load_spec
from edgefleet.wiring import installed


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What came of a rehearsal."""

    release: Release
    journal: tuple[Entry, ...]
    serving: dict[str, int]
    """Nodes by what they serve at the end."""
    simulated_s: float
    wall_s: float


def join(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(rehearse)


def rehearse(
    spec: Annotated[Path, typer.Argument(help="A spec file.")],
    *,
    nodes: Annotated[int, typer.Option(help="How many nodes.")] = 100,
    factories: Annotated[int, typer.Option(help="In how many factories.")] = 6,
    fault: Annotated[list[str] | None, typer.Option(help="e.g. offline:10%, repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Fixes every draw.")] = 0,
    as_json: bool = Json,
) -> None:
    """Run the release flow on a fleet in memory, with faults, on a clock of its own."""
    with told():
        faults = [parse_fault(text) for text in fault or []]
        wanted = load_spec(spec)
        begun = time.monotonic()
        # Loads Prefect's server: seconds, which no other command should wait for.
        from prefect.testing.utilities import prefect_test_harness  # noqa: PLC0415 - see above

        with tempfile.TemporaryDirectory() as folder, prefect_test_harness():
            from flows.release import release  # noqa: PLC0415 - the harness must be up first

            made = stage(wanted, Path(folder), nodes=nodes, factories=factories, seed=seed)
            with installed(made.world):
                release(made.submit(1, hurried=True))
                started = made.world.clock.now()
                made.strike(faults)
                release_id = made.submit(2)
                release(release_id)
            ended = made.world.clock.now()
            ledger = made.world.ledger
            views = [v for s in made.world.sites.values() for v in s.snapshot(wanted.workload)]
            counts = Counter(v.serving.digest[:19] if v.serving else "nothing" for v in views)
            found = Rehearsed(
                ledger.release(release_id),
                ledger.journal(release_id),
                dict(counts),
                (ended - started).total_seconds(),
                time.monotonic() - begun,
            )
        say(found, as_json=as_json, draw=lambda: _drawn(found))
    if found.release.phase is not Phase.RELEASED:
        raise typer.Exit(ENDED_OTHERWISE)


def _drawn(found: Rehearsed) -> Group:
    lines = [f"{e.at:%H:%M:%S} [cyan]{e.phase:<11}[/cyan] {e.text}" for e in found.journal]
    served = ", ".join(f"{count} nodes {digest}" for digest, count in found.serving.items())
    return Group(
        *lines,
        f"[bold]{found.release.phase}[/bold] after {found.simulated_s:.0f} simulated seconds "
        f"({found.wall_s:.1f} s of yours); at the end: {served}",
    )
