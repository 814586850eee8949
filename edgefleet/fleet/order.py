"""What a factory is asked to do in one stage, as one message, and what it answers.

The same order is carried out in the driver's process, or by a worker inside the factory: see
`tasks.stages`. Everything that the stage needs is in it, so that a worker asks nobody anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from edgefleet.edge.contract import Digest, ShadowOrder
from edgefleet.fleet.inventory import Change, NodeView
from edgefleet.fleet.stage import Fate, NodeReport, StageReport


class Look(msgspec.Struct, frozen=True, tag="look"):
    """Show every node."""

    workload: str


class BringPackage(msgspec.Struct, frozen=True, tag="prepull"):
    """Bring a package to nodes, seeder first, within the factory's token bucket."""

    workload: str
    nodes: tuple[str, ...]
    want: Digest
    nodes_at_once: int
    starts_per_min: float
    timeout_s: float
    """After which a node without the package has failed."""


class ChangeNodes(msgspec.Struct, frozen=True, tag="change"):
    """Change nodes of one workload, a few at a time, each until it shows the digest itself."""

    changes: tuple[Change, ...]
    at_once: int
    ready_timeout_s: float
    """After which a node that does not serve has failed, counted from its own order."""
    begun_by: datetime | None = None
    """From when on no further node is begun: its factory's maintenance window closes. None: no end
    is near."""


class LetGo(msgspec.Struct, frozen=True, tag="let-go"):
    """Let nodes drop a package that nothing needs but perhaps their own server."""

    nodes: tuple[str, ...]
    digest: Digest


class OrderShadows(msgspec.Struct, frozen=True, tag="shadow"):
    """Tell nodes whom to answer a sample of the requests a second time with."""

    workload: str
    of_nodes: Mapping[str, ShadowOrder]


class CutLinks(msgspec.Struct, frozen=True, tag="unplug"):
    """Cut nodes off their network for a while, and look until they are away; 0 s: restore them."""

    workload: str
    nodes: tuple[str, ...]
    seconds: float


Order = Look | BringPackage | ChangeNodes | LetGo | OrderShadows | CutLinks


class Found(msgspec.Struct, frozen=True):
    """What came of an order."""

    report: StageReport | None = None
    """Of the stages that work on nodes one by one."""
    views: tuple[NodeView, ...] = ()
    """The factory's nodes as they were seen at the end, for orders that say for which workload."""
    back_s: float = 0.0
    """Of a cut: so long after its end nodes may still be shown as away."""


class Errand(msgspec.Struct, frozen=True):
    """An order on its way to a factory's worker; what it says is signed."""

    factory: str
    order: Order
    expires: datetime
    """After it nobody may begin on it: the driver has gone on without the factory."""


class Answer(msgspec.Struct, frozen=True):
    """What a worker sends back."""

    found: Found | None
    """None: the order was not carried out."""
    refused: str = ""
    """Why not, in words."""


def longest_s(order: Order) -> float:
    """Return how many seconds an order may take once somebody has begun on it."""
    match order:
        case BringPackage():
            # A node's time begins with the stage, not with its own pull.
            return order.timeout_s
        case ChangeNodes():
            rounds = -(-len(order.changes) // order.at_once)
            return rounds * order.ready_timeout_s
        case CutLinks():
            # No cut ends before its site has had the time to show it.
            return order.seconds
        case _:
            return 0.0


def undelivered(factory: str, order: Order, reason: str) -> Found:
    """Return what came of an order that nobody took: its nodes are deferred, and none has failed.

    What a worker did with it all the same shows at the next look.
    """

    def deferred(nodes: tuple[str, ...]) -> tuple[NodeReport, ...]:
        return tuple(NodeReport(node, factory, Fate.DEFERRED, reason) for node in nodes)

    match order:
        case BringPackage():
            return Found(StageReport(factory, "prepull", deferred(order.nodes)))
        case ChangeNodes():
            nodes = tuple(change.node for change in order.changes)
            return Found(StageReport(factory, "change", deferred(nodes)))
        case _:
            return Found()


def workload_of(order: Order) -> str | None:
    """Return the workload whose nodes an order concerns; None: it concerns all of them."""
    match order:
        case ChangeNodes():
            return order.changes[0].workload
        case LetGo():
            return None
        case _:
            return order.workload
