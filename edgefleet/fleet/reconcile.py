"""Which nodes are behind their workload's champion, why, and whose turn it is. Pure.

A node is due when it could serve the champion and does not, however that came about: it was away,
is new, was made anew, or somebody else changed it. One that fails is tried again, later each time;
what was tried counts for one champion only. To a pinned node its pin is what the champion is to the
others: `parts` gives each release the nodes that should serve its package.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from edgefleet.fleet.inventory import Inventory, NodeView, PullState
from edgefleet.fleet.maintenance import opens_at
from edgefleet.fleet.needs import Package
from edgefleet.fleet.pins import Pin, wanted_by
from edgefleet.fleet.plan import left_out_of, swaps_for
from edgefleet.fleet.release import TOUCHED, Phase, Release
from edgefleet.fleet.stage import Fate, NodeReport, StageReport, of_fate
from edgefleet.spec import Spec

MOST_TRIES: Final = 3
DAY: Final = timedelta(days=1)
"""A node is tried at most so often within so long."""
PAUSES: Final = (timedelta(minutes=10), timedelta(hours=1))
"""After the first failure within a day, and after the second."""

_MOVING: Final = {Phase.PREPULLING, Phase.REVERTING, *TOUCHED}

Kind = Literal["due", "deferred", "excluded", "closed", "paused", "silent"]


@dataclass(frozen=True, slots=True)
class Behind:
    """A node that does not serve the champion."""

    node: str
    factory: str
    kind: Kind
    reason: str


@dataclass(frozen=True, slots=True)
class Tried:
    """When bringing a node to the champion failed, ascending, and what it said last."""

    at: tuple[datetime, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the nodes behind one champion, as the ledger keeps it."""

    behind: tuple[Behind, ...] = ()
    tried: Mapping[str, Tried] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """The nodes of a workload that should serve one release's package."""

    release_id: str
    inventory: Inventory
    """What can be seen of them, and which factories are silent."""
    pins: Mapping[str, Pin]
    """All of the workload's."""
    champion: str
    """The release whose package is wanted where there is no pin."""

    def known(self, before: Standing) -> Standing:
        """Return what of an earlier standing is about these nodes."""
        behind = tuple(item for item in before.behind if self._holds(item.node))
        tried = {node: past for node, past in before.tried.items() if self._holds(node)}
        return Standing(behind, tried)

    def _holds(self, node: str) -> bool:
        return wanted_by(node, self.pins, self.champion) == self.release_id


def parts(inventory: Inventory, pins: Mapping[str, Pin], champion: str) -> tuple[Part, ...]:
    """Return a workload's nodes by the release whose package each should serve."""
    views: dict[str, list[NodeView]] = {champion: []}
    views |= {pin.release_id: [] for pin in pins.values()}
    for view in inventory.nodes:
        views[wanted_by(view.node, pins, champion)].append(view)
    return tuple(
        Part(release_id, Inventory(tuple(mine), inventory.silent), pins, champion)
        for release_id, mine in views.items()
    )


def in_the_way(releases: Iterable[Release]) -> str:
    """Return which live release of the workload has its nodes for itself, in words; empty: none."""
    live = sorted((r for r in releases if r.live), key=lambda release: release.generation)
    if not live or live[0].phase not in _MOVING:
        return ""
    return f"{live[0].release_id} is {live[0].phase}: its nodes are left to it"


def standing(
    spec: Spec, package: Package, inventory: Inventory, known: Standing, now: datetime
) -> Standing:
    """Return who is behind now; what failed before is remembered as long as it matters."""
    swap = swaps_for(spec, package)
    views = [v for v in inventory.nodes if spec.selector.items() <= v.labels.items()]
    opening = {
        factory: opens_at(spec.maintenance, factory, now) for factory in {v.factory for v in views}
    }
    behind = [_behind(view, package, known, opening[view.factory], now, swap) for view in views]
    seen = {item.node: item for item in behind if item}
    unseen = [
        Behind(item.node, item.factory, "silent", f"its factory did not answer: {why}")
        for item in known.behind
        if (why := inventory.silent.get(item.factory))
    ]
    names = seen.keys() | {item.node for item in unseen}
    tried = {node: past for node, past in known.tried.items() if node in names}
    return Standing(tuple(sorted((*seen.values(), *unseen), key=lambda item: item.node)), tried)


def next_try(tried: Tried | None, now: datetime) -> datetime | None:
    """Return when a node that failed may be tried again; None: now."""
    recent = [at for at in tried.at if now - at < DAY] if tried else []
    if not recent:
        return None
    more = len(recent) < MOST_TRIES
    then = recent[-1] + PAUSES[len(recent) - 1] if more else recent[-MOST_TRIES] + DAY
    return then if now < then else None


def turn(now: Standing, already: Collection[str], per_factory: int) -> dict[str, tuple[str, ...]]:
    """Return the nodes to bring to the champion next, by factory; at most so many in each.

    `already` names those that had their turn.
    """
    chosen: dict[str, list[str]] = defaultdict(list)
    for item in now.behind:
        if item.kind == "due" and item.node not in already:
            chosen[item.factory].append(item.node)
    return {factory: tuple(nodes[:per_factory]) for factory, nodes in sorted(chosen.items())}


def left_over(views: Sequence[NodeView], package: Package) -> dict[str, tuple[str, ...]]:
    """Return nodes, by factory, that keep a pull of the champion for nothing.

    They serve it already, or the pull failed and stands in the way of the next.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for view in views:
        pull = view.pull_of(package.digest)
        if pull is None or not view.online or pull.state is PullState.PULLING:
            continue
        if view.serves(package.digest) or pull.state is PullState.FAILED:
            found[view.factory].append(view.node)
    return {factory: tuple(nodes) for factory, nodes in found.items()}


def after_turn(before: Standing, reports: Iterable[StageReport], now: datetime) -> Standing:
    """Return what is known once a turn is over: who is there, who failed and why, who went away."""
    nodes = [node for report in reports for node in report.nodes]
    ended = {report.node: report for report in nodes}
    tried = dict(before.tried)
    for failed in of_fate(nodes, Fate.FAILED):
        earlier = tried[failed.node].at if failed.node in tried else ()
        recent = tuple(at for at in earlier if now - at < DAY)
        tried[failed.node] = Tried((*recent, now), failed.reason)
    for there in of_fate(nodes, Fate.DONE):
        tried.pop(there.node, None)
    behind = (_ended(item, ended.get(item.node), tried, now) for item in before.behind)
    return Standing(tuple(item for item in behind if item), tried)


def _behind(
    view: NodeView,
    package: Package,
    known: Standing,
    opening: datetime | None,
    now: datetime,
    swap: bool,  # noqa: FBT001 - of the whole workload
) -> Behind | None:
    out = left_out_of(view, package, swap=swap)
    if out:
        match out.kind:
            case "deferred" | "excluded" as kind:
                return Behind(view.node, view.factory, kind, out.reason)
            case _:
                return None
    if opening:
        reason = f"its maintenance window opens at {opening:%Y-%m-%d %H:%M} UTC"
        return Behind(view.node, view.factory, "closed", reason)
    past = known.tried.get(view.node)
    if past and next_try(past, now):
        return _paused(view.node, view.factory, past, now)
    return Behind(view.node, view.factory, "due", _shown(view))


def _ended(
    item: Behind, report: NodeReport | None, tried: Mapping[str, Tried], now: datetime
) -> Behind | None:
    if report is None:
        return item
    if report.fate is Fate.DONE:
        return None
    if report.fate is Fate.DEFERRED:
        return Behind(item.node, item.factory, "deferred", report.reason)
    return _paused(item.node, item.factory, tried[item.node], now)


def _paused(node: str, factory: str, past: Tried, now: datetime) -> Behind:
    again = next_try(past, now) or now
    times = "once" if len(past.at) == 1 else f"{len(past.at)} times"
    reason = f"failed {times}, next try at {again:%Y-%m-%d %H:%M} UTC: {past.reason}"
    return Behind(node, factory, "paused", reason)


def _shown(view: NodeView) -> str:
    return f"serves {view.serving.digest[:19]}" if view.serving else "serves nothing"
