"""What one factory is asked to do in one stage, and how to read from its nodes what came of it.

Pure: `pending`, `outcome_of` look at a snapshot only. A stage is over for a node when it is done,
failed with a reason, or deferred (out of reach: neither done nor failed).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edgefleet.edge.contract import Digest
from edgefleet.fleet.inventory import Change, NodeView, PullState

CLOSED: Final = "its maintenance window closed before its turn"
"""Why a node is deferred that nobody has touched: its wave goes on when the window opens again."""


class Fate(StrEnum):
    """What became of one node in one stage."""

    DONE = "done"
    FAILED = "failed"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node's end of a stage."""

    node: str
    factory: str
    fate: Fate
    reason: str = ""
    transferred_bytes: int = 0
    seconds: float = 0.0
    source: str = ""


@dataclass(frozen=True, slots=True)
class StageReport:
    """One factory's end of a stage."""

    factory: str
    stage: str
    nodes: tuple[NodeReport, ...]
    wan_bytes: int = 0


def out_of_reach(view: NodeView | None) -> str:
    """Return why a node cannot be worked on now, in words; empty: it can."""
    if view is None:
        return "its factory did not answer"
    if not view.online:
        return view.away or "offline"
    return f"held by the factory: {view.hold_reason}" if view.hold_reason else ""


def pull_report(view: NodeView | None, node: str, factory: str, want: Digest) -> NodeReport | None:
    """Return how a pull ended, None while it has not."""
    away = out_of_reach(view)
    if view is None or away:
        return NodeReport(node, factory, Fate.DEFERRED, away)
    pull = view.pull_of(want)
    if pull is None or pull.state is PullState.PULLING:
        return None
    fate = Fate.DONE if pull.state is PullState.PRESENT else Fate.FAILED
    return NodeReport(
        node, factory, fate, pull.reason, pull.transferred_bytes, pull.seconds, pull.source.value
    )


def change_report(view: NodeView | None, change: Change, waited_s: float) -> NodeReport | None:
    """Return how an ordered change ended, None while it has not; success is what the node says."""
    away = out_of_reach(view)
    if view is None or away:
        return NodeReport(change.node, change.factory, Fate.DEFERRED, away, seconds=waited_s)
    if view.ordered == change.want and holds(view, change.want):
        return NodeReport(change.node, change.factory, Fate.DONE, seconds=waited_s)
    if view.ordered == change.want and view.problem:
        return NodeReport(change.node, change.factory, Fate.FAILED, view.problem, seconds=waited_s)
    return None


def takes_back(view: NodeView | None, change: Change) -> bool:
    """Say whether a change only takes back an order that has not come about.

    It moves nothing on the node, so it is made although the node is held or out of reach: else the
    order would come about once it is let go.
    """
    if view is None or view.ordered in {change.want, None}:
        return False
    return view.ordered == change.was and holds(view, change.want)


def holds(view: NodeView, want: Digest | None) -> bool:
    """Say whether the node itself shows `want` (None: serves nothing)."""
    return view.serving is None if want is None else view.serves(want)


def too_late(view: NodeView | None, change: Change, waited_s: float) -> NodeReport:
    """Return the report of a node that did not get there in time, with what it shows instead."""
    seen = view.serving if view else None
    shown = "nothing" if seen is None else f"{seen.digest[:19]}, {seen.problem or 'ready'}"
    want = "nothing" if change.want is None else change.want[:19]
    return NodeReport(
        change.node,
        change.factory,
        Fate.FAILED,
        f"serves {shown} after {waited_s:.0f} s, expected {want}: not counted as updated",
        seconds=waited_s,
    )


def not_begun(change: Change) -> NodeReport:
    """Return the report of a node whose turn did not come in its factory's maintenance window."""
    return NodeReport(change.node, change.factory, Fate.DEFERRED, CLOSED)


def no_image(node: str, factory: str, waited_s: float) -> NodeReport:
    """Return the report of a node that has no image in time."""
    reason = f"no image after {waited_s:.0f} s: it keeps what it serves"
    return NodeReport(node, factory, Fate.FAILED, reason, seconds=waited_s)


def in_words(factory: str, reports: Iterable[NodeReport]) -> str:
    """Return one line: counts, and every node that is not done with its reason."""
    listed = tuple(reports)
    counts = ", ".join(f"{len(of_fate(listed, fate))} {fate}" for fate in Fate)
    others = "; ".join(f"{r.node} {r.fate}: {r.reason}" for r in listed if r.fate is not Fate.DONE)
    return f"{factory}: {counts}" + (f" ({others})" if others else "")


def too_many_failed(reports: Iterable[StageReport], most: float) -> str:
    """Return why a stage failed as a whole, in words; empty: it did not.

    `most` is the largest share of failed nodes, of those that are not deferred: where all are, none
    has failed.
    """
    nodes = [node for report in reports for node in report.nodes]
    failed = of_fate(nodes, Fate.FAILED)
    tried = len(nodes) - len(of_fate(nodes, Fate.DEFERRED))
    if len(failed) <= most * tried:
        return ""
    first = "; ".join(f"{node.node}: {node.reason}" for node in failed[:5])
    return f"{len(failed)} of {tried} nodes failed, at most {most:.0%} may ({first})"


def none_tried(reports: Iterable[StageReport]) -> str:
    """Return in words that no node could be worked on; empty: some could."""
    nodes = [node for report in reports for node in report.nodes]
    if len(of_fate(nodes, Fate.DEFERRED)) < len(nodes):
        return ""
    return f"none of {len(nodes)} nodes could be reached"


def counted(reports: Iterable[StageReport]) -> str:
    """Return how many nodes ended how, in one line."""
    nodes = [node for report in reports for node in report.nodes]
    parts = [f"{len(of_fate(nodes, fate))} {fate}" for fate in Fate if of_fate(nodes, fate)]
    return f"{len(nodes)} nodes: {', '.join(parts) or 'nothing to do'}"


def done(reports: Iterable[StageReport]) -> frozenset[str]:
    """Return the names of the nodes that are done."""
    return frozenset(node.node for r in reports for node in of_fate(r.nodes, Fate.DONE))


def of_fate(reports: Iterable[NodeReport], fate: Fate) -> tuple[NodeReport, ...]:
    """Return the nodes that ended so."""
    return tuple(report for report in reports if report.fate is fate)
