"""How gently images reach a factory: a token bucket for starts, and who pulls next from whom.

The first copy crosses the factory's WAN alone; the others are seeded by a node that has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from edgefleet.edge.contract import Digest
from edgefleet.fleet.inventory import NodeView, PullState

BURST: Final = 1.0
"""Starts that a factory's bucket saves up: pulls are paced one by one, never in volleys."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Starts that may be made now, as counted at a moment."""

    tokens: float
    at: datetime


def take(bucket: Bucket, per_min: float, burst: float, now: datetime) -> tuple[Bucket, bool]:
    """Return the bucket afterwards, and whether a start was taken from it.

    It fills by `per_min` up to `burst`. A clock that went back fills nothing.
    """
    passed_s = max(0.0, (now - bucket.at).total_seconds())
    tokens = min(burst, bucket.tokens + passed_s * per_min / 60)
    at = max(now, bucket.at)
    # Sixty additions of 1/60 must make a start.
    taken = tokens >= 1 - 1e-9
    return Bucket(max(0.0, tokens - 1) if taken else tokens, at), taken


def pulls_to_start(
    views: Sequence[NodeView], wanted: Sequence[str], digest: Digest, nodes_at_once: int
) -> tuple[tuple[str, str | None], ...]:
    """Return (node, seeding node) of the pulls to order now in one factory; no seed: over the WAN.

    While no node has the package and one is pulling it, the others wait. A pull that failed is not
    started again, and an offline node neither seeds, nor pulls, nor holds up the others.
    """
    reachable = [view for view in views if view.online]
    having = {state: _in_state(reachable, digest, state) for state in PullState}
    untouched = {
        view.node for view in reachable if view.hold_reason is None and view.pull_of(digest) is None
    }
    ready = [node for node in wanted if node in untouched]
    seeds, busy = having[PullState.PRESENT], len(having[PullState.PULLING])
    if not seeds:
        return () if busy or not ready else ((ready[0], None),)
    return tuple((node, seeds[0]) for node in ready[: max(0, nodes_at_once - busy)])


def _in_state(views: Sequence[NodeView], digest: Digest, state: PullState) -> list[str]:
    pulls = ((view.node, view.pull_of(digest)) for view in views)
    return [node for node, pull in pulls if pull is not None and pull.state is state]
