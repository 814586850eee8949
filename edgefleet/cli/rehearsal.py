"""`edgefleet rehearse`: the release flow on a fleet in memory, before the real thing."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Group

from edgefleet.adapters.memory.faults import parse_fault
from edgefleet.cli.output import ENDED_OTHERWISE, OUT, Json, say, told
from edgefleet.errors import Refused
from edgefleet.fleet.release import Phase, Release
from edgefleet.ports import Entry, Ledger
from edgefleet.rehearsal import Stage, stage
from edgefleet.spec import load_spec
from edgefleet.wiring import installed

PROGRESS_S: Final = 0.5
_LAST: Final = 3
"""Lines of a journal that say how a release came to where it is."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What came of a rehearsal."""

    release: Release
    journal: tuple[Entry, ...]
    looks: int
    """At the canary."""
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
    fault: Annotated[
        list[str] | None, typer.Option(help="e.g. offline:10% or mixed:10%, repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes every draw.")] = 0,
    as_json: bool = Json,
) -> None:
    """Run the release flow on a fleet in memory, with faults, on a clock of its own."""
    with told():
        faults = [parse_fault(text) for text in fault or []]
        wanted = load_spec(spec)
        begun = time.monotonic()
        from edgefleet.cli.own_prefect import own_prefect  # noqa: PLC0415 - loaded when used

        with tempfile.TemporaryDirectory() as folder, own_prefect():
            from flows.release import release  # noqa: PLC0415 - as above

            made = stage(wanted, Path(folder), nodes=nodes, factories=factories, seed=seed)
            ledger = made.world.ledger
            with installed(made.world):
                release_first(made)
                started = made.world.clock.now()
                made.strike(faults)
                release_id = made.submit(2)
                with nullcontext() if as_json else _shown(ledger, release_id):
                    release(release_id)
            ended = made.world.clock.now()
            views = [v for s in made.world.sites.values() for v in s.snapshot(wanted.workload)]
            counts = Counter(v.serving.digest[:19] if v.serving else "nothing" for v in views)
            found = Rehearsed(
                ledger.release(release_id),
                ledger.journal(release_id),
                len(ledger.all(release_id, "look")),
                dict(counts),
                (ended - started).total_seconds(),
                time.monotonic() - begun,
            )
        say(found, as_json=as_json, draw=lambda: _drawn(found))
    if found.release.phase is not Phase.RELEASED:
        raise typer.Exit(ENDED_OTHERWISE)


def release_first(made: Stage) -> None:
    """Release a first version in a hurry: what is rehearsed is compared with it.

    Raises:
        Refused: it did not end as released; its journal says why.
    """
    from flows.release import release  # noqa: PLC0415 - as above

    first = made.submit(1, hurried=True)
    release(first)
    ledger = made.world.ledger
    phase = ledger.release(first).phase
    if phase is not Phase.RELEASED:
        why = "; ".join(entry.text for entry in ledger.journal(first)[-_LAST:] if entry.text)
        problem = f"its first release, on a fleet without faults, is {phase}: {why}"
        remedy = "Correct the spec, or rehearse more nodes: without a champion nothing is compared"
        raise Refused(made.spec.workload, problem, remedy)


@contextmanager
def _shown(ledger: Ledger, release_id: str) -> Iterator[None]:
    """Print the release's journal and looks as they are written."""
    over = threading.Event()
    watcher = threading.Thread(target=_showing, args=(ledger, release_id, over), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _showing(ledger: Ledger, release_id: str, over: threading.Event) -> None:
    from flows.soak import Look  # noqa: PLC0415 - as above

    told_lines = told_looks = 0
    last = False
    while not last:
        last = over.wait(PROGRESS_S)
        looks = list(ledger.all(release_id, "look").values())
        for body in looks[told_looks:]:
            look = msgspec.json.decode(body, type=Look)
            OUT.print(f"         [dim]look {look.number:<6} {look.verdict.reason}[/dim]")
        journal = ledger.journal(release_id)
        for entry in journal[told_lines:]:
            OUT.print(f"{entry.at:%H:%M:%S} [cyan]{entry.phase:<11}[/cyan] {entry.text}")
        told_lines, told_looks = len(journal), len(looks)


def _drawn(found: Rehearsed) -> Group:
    served = ", ".join(f"{count} nodes {digest}" for digest, count in found.serving.items())
    return Group(
        f"[bold]{found.release.phase}[/bold] after {found.looks} looks and "
        f"{found.simulated_s:.0f} simulated seconds ({found.wall_s:.1f} s of yours); "
        f"at the end: {served}",
    )
