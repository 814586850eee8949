"""Commands about nodes: why one serves what it serves, and reconcile, which brings them along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table

from edgefleet import wiring
from edgefleet.cli.here import home_prefect, looked_around
from edgefleet.cli.output import Json, say, told
from edgefleet.errors import Refused
from edgefleet.fleet.inventory import Inventory, NodeView
from edgefleet.fleet.pins import Pin
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.reconcile import Behind, parts
from edgefleet.fleet.release import Release
from edgefleet.fleet.stage import StageReport
from edgefleet.fleet.summary import Why, explain, kept_back
from edgefleet.ports import Image, Ledger
from edgefleet.settings import Settings
from edgefleet.spec import load_spec
from flows.reconcile import Reconciled
from flows.reconcile import reconcile as pass_of
from tasks.records import crowned, latest, needed, standing_of


def join(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (why, reconcile):
        app.command()(command)


def reconcile(*, as_json: bool = Json) -> None:
    """Bring nodes that were left behind to their champion now, and start drivers that are missing.

    Prefect does the same every five minutes. A workload whose release moves nodes is left alone.
    """
    with told():
        with home_prefect(Settings()):
            found = pass_of()
        say(found, as_json=as_json, draw=lambda: Group(*[_passed(one) for one in found]))


def known_behind(ledger: Ledger, workload: str) -> tuple[Behind, ...]:
    """Return which nodes do not serve what they should, as reconcile last saw them."""
    champion = crowned(ledger.releases(workload))
    if champion is None:
        return ()
    found = parts(Inventory(()), ledger.pins(workload), champion.release_id)
    known = (part.known(standing_of(ledger, part.release_id)).behind for part in found)
    return tuple(sorted((item for items in known for item in items), key=lambda item: item.node))


def behind_table(workload: str, items: Sequence[Behind]) -> Table:
    """Draw the nodes that do not serve what they should, with the reasons."""
    table = Table(title=f"{workload}: {len(items)} nodes do not serve what they should")
    for column in ("node", "factory", "state", "why"):
        table.add_column(column)
    for item in items:
        table.add_row(item.node, item.factory, item.kind, item.reason)
    return table


def pins_table(workload: str, pins: Mapping[str, Pin]) -> Table:
    """Draw the pinned nodes, and who pinned them why."""
    table = Table(title=f"{workload}: {len(pins)} nodes pinned")
    for column in ("node", "release", "by", "since", "why"):
        table.add_column(column)
    for node, pin in pins.items():
        since = f"{pin.at:%Y-%m-%d %H:%M}"
        table.add_row(node, pin.release_id, pin.asked_by, since, pin.reason)
    return table


def _passed(found: Reconciled) -> Group:
    brought = f"{len(found.brought)} nodes brought along"
    if found.brought:
        brought += f": {', '.join(found.brought)}"
    line = f"[bold]{found.workload}[/bold]: {found.untouched or brought}"
    return Group(line, *([behind_table(found.workload, found.behind)] if found.behind else []))


def why(
    node: Annotated[str, typer.Argument(help="A node's name.")], *, as_json: bool = Json
) -> None:
    """Say why a node serves what it serves."""
    with told():
        answers = _explained(node)
        say(
            answers, as_json=as_json, draw=lambda: Group(*[_why_text(answer) for answer in answers])
        )


def _explained(node: str) -> list[Why]:
    here = wiring.world()
    answers = []
    for file in Settings().spec_files():
        spec = load_spec(file)
        views = [
            view
            for view in looked_around(spec.workload).nodes
            if view.node == node and spec.selector.items() <= view.labels.items()
        ]
        last = next(iter(here.ledger.releases(spec.workload)), None)
        behind = {item.node: item for item in known_behind(here.ledger, spec.workload)}
        found = [_answer(view, spec.workload, last, behind.get(node)) for view in views]
        pin = here.ledger.pins(spec.workload).get(node)
        if pin:
            want = needed(pin.release_id, "package", 0, Image).digest
            found = [kept_back(answer, pin, want) for answer in found]
        answers += found
    if not answers:
        raise Refused(node, "no node of that name in any workload", "Name one of the fleet's file")
    return answers


def _answer(view: NodeView, workload: str, last: Release | None, behind: Behind | None) -> Why:
    plan = latest(last.release_id, "plan", Plan) if last else None
    changed = latest(last.release_id, "changed", tuple[StageReport, ...]) if last else None
    return explain(
        view, workload, last, plan[1] if plan else None, changed[1] if changed else (), behind
    )


def _why_text(answer: Why) -> str:
    lines = "\n".join(f"  - {line}" for line in answer.explanation)
    return (
        f"[bold]{answer.node}[/bold] ({answer.factory}, {answer.workload})\n"
        f"  serves {answer.serves}\n  wanted {answer.wants}\n{lines}"
    )
