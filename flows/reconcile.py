"""What was left behind is brought along: releases get drivers, and nodes their champion.

Nodes that were away, are new, were made anew, or were changed by somebody else; those that are
pinned get the package of their pin, with the same care. Under the
workload's lease, so that no release moves nodes meanwhile; given back after every turn, so that
none waits for long. A node that cannot be brought along is named with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from edgefleet.edge.contract import ShadowOrder
from edgefleet.errors import EdgefleetError, Refused
from edgefleet.fleet.inventory import Inventory, NodeView
from edgefleet.fleet.maintenance import closes_at
from edgefleet.fleet.needs import Package, needs_of
from edgefleet.fleet.plan import change_of, swaps_for
from edgefleet.fleet.reconcile import (
    Behind,
    Part,
    Standing,
    after_turn,
    in_the_way,
    left_over,
    parts,
    standing,
    turn,
)
from edgefleet.fleet.stage import Fate, StageReport, counted, done, in_words, of_fate
from edgefleet.ports import Image
from edgefleet.settings import Settings
from edgefleet.spec import Spec, load_spec
from edgefleet.wiring import world
from flows.deadlines import keep_deadlines
from tasks.drivers import start_missing
from tasks.policy import FACTORIES_AT_ONCE
from tasks.records import STANDING, Drive, crowned_by, holding, needed, standing_of
from tasks.sites import change_in, let_go_in, order_shadows, prepull_in, take_inventory

_RUNNER: Final = cast(
    "TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner[Any](max_workers=FACTORIES_AT_ONCE)
)

Nodes = dict[str, tuple[str, ...]]
"""Names of nodes by factory."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What became of one workload's nodes."""

    workload: str
    brought: tuple[str, ...] = ()
    behind: tuple[Behind, ...] = ()
    untouched: str = ""
    """Why nothing was moved, or nothing more; empty: there was nothing to move any more."""


@dataclass(slots=True)
class _Round:
    """Turns of one workload: who had one, and what is known after the last."""

    spec: Spec
    had: set[str] = field(default_factory=set)
    brought: list[str] = field(default_factory=list)
    known: dict[str, Standing] = field(default_factory=dict)
    """By the release whose package the nodes should serve."""

    @property
    def behind(self) -> tuple[Behind, ...]:
        """Who does not serve what it should."""
        items = (item for known in self.known.values() for item in known.behind)
        return tuple(sorted(items, key=lambda item: item.node))


@flow(name="reconcile", retries=0, persist_result=False, task_runner=_RUNNER)
def reconcile() -> tuple[Reconciled, ...]:
    """Start drivers that are missing, then bring every workload's nodes to their champion."""
    keep_deadlines()
    _start(patient=True)  # it is a driver's death that called us, or may be
    found = tuple(_of_file(file) for file in Settings().spec_files())
    _start()  # again: a release may have found its workload held by us
    return found


def _start(*, patient: bool = False) -> None:
    started = start_missing(patient=patient)
    if started:
        get_run_logger().info("another driver for %s", ", ".join(started))


def _of_file(file: Path) -> Reconciled:
    """Bring the nodes of one spec file along; one that is wrong does not stop the others."""
    try:
        spec = load_spec(file)
    except Refused as error:
        get_run_logger().error("%s", error)
        return Reconciled(file.stem, untouched=f"left alone: {error}")
    return _reconciled(spec)


def _reconciled(spec: Spec) -> Reconciled:
    """Bring one workload's nodes along, turn by turn; its trouble is not the other ones'."""
    turns = _Round(spec)
    why = ""
    try:
        while True:
            with holding(spec.workload) as epoch:
                more, why = _turned(turns, epoch)
            if not more:
                break
    except EdgefleetError as error:
        why = f"left alone: {error}"
    if why:
        get_run_logger().info("%s: %s", spec.workload, why)
    return Reconciled(spec.workload, tuple(turns.brought), turns.behind, why)


def _turned(turns: _Round, epoch: int) -> tuple[bool, str]:
    """Give the next nodes their turn; return whether there may be more, else why nothing moved."""
    here, spec = world(), turns.spec
    crowned = crowned_by(spec.workload)
    if crowned is None:
        return False, "no release of it has ended as released yet"
    busy = in_the_way(here.ledger.releases(spec.workload))
    if busy:
        return False, busy
    inventory = take_inventory(spec.workload)
    pins = here.ledger.pins(spec.workload)
    more = news = False
    turns.known = {}  # a pin may have come or gone since the turn before
    for part in parts(inventory, pins, crowned.release_id):
        before = standing_of(here.ledger, part.release_id)
        more |= _brought(turns, Drive(part.release_id, epoch), part, before)
        news |= turns.known[part.release_id] != before
    if news:
        _show(spec.workload, turns.behind)
    return more, ""


def _brought(turns: _Round, drive: Drive, part: Part, before: Standing) -> bool:
    """Bring the next nodes to the package of their release; return whether there were any."""
    here, spec = world(), turns.spec
    image = needed(drive.release_id, "package", 0, Image)
    model_bytes = sum(layer.size for layer in image.layers if layer.kind == "model")
    package = Package(image.digest, model_bytes, needs_of(image.annotations))
    now = standing(spec, package, part.inventory, part.known(before), here.clock.now())
    _let_go(left_over(_mine(spec, part.inventory), package), package)
    size = max(spec.prepull.nodes_at_once, spec.waves.at_once_per_factory)
    nodes = turn(now, turns.had, size)
    if nodes:
        reports = _bring(drive, spec, package, part.inventory, nodes)
        now = after_turn(now, reports, here.clock.now())
        turns.had.update(node for names in nodes.values() for node in names)
        turns.brought += sorted(done(reports))
        _tell(drive, reports)
    if now != before:
        drive.keep(STANDING, 0, now)
    turns.known[drive.release_id] = now
    return bool(nodes)


def _bring(
    drive: Drive, spec: Spec, package: Package, inventory: Inventory, nodes: Nodes
) -> tuple[StageReport, ...]:
    """Bring package and server to nodes, as a release does; return how each of them ended."""
    pulls = tuple(
        future.result()
        for future in [
            prepull_in.submit(factory, spec.workload, names, package.digest, spec.prepull)
            for factory, names in nodes.items()
        ]
    )
    here = done(pulls)
    views = {view.node: view for view in inventory.nodes}
    swap, now = swaps_for(spec, package), world().clock.now()
    futures = []
    for factory, names in nodes.items():
        changes = tuple(
            replace(
                change_of(views[node], spec.workload, package.digest, swap=swap), epoch=drive.epoch
            )
            for node in names
            if node in here
        )
        if changes:
            closes = closes_at(spec.maintenance, factory, now)
            futures.append(change_in.submit(factory, changes, spec.waves, closes))
    changed = tuple(future.result() for future in futures)
    _let_go(nodes, package)
    _end_shadows(spec.workload, changed)
    return (*(_without(report, here) for report in pulls), *changed)


def _without(report: StageReport, gone_on: frozenset[str]) -> StageReport:
    """Return a pull's report of the nodes that it ended for."""
    return replace(report, nodes=tuple(node for node in report.nodes if node.node not in gone_on))


def _end_shadows(workload: str, changed: Sequence[StageReport]) -> None:
    """Stop second inferences that a release ordered, and could not end while a node was away."""
    ended = ShadowOrder(against="none", rate=0.0)
    orders = {
        report.factory: {node.node: ended for node in of_fate(report.nodes, Fate.DONE)}
        for report in changed
        if of_fate(report.nodes, Fate.DONE)
    }
    if orders:
        order_shadows(workload, orders)


def _let_go(nodes: Nodes, package: Package) -> None:
    """Let nodes drop what held the package there; a factory that does not answer keeps it."""
    for future in [
        let_go_in.submit(factory, names, package.digest) for factory, names in nodes.items()
    ]:
        future.wait()


def _mine(spec: Spec, inventory: Inventory) -> list[NodeView]:
    return [view for view in inventory.nodes if spec.selector.items() <= view.labels.items()]


def _tell(drive: Drive, reports: Sequence[StageReport]) -> None:
    """Write into the journal of the release what its late nodes did."""
    nodes = [node for report in reports for node in report.nodes]
    moved = [node for node in nodes if node.fate is not Fate.DEFERRED]
    if moved:
        names = ", ".join(node.node for node in of_fate(moved, Fate.DONE)) or "none"
        drive.note(in_words(f"reconcile, there now {names}", moved))
    get_run_logger().info("%s", counted(reports))


def _show(workload: str, behind: Sequence[Behind]) -> None:
    """Publish who is behind, and why, as a Prefect artifact."""
    rows = [
        {"node": item.node, "factory": item.factory, "state": item.kind, "why": item.reason}
        for item in behind
    ]
    create_table_artifact(
        key=f"reconcile-{workload}".lower(),
        table=rows,
        description=f"{len(rows)} nodes of {workload} do not serve what they should",
    )
