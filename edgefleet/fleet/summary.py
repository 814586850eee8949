"""What a person asks about releases and nodes, answered from the ledger's documents. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from edgefleet.edge.contract import Digest
from edgefleet.fleet.inventory import NodeView
from edgefleet.fleet.pins import Pin
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.reconcile import Behind
from edgefleet.fleet.release import ENDS, Phase, Release
from edgefleet.fleet.stage import NodeReport, StageReport

_UNDONE: Final = {*ENDS, Phase.REVERTING} - {Phase.RELEASED}
"""Nobody wants the release's package any more."""


@dataclass(frozen=True, slots=True)
class Why:
    """Why a node serves what it serves, for one workload."""

    node: str
    factory: str
    workload: str
    serves: str
    wants: str
    explanation: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FactoryCount:
    """One factory's nodes of a workload."""

    factory: str
    workload: str
    nodes: int
    offline: int
    held: int
    serving: Mapping[str, int]
    """By what they serve, in words; of the nodes that are online."""


def count_factory(
    factory: str,
    workload: str,
    selector: Mapping[str, str],
    views: Sequence[NodeView],
    names: Mapping[Digest, str],
) -> FactoryCount:
    """Count the nodes that a workload selects; a package without a name is its digest."""
    mine = [view for view in views if selector.items() <= view.labels.items()]
    served = Counter(
        names.get(view.serving.digest, view.serving.digest[:19]) if view.serving else "nothing"
        for view in mine
        if view.online
    )
    offline = sum(not view.online for view in mine)
    held = sum(view.hold_reason is not None for view in mine)
    return FactoryCount(factory, workload, len(mine), offline, held, dict(sorted(served.items())))


def explain(
    view: NodeView,
    workload: str,
    release: Release | None,
    plan: Plan | None,
    reports: Sequence[StageReport],
    behind: Behind | None = None,
) -> Why:
    """Return the facts about one node, most direct first."""
    lines: list[str] = []
    if not view.online:
        why = view.away or "its link or its factory does not answer"
        lines.append(f"it is offline: {why}; it keeps serving")
    if view.hold_reason:
        lines.append(f"its factory holds it: {view.hold_reason}")
    if view.problem:
        lines.append(view.problem)
    if view.serving and view.serving.problem:
        lines.append(f"its server says: {view.serving.problem}")
    if behind:
        lines.append(f"reconcile: {behind.kind}: {behind.reason}")
    if plan is not None and release is not None:
        lines += _from_plan(view.node, release, plan)
    lines += [
        _told(report) for stage in reports for report in stage.nodes if report.node == view.node
    ]
    serving = view.serving.digest if view.serving else "nothing"
    undone = release is not None and release.phase in _UNDONE
    wants = plan.want if plan and not undone else (view.ordered or "nothing")
    return Why(
        view.node,
        view.factory,
        workload,
        serving,
        wants,
        tuple(lines) or ("nothing stands in its way",),
    )


def kept_back(why: Why, pin: Pin, want: Digest) -> Why:
    """Return the same of a pinned node: its pin comes first, whatever a release wants."""
    return replace(why, wants=want, explanation=(pin.in_words, *why.explanation))


def _from_plan(node: str, release: Release, plan: Plan) -> list[str]:
    for out in plan.left_out:
        if out.node == node:
            return [f"{release.release_id} left it out ({out.kind}): {out.reason}"]
    for wave in plan.waves:
        if any(change.node == node for change in wave.changes):
            return [f"{release.release_id} is {release.phase}; the node is in {wave.name}"]
    return [f"{release.release_id} does not name it: it joined later or its labels do not match"]


def _told(report: NodeReport) -> str:
    return f"last stage: {report.fate}" + (f": {report.reason}" if report.reason else "")
