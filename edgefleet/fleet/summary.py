"""What a person asks about releases and nodes, answered from the ledger's documents. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgefleet.fleet.inventory import NodeView
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.release import Release
from edgefleet.fleet.stage import NodeReport, StageReport


@dataclass(frozen=True, slots=True)
class Why:
    """Why a node serves what it serves, for one workload."""

    node: str
    factory: str
    workload: str
    serves: str
    wants: str
    explanation: tuple[str, ...]


def explain(
    view: NodeView,
    workload: str,
    release: Release | None,
    plan: Plan | None,
    reports: Sequence[StageReport],
) -> Why:
    """Return the facts about one node, most direct first."""
    lines: list[str] = []
    if not view.online:
        lines.append("it is offline: its link or its factory does not answer; it keeps serving")
    if view.hold_reason:
        lines.append(f"its factory holds it: {view.hold_reason}")
    if view.problem:
        lines.append(view.problem)
    if view.serving and view.serving.problem:
        lines.append(f"its server says: {view.serving.problem}")
    if plan is not None and release is not None:
        lines += _from_plan(view.node, release, plan)
    lines += [
        _told(report) for stage in reports for report in stage.nodes if report.node == view.node
    ]
    serving = view.serving.digest if view.serving else "nothing"
    wants = plan.want if plan else (view.ordered or "nothing")
    return Why(
        view.node,
        view.factory,
        workload,
        serving,
        wants,
        tuple(lines) or ("nothing stands in its way",),
    )


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
