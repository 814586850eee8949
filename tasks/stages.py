"""Carrying out an order in one factory: the loop of each stage, wherever it runs.

No Prefect in here: in the driver's process a task calls it, in a factory of its own the worker's
flow does, and while that works it needs the factory and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from edgefleet.errors import Conflict, Refused, Unreachable
from edgefleet.fleet.drill import check_seen
from edgefleet.fleet.inventory import Change, NodeView
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
from edgefleet.fleet.pacing import pulls_to_start
from edgefleet.fleet.stage import (
    Fate,
    NodeReport,
    StageReport,
    change_report,
    no_image,
    not_begun,
    pull_report,
    takes_back,
    too_late,
)
from edgefleet.ports import Clock, Site
from edgefleet.wiring import Ground
from tasks.policy import FACTORY_SILENT_S, TICK_S

logger = logging.getLogger(__name__)

Views = dict[str, NodeView]


def carry_out(ground: Ground, factory: str, order: Order) -> Found:
    """Do what is asked, and return what came of it once it is over.

    Raises:
        Refused: there is no such factory here, or it cannot cut off a node.
        Unreachable: a look, a shadow or letting go got no answer; the stages wait on their own.
    """
    site = ground.sites.get(factory)
    if site is None:
        known = ", ".join(ground.sites) or "none"
        raise Refused(factory, f"no factory of this name is reached from here ({known})", "Name it")
    match order:
        case Look():
            return Found(views=site.snapshot(order.workload))
        case BringPackage():
            return _bring(ground, site, order)
        case ChangeNodes():
            return _change(ground.clock, site, order)
        case OrderShadows():
            site.shadow(order.workload, order.of_nodes)
        case LetGo():
            _let_go(site, order)
        case CutLinks():
            return _cut(ground.clock, site, order)
    return Found()


def _bring(ground: Ground, site: Site, order: BringPackage) -> Found:
    clock, factory = ground.clock, site.factory
    started = clock.now()
    ended: dict[str, NodeReport] = {}
    views: Views = {}
    for views in _ticks(clock, site, order.workload):
        waited_s = (clock.now() - started).total_seconds()
        left = tuple(node for node in order.nodes if node not in ended)
        for node in left:
            report = pull_report(views.get(node), node, factory, order.want)
            if report is None and waited_s > order.timeout_s:
                report = no_image(node, factory, waited_s)
            if report:
                ended[node] = report
        if len(ended) == len(order.nodes):
            break
        seen = tuple(views.values())
        for node, seed in pulls_to_start(seen, left, order.want, order.nodes_at_once):
            if not ground.take_start(factory, order.starts_per_min, clock.now()):
                break  # the bucket is empty: it will not fill while we ask again
            site.hold(node, order.want, seed)
    reports = tuple(ended[node] for node in order.nodes)
    wan = sum(report.transferred_bytes for report in reports if report.source == "wan")
    return Found(StageReport(factory, "prepull", reports, wan), tuple(views.values()))


def _change(clock: Clock, site: Site, order: ChangeNodes) -> Found:
    changing = _Changing(site, order)
    views: Views = {}
    for views in _ticks(clock, site, order.changes[0].workload):
        changing.look(views, clock.now().timestamp())
        if len(changing.ended) == len(order.changes):
            break
    reports = tuple(changing.ended[change.node] for change in order.changes)
    return Found(StageReport(site.factory, "change", reports), tuple(views.values()))


@dataclass
class _Changing:
    """A factory's changes under way."""

    site: Site
    order: ChangeNodes
    ended: dict[str, NodeReport] = field(default_factory=dict)
    ordered: dict[str, float] = field(default_factory=dict)
    """When a node was first told, unix seconds."""
    unanswered: set[str] = field(default_factory=set)
    """Nodes whose order may never have come: told again, until they are seen to have it."""

    def look(self, views: Views, now: float) -> None:
        """Read how each node is, and give the orders whose turn it is."""
        for change in self.order.changes:
            if change.node not in self.ended:
                view = views.get(change.node)
                report = self._said(change, view, now) or self._told(change, view, now)
                if report:
                    self.ended[change.node] = report

    def _said(self, change: Change, view: NodeView | None, now: float) -> NodeReport | None:
        """Return how a node ended by what it shows, or by its time; None: not yet."""
        waited_s = now - self.ordered.get(change.node, now)
        report = change_report(view, change, waited_s)
        if report and change.node not in self.ordered and takes_back(view, change):
            return self._apply(change) or report
        if report is None and waited_s > self.order.ready_timeout_s:
            return too_late(view, change, waited_s)
        return report

    def _told(self, change: Change, view: NodeView | None, now: float) -> NodeReport | None:
        """Order a change if it is its turn, or got no answer; return how it ended at once."""
        if change.node in self.ordered:
            lost = change.node in self.unanswered and not (view and view.ordered == change.want)
            return self._apply(change) if lost else None
        if self.order.begun_by and now >= self.order.begun_by.timestamp():
            return not_begun(change)
        if len(self.ordered.keys() - self.ended.keys()) >= self.order.at_once:
            return None
        self.ordered[change.node] = now
        return self._apply(change)

    def _apply(self, change: Change) -> NodeReport | None:
        self.unanswered.discard(change.node)
        try:
            self.site.apply(change)
        except Unreachable:
            self.unanswered.add(change.node)
        except (Conflict, Refused) as error:
            return NodeReport(change.node, change.factory, Fate.FAILED, str(error))
        return None


def _let_go(site: Site, order: LetGo) -> None:
    for node in order.nodes:
        try:
            site.release_hold(node, order.digest)
        except Refused as gone:  # taken out of the fleet meanwhile, and its package with it
            logger.info("%s", gone)


def _cut(clock: Clock, site: Site, order: CutLinks) -> Found:
    delays = site.delays
    check_seen(order.nodes, order.seconds, delays)
    for node in order.nodes:
        site.unplug(node, order.seconds)
    ordered = clock.now()
    views: Views = {}
    for views in _ticks(clock, site, order.workload):
        away = [view for node in order.nodes if (view := views.get(node)) and not view.online]
        waited_s = (clock.now() - ordered).total_seconds()
        if not order.seconds or len(away) == len(order.nodes) or waited_s > delays.away_s:
            break
    return Found(views=tuple(views.values()), back_s=delays.back_s)


def _ticks(clock: Clock, site: Site, workload: str) -> Iterator[Views]:
    """Yield a factory's nodes by name, tick by tick; none of them once it is silent for long."""
    answered = clock.now()
    while True:
        try:
            yield {view.node: view for view in site.snapshot(workload)}
            answered = clock.now()
        except Unreachable:
            if (clock.now() - answered).total_seconds() > FACTORY_SILENT_S:
                yield {}
        clock.sleep(TICK_S)
