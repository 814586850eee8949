"""Orders to factories and looks at them: one task for one factory.

A factory that this process reaches is worked on from here; any other one by its own worker.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime, timedelta

from prefect import get_run_logger, task

from edgefleet.edge.contract import Digest, ShadowOrder
from edgefleet.errors import EdgefleetError, Unreachable
from edgefleet.fleet.inventory import Change, Inventory, NodeView
from edgefleet.fleet.order import (
    BringPackage,
    ChangeNodes,
    CutLinks,
    Found,
    LetGo,
    Look,
    Order,
    OrderShadows,
)
from edgefleet.fleet.stage import StageReport, in_words, out_of_reach
from edgefleet.spec import Prepull, Waves
from edgefleet.wiring import world
from tasks.policy import FACTORIES_AT_ONCE, FACTORY_SILENT_S, OUTSIDE, PATIENCE_S
from tasks.stages import carry_out
from tasks.workers import seen_by_worker, send


@task(name="take inventory", **OUTSIDE)
def take_inventory(workload: str) -> Inventory:
    """Return what every factory shows; one that does not answer is named, not an error."""
    return look_around(workload)


def take_patient_inventory(workload: str) -> Inventory:
    """Return what the fleet shows; of a factory that stays silent for a minute, nothing.

    For looks on which a plan or an end depends: one answer that got lost must not leave a factory's
    nodes out, refuse the plan, have it made and asked for anew, or hold a release that is done.
    """
    clock = world().clock
    until = clock.now() + timedelta(seconds=FACTORY_SILENT_S)
    while (seen := take_inventory(workload)).silent and clock.now() < until:
        clock.sleep(PATIENCE_S)
    return seen


def all_out_of_reach(workload: str) -> bool:
    """Say whether the whole fleet is silent.

    That is its control plane's failure, or the way's to it, and says nothing of the model.
    """
    return all(map(out_of_reach, take_inventory(workload).nodes))


def look_around(workload: str, only: Collection[str] | None = None) -> Inventory:
    """Return what every factory shows, outside of a task: for loops that look often.

    `only` names the factories that are looked at; None: all.
    """
    here = world()
    wanted = {*here.sites, *here.workers} if only is None else set(only)
    nodes: list[NodeView] = []
    silent: dict[str, str] = {}
    with ThreadPoolExecutor(FACTORIES_AT_ONCE, thread_name_prefix="look") as threads:
        # With the context: Prefect keeps in it which server is meant.
        far = {
            factory: threads.submit(copy_context().run, seen_by_worker, factory, workload)
            for factory in here.workers
            if factory in wanted
        }
        for factory in (*(site for site in here.sites if site in wanted), *far):
            try:
                nodes.extend(
                    far[factory].result()
                    if factory in far
                    else _done(factory, Look(workload)).views
                )
            except Unreachable as error:
                silent[factory] = str(error)
    return Inventory(tuple(nodes), silent)


@task(name="prepull in factory", task_run_name="prepull {factory}", **OUTSIDE)
def prepull_in(
    factory: str, workload: str, nodes: tuple[str, ...], want: Digest, pace: Prepull
) -> StageReport:
    """Bring a package to nodes of one factory, seeder first, within the factory's token bucket."""
    order = BringPackage(
        workload, nodes, want, pace.nodes_at_once, pace.starts_per_min, pace.timeout_s
    )
    return _told(_done(factory, order))


@task(name="change nodes in factory", task_run_name="change {factory}", **OUTSIDE)
def change_in(
    factory: str, changes: tuple[Change, ...], waves: Waves, begun_by: datetime | None = None
) -> StageReport:
    """Change nodes of one factory, a few at a time, each until it shows the digest itself.

    From `begun_by` on no further node is begun; None: no end is near.
    """
    order = ChangeNodes(changes, waves.at_once_per_factory, waves.ready_timeout_s, begun_by)
    return _told(_done(factory, order))


@task(name="let go in factory", task_run_name="let go {factory}", **OUTSIDE)
def let_go_in(factory: str, nodes: tuple[str, ...], digest: Digest) -> None:
    """Let nodes of one factory drop a package that nothing needs but perhaps their own server."""
    _done(factory, LetGo(nodes, digest))


@task(name="order shadows", **OUTSIDE)
def order_shadows(workload: str, orders: Mapping[str, Mapping[str, ShadowOrder]]) -> None:
    """Tell nodes, by factory, whom to answer a sample of the requests a second time with."""
    for factory, of_nodes in orders.items():
        try:
            _done(factory, OrderShadows(workload, of_nodes))
        except Unreachable as error:
            get_run_logger().warning("%s: no shadow ordered: %s", factory, error)


@task(name="unplug in factory", task_run_name="unplug in {factory}", **OUTSIDE)
def unplug_in(
    factory: str, workload: str, nodes: tuple[str, ...], seconds: float
) -> tuple[frozenset[str], float]:
    """Take nodes of one factory off their network.

    Return those that were seen to be away, and how long after the end they may be shown so.
    """
    found = _done(factory, CutLinks(workload, nodes, seconds))
    away = [view.node for view in found.views if view.node in nodes and not view.online]
    return frozenset(away), found.back_s


def plug_in(factory: str, workload: str, nodes: tuple[str, ...]) -> str:
    """Restore nodes at once; return why that did not work, empty if it did. Outside of a task.

    It is the way out of a drill that was stopped, so it raises nothing itself.
    """
    try:
        _done(factory, CutLinks(workload, nodes, 0.0))
    except EdgefleetError as error:
        return str(error)
    return ""


def _done(factory: str, order: Order) -> Found:
    here = world()
    if factory in here.workers:
        return send(factory, order)
    return carry_out(here.ground, factory, order)


def _told(found: Found) -> StageReport:
    if found.report is None:
        raise TypeError("a stage came back without its report")
    get_run_logger().info("%s", in_words(found.report.factory, found.report.nodes))
    return found.report
