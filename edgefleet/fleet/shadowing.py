"""On which nodes the model before the champion answers a sample of the requests again. Pure.

Each node is told once: a later change of it, by reconcile or a release that went back, leaves it
with another model to compare with, or none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from edgefleet.edge.contract import Digest, ShadowOrder
from edgefleet.fleet.inventory import Inventory, NodeView, Serving
from edgefleet.spec import Spec

Orders = Mapping[str, Mapping[str, ShadowOrder]]
"""Of nodes, by factory."""

_ENDED: Final = ShadowOrder(against="none", rate=0.0)


@dataclass(frozen=True, slots=True)
class Shadowing:
    """What was ordered under one champion, as the ledger keeps it."""

    boots: Mapping[str, str] = field(default_factory=dict)
    """The server that each node had when it was told."""
    after: str = ""
    """The release that had moved nodes last by then."""


def shadow_orders(
    known: Shadowing, spec: Spec, inventory: Inventory, digest: Digest, champion: str, moved: str
) -> tuple[Shadowing, Orders]:
    """Return what is ordered from now on, and the orders for it.

    `champion`: the release of the package `digest`; `moved`: the one that moved nodes last. If it
    is a later one it ended what was ordered before, and left the model before the champion only on
    the nodes that it did not touch.
    """
    order = ShadowOrder(against="previous", rate=spec.guard.shadow_rate)
    orders: dict[str, dict[str, ShadowOrder]] = defaultdict(dict)
    boots = dict(known.boots)
    for view, serving in _serving(spec, inventory, digest):
        told = boots.get(view.node)
        untouched = told == serving.boot and known.after != moved
        if untouched or (told is None and moved == champion):
            orders[view.factory][view.node] = order
            boots[view.node] = serving.boot
    return Shadowing(boots, moved), orders


def shadow_ends(known: Shadowing, inventory: Inventory) -> tuple[Shadowing, Orders]:
    """Return what is still ordered, of nodes that are away, and the orders that end the rest."""
    orders: dict[str, dict[str, ShadowOrder]] = defaultdict(dict)
    for view in inventory.nodes:
        if view.node in known.boots and view.online:
            orders[view.factory][view.node] = _ENDED
    done = {node for nodes in orders.values() for node in nodes}
    left = {node: boot for node, boot in known.boots.items() if node not in done}
    return Shadowing(left, known.after), orders


def _serving(spec: Spec, inventory: Inventory, digest: Digest) -> list[tuple[NodeView, Serving]]:
    mine = (v for v in inventory.nodes if spec.selector.items() <= v.labels.items())
    return [(v, v.serving) for v in mine if v.online and v.serves(digest) and v.serving]
