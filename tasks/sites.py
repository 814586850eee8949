"""Orders to factories and looks at them: one task for one factory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prefect import get_run_logger, task

from edgefleet.edge.contract import Digest, ShadowOrder
from edgefleet.errors import Conflict, Refused, Unreachable
from edgefleet.fleet.inventory import Change, Inventory, NodeView
from edgefleet.fleet.pacing import pulls_to_start
from edgefleet.fleet.stage import (
    Fate,
    NodeReport,
    StageReport,
    change_report,
    in_words,
    no_image,
    pull_report,
    too_late,
)
from edgefleet.ports import Site
from edgefleet.spec import Prepull, Waves
from edgefleet.wiring import world
from tasks.policy import FACTORY_SILENT_S, OUTSIDE, TICK_S


@task(name="take inventory", **OUTSIDE)
def take_inventory(workload: str) -> Inventory:
    """Return what every factory shows; one that does not answer is named, not an error."""
    return look_around(workload)


def look_around(workload: str) -> Inventory:
    """Return what every factory shows, outside of a task: for loops that look often."""
    nodes: list[NodeView] = []
    silent: dict[str, str] = {}
    for factory, site in world().sites.items():
        try:
            nodes.extend(site.snapshot(workload))
        except Unreachable as error:
            silent[factory] = str(error)
    return Inventory(tuple(nodes), silent)


@task(name="prepull in factory", task_run_name="prepull {factory}", **OUTSIDE)
def prepull_in(
    factory: str, workload: str, nodes: tuple[str, ...], want: Digest, pace: Prepull
) -> StageReport:
    """Bring a package to nodes of one factory, seeder first, within the factory's token bucket."""
    here = world()
    site = here.sites[factory]
    started = here.clock.now()
    ended: dict[str, NodeReport] = {}
    for views in _ticks(site, workload):
        waited_s = (here.clock.now() - started).total_seconds()
        left = tuple(node for node in nodes if node not in ended)
        for node in left:
            report = pull_report(views.get(node), node, factory, want)
            if report is None and waited_s > pace.timeout_s:
                report = no_image(node, factory, waited_s)
            if report:
                ended[node] = report
        if len(ended) == len(nodes):
            break
        for node, seed in pulls_to_start(tuple(views.values()), left, want, pace.nodes_at_once):
            if not here.ledger.take_start(factory, pace.starts_per_min, here.clock.now()):
                break  # the bucket is empty: it will not fill while we ask again
            site.hold(node, want, seed)
    reports = tuple(ended[node] for node in nodes)
    wan = sum(report.transferred_bytes for report in reports if report.source == "wan")
    get_run_logger().info("%s", in_words(factory, reports))
    return StageReport(factory, "prepull", reports, wan)


@task(name="change nodes in factory", task_run_name="change {factory}", **OUTSIDE)
def change_in(factory: str, changes: tuple[Change, ...], waves: Waves) -> StageReport:
    """Change nodes of one factory, a few at a time, each until it shows the digest itself."""
    here = world()
    site = here.sites[factory]
    ended: dict[str, NodeReport] = {}
    ordered: dict[str, float] = {}
    for views in _ticks(site, changes[0].workload):
        now = here.clock.now().timestamp()
        for change in changes:
            if change.node in ended:
                continue
            waited_s = now - ordered.get(change.node, now)
            report = change_report(views.get(change.node), change, waited_s)
            if report is None and waited_s > waves.ready_timeout_s:
                report = too_late(views.get(change.node), change, waited_s)
            under_way = len(ordered.keys() - ended.keys())
            if report is None and change.node not in ordered:
                if under_way >= waves.at_once_per_factory:
                    continue
                report = _ordered(site, change)
                ordered[change.node] = now
            if report:
                ended[change.node] = report
        if len(ended) == len(changes):
            break
    reports = tuple(ended[change.node] for change in changes)
    get_run_logger().info("%s", in_words(factory, reports))
    return StageReport(factory, "change", reports)


def _ordered(site: Site, change: Change) -> NodeReport | None:
    try:
        site.apply(change)
    except Unreachable:
        return None  # the next tick sees what came of it, or the node's time runs out
    except (Conflict, Refused) as error:
        return NodeReport(change.node, change.factory, Fate.FAILED, str(error))
    return None


@task(name="order shadows", **OUTSIDE)
def order_shadows(workload: str, orders: Mapping[str, Mapping[str, ShadowOrder]]) -> None:
    """Tell nodes, by factory, whom to answer a sample of the requests a second time with."""
    for factory, of_nodes in orders.items():
        try:
            world().sites[factory].shadow(workload, of_nodes)
        except Unreachable as error:
            get_run_logger().warning("%s: no shadow ordered: %s", factory, error)


def _ticks(site: Site, workload: str) -> Iterator[dict[str, NodeView]]:
    """Yield a factory's nodes by name, tick by tick; none of them once it is silent for long."""
    clock = world().clock
    answered = clock.now()
    while True:
        try:
            yield {view.node: view for view in site.snapshot(workload)}
            answered = clock.now()
        except Unreachable:
            if (clock.now() - answered).total_seconds() > FACTORY_SILENT_S:
                yield {}
        clock.sleep(TICK_S)
