"""Pins: which nodes keep the package of an earlier release. Reconcile brings them there.

Plain functions, as all that writes into the ledger.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from edgefleet.edge.contract import Digest
from edgefleet.errors import Refused, Unreachable
from edgefleet.fleet.inventory import Inventory, NodeView
from edgefleet.fleet.pins import Pin
from edgefleet.fleet.release import Phase, Release
from edgefleet.fleet.rollback import named
from edgefleet.ports import Image
from edgefleet.spec import Spec
from edgefleet.wiring import world
from tasks.records import recall
from tasks.sites import look_around

ASKED_BY_CHARS: Final = 255
"""As many as the ledger keeps."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """What became of the nodes that somebody asked for."""

    workload: str
    nodes: tuple[str, ...]
    release_id: str = ""
    """Whose package they keep; empty: they follow the champion."""


def shipped(releases: Sequence[Release]) -> dict[str, Digest]:
    """Return the packages of releases that ended RELEASED, by release."""
    ended = (release.release_id for release in releases if release.phase is Phase.RELEASED)
    images = {release_id: recall(release_id, "package", 0, Image) for release_id in ended}
    return {release_id: image.digest for release_id, image in images.items() if image}


def pin(spec: Spec, nodes: Sequence[str], reason: str, asked_by: str, to: str = "") -> Pinned:
    """Pin nodes to the package of a release of their workload; `to` empty: the champion's.

    Raises:
        Refused: there is no reason, a node is not of the workload, or the release did not end as
            released.
    """
    refuse_unexplained(spec.workload, reason)
    ledger = world().ledger
    releases = ledger.releases(spec.workload)
    goal = named(spec.workload, releases, shipped(releases), to)
    return pin_to(goal, nodes_of(spec, nodes, ()), reason, asked_by)


def pin_to(goal: Release, nodes: Collection[str], reason: str, asked_by: str) -> Pinned:
    """Pin nodes to the package of a release, and write so into its journal."""
    here = world()
    now = here.clock.now()
    names = tuple(sorted(nodes))
    made = Pin(goal.release_id, reason, asked_by[:ASKED_BY_CHARS], now)
    here.ledger.pin(goal.workload, names, made)
    here.ledger.note(goal.release_id, f"{', '.join(names)} {made.in_words}", now)
    return Pinned(goal.workload, names, goal.release_id)


def unpin(workload: str, nodes: Sequence[str], asked_by: str) -> Pinned:
    """Let nodes follow the champion again.

    Raises:
        Refused: none is named, or one of them is not pinned.
    """
    here = world()
    pins = here.ledger.pins(workload)
    free = sorted(set(nodes) - pins.keys())
    if free or not nodes:
        listed = ", ".join(pins) or "none"
        subject = ", ".join(free) or "no node"
        raise Refused(subject, f"not pinned for {workload} (pinned: {listed})", "Name pinned ones")
    names = tuple(sorted(set(nodes)))
    here.ledger.unpin(workload, names)
    for release_id in sorted({pins[node].release_id for node in names}):
        mine = ", ".join(node for node in names if pins[node].release_id == release_id)
        text = f"{mine} unpinned by {asked_by}: the champion comes"
        here.ledger.note(release_id, text, here.clock.now())
    return Pinned(workload, names)


def refuse_unexplained(workload: str, reason: str) -> None:
    """Refuse what nobody would understand later.

    Raises:
        Refused: there is no reason.
    """
    if not reason.strip():
        raise Refused(workload, "no reason is given", "Say why with --reason: it is shown later")


def nodes_of(spec: Spec, nodes: Sequence[str], factories: Sequence[str]) -> frozenset[str]:
    """Return the named nodes of a workload, and all of its nodes in the named factories.

    Raises:
        Refused: a name is none of the workload's.
        Unreachable: a named factory is silent: its nodes are not known now.
    """
    seen = look_around(spec.workload)
    silent = [f"{name}: {why}" for name, why in seen.silent.items() if name in factories]
    if silent:
        raise Unreachable(f"{'; '.join(silent)}; retry later, or name its nodes one by one")
    mine = {view.node: view.factory for view in _selected(spec, seen)}
    unknown = sorted({*nodes} - mine.keys() | {*factories} - set(mine.values()))
    if unknown:
        names = ", ".join(unknown)
        problem = f"no node or factory of {spec.workload} ({len(mine)} nodes are seen)"
        raise Refused(names, problem, "`edgefleet status` shows them")
    return frozenset(nodes) | {node for node, factory in mine.items() if factory in factories}


def _selected(spec: Spec, seen: Inventory) -> list[NodeView]:
    return [view for view in seen.nodes if spec.selector.items() <= view.labels.items()]
