"""The drill: which nodes are taken off their network, for how long, and how all of it ended. Pure.

The pick is seeded and takes one node of each factory, so that a factory never lacks two. A node on
which something else depends is left alone: offline, on hold, not at the champion, or the canary of
a release to come. What one node showed is judged in `edgefleet.fleet.drilled`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from edgefleet.edge.contract import Digest
from edgefleet.errors import Refused
from edgefleet.fleet.cohorts import order
from edgefleet.fleet.drilled import LEAST_CLOSED
from edgefleet.fleet.finding import Outcome, worst
from edgefleet.fleet.inventory import NodeView
from edgefleet.fleet.unplugged import Drilled
from edgefleet.unplug import Delays

SHORTEST_S: Final = 5
USUAL_S: Final = 60
LONGEST_S: Final = 3600
"""No node is off its network for longer, whatever is asked."""

Nodes = tuple[NodeView, ...]


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill of a workload, as the ledger keeps it."""

    number: int
    """Counts up per workload."""
    workload: str
    at: datetime
    seconds: int
    seed: int | None
    """Of the pick; None: the nodes were named."""
    consent: str
    """Who agreed; may be empty where the nodes were named."""
    nodes: tuple[Drilled, ...]

    @property
    def verdict(self) -> Outcome:
        """The worst of its nodes."""
        return worst(node.verdict for node in self.nodes)

    @property
    def in_words(self) -> str:
        """One line: counts, and every node that did not pass with its reason."""
        others = "; ".join(
            f"{node.node} {node.verdict}: {node.text}"
            for node in self.nodes
            if node.verdict is not Outcome.PASS
        )
        agreed = f", agreed by {self.consent}" if self.consent else ""
        picked = "" if self.seed is None else f", seed {self.seed}"
        head = f"drill {self.number}, {self.seconds} s{picked}{agreed}: {counted(self.nodes)}"
        return head + (f" ({others})" if others else "")


@dataclass(frozen=True, slots=True)
class Course:
    """One factory in one drill: a line of the trend."""

    number: int
    at: datetime
    factory: str
    seconds: int
    passed: int
    failed: int
    inconclusive: int
    served: int
    """Requests that were answered from the cut to the return."""
    windows_late: int


def length_of(asked: int | None, window_s: float) -> int:
    """Return for how many seconds nodes are off their network.

    Raises:
        Refused: it is too long, or too short for whole windows: nothing could be proven.
    """
    least = max(SHORTEST_S, -int(-LEAST_CLOSED * window_s // 1))
    seconds = max(USUAL_S, least) if asked is None else asked
    if seconds > LONGEST_S:
        problem = f"{seconds} s off the network, at most {LONGEST_S} s are allowed"
        raise Refused("drill", problem, "Ask for less, or set a shorter gates.window_s")
    if seconds < least:
        problem = f"{seconds} s hold no whole window of {window_s:g} s: nothing could be proven"
        raise Refused("drill", problem, f"Ask for at least {least} s")
    return seconds


def check_cut(node: str, seconds: float) -> None:
    """Let a site cut `node` off for so long; 0 ends a cut.

    Raises:
        Refused: it is for too long, or no time at all.
    """
    if not 0 <= seconds <= LONGEST_S:
        problem = f"{seconds:g} s off its network, 0 to {LONGEST_S} s are allowed"
        raise Refused(f"node {node}", problem, "Ask for less")


def check_seen(nodes: Sequence[str], seconds: float, delays: Delays) -> None:
    """Let a site cut `nodes` off for so long only if it can show that they were; 0 ends a cut.

    Raises:
        Refused: it may be over before anybody sees it.
    """
    if 0 < seconds < delays.away_s:
        shown = f"they may be shown offline after {delays.away_s:g} s only"
        problem = f"{seconds:g} s off the network, and {shown}: nothing would be seen"
        raise Refused(f"node {', '.join(nodes)}", problem, f"Ask for at least {delays.away_s:g} s")


def left_alone(view: NodeView, champion: Digest, canaries: Mapping[str, str]) -> str:
    """Return why a node takes part in no drill, in words; empty: it may.

    `canaries`: node -> the live release whose canary it is.
    """
    if not view.online:
        return view.away or "offline"
    if view.hold_reason:
        return f"held: {view.hold_reason}"
    if not view.serves(champion):
        shown = view.serving.digest[:19] if view.serving else "nothing"
        return f"serves {shown}, not the champion {champion[:19]}: pinned to it, or behind"
    if view.node in canaries:
        return f"in the canary of {canaries[view.node]}"
    return ""


def drawn(
    views: Iterable[NodeView], champion: Digest, canaries: Mapping[str, str], seed: int
) -> Nodes:
    """Return one node of each factory that has one to spare, fixed by the seed.

    Raises:
        Refused: no factory has any.
    """
    listed = tuple(views)
    why = {view.node: left_alone(view, champion, canaries) for view in listed}
    fit = {view.node: view for view in listed if not why[view.node]}
    first: dict[str, NodeView] = {}
    for name in order(tuple(fit.values()), f"drill/{seed}") if fit else ():
        first.setdefault(fit[name].factory, fit[name])
    if not first:
        reasons = Counter(why.values()).most_common(3)
        said = "; ".join(f"{count} {reason}" for reason, count in reasons) or "there are none"
        raise Refused("drill", f"none of {len(listed)} nodes may take part ({said})", "Wait")
    return tuple(first[factory] for factory in sorted(first))


def named(
    names: Sequence[str],
    views: Iterable[NodeView],
    champion: Digest,
    canaries: Mapping[str, str],
) -> Nodes:
    """Return the nodes that somebody chose, each once.

    Raises:
        Refused: one of them is not there, or must be left alone.
    """
    known = {view.node: view for view in views}
    chosen = []
    for name in dict.fromkeys(names):
        if name not in known:
            raise Refused(name, f"is none of the workload's {len(known)} nodes", "Name one")
        why = left_alone(known[name], champion, canaries)
        if why:
            raise Refused(name, f"takes part in no drill: {why}", "Name another node, or wait")
        chosen.append(known[name])
    return tuple(chosen)


def rounds(chosen: Iterable[NodeView]) -> tuple[Nodes, ...]:
    """Return who is cut off together: one node of each factory at most."""
    waiting: dict[str, list[NodeView]] = defaultdict(list)
    for view in chosen:
        waiting[view.factory].append(view)
    most = max(map(len, waiting.values()), default=0)
    return tuple(
        tuple(of[turn] for of in waiting.values() if turn < len(of)) for turn in range(most)
    )


def courses(drill: Drill) -> tuple[Course, ...]:
    """Return how each factory did in a drill."""
    return tuple(
        _course(drill, factory, [node for node in drill.nodes if node.factory == factory])
        for factory in sorted({node.factory for node in drill.nodes})
    )


def counted(nodes: Sequence[Drilled]) -> str:
    """Return how many nodes ended how, in one line."""
    ended = Counter(node.verdict for node in nodes)
    listed = ", ".join(f"{ended[outcome]} {outcome}" for outcome in Outcome if ended[outcome])
    return f"{len(nodes)} nodes: {listed or 'nothing to do'}"


def _course(drill: Drill, factory: str, nodes: Sequence[Drilled]) -> Course:
    ended = Counter(node.verdict for node in nodes)
    return Course(
        drill.number,
        drill.at,
        factory,
        drill.seconds,
        ended[Outcome.PASS],
        ended[Outcome.FAIL],
        ended[Outcome.INCONCLUSIVE],
        sum(node.served for node in nodes),
        sum(node.windows_late for node in nodes),
    )
