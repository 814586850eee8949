"""A factory of a memory world, behind the same port as a real one, and fenced like it."""

from __future__ import annotations

from collections.abc import Mapping

from edgefleet.adapters.memory.world import MemoryWorld
from edgefleet.edge.contract import Digest, ShadowOrder
from edgefleet.errors import Fenced, Unreachable
from edgefleet.fleet.inventory import Change, NodeView
from edgefleet.unplug import Delays


class MemorySite:
    """Implements `ports.Site`; keeps the highest epoch that it has seen for each workload."""

    def __init__(self, factory: str, world: MemoryWorld) -> None:
        self.factory = factory
        self._world = world
        self._nodes = {n.name: n for n in world.nodes.values() if n.factory == factory}
        self._epochs: dict[str, int] = {}

    def snapshot(self, workload: str) -> tuple[NodeView, ...]:
        """Return every node of the factory as it is seen now, for `workload`."""
        with self._world.lock:
            now_s = self._answering()
            return tuple(node.view(workload, now_s) for node in self._nodes.values())

    def hold(self, node: str, digest: Digest, seed: str | None = None) -> None:
        """Bring a package to a node and keep it there; one that failed is tried again."""
        with self._world.lock:
            now_s = self._answering()
            self._world.pull(self._world.node(node, self.factory), digest, seed, now_s)

    def release_hold(self, node: str, digest: Digest) -> None:
        """Let a package go; it stays while it serves or is the shadow."""
        with self._world.lock:
            self._answering()
            self._world.node(node, self.factory).pulls.pop(digest, None)

    def apply(self, change: Change) -> None:
        """Order a change; an offline node takes it when it is back.

        Raises:
            Fenced: the site has seen a higher epoch for the workload.
            Conflict: neither `was` nor `want` is what the node was told last.
        """
        with self._world.lock:
            now_s = self._answering()
            node = self._world.node(change.node, self.factory)
            seen = self._epochs.get(change.workload, 0)
            if change.epoch < seen:
                message = (
                    f"{self.factory}: change of {change.node} has epoch {change.epoch}, "
                    f"{seen} was seen for {change.workload}: another driver has taken over"
                )
                raise Fenced(message)
            self._epochs[change.workload] = change.epoch
            node.order(change, now_s)

    def shadow(self, workload: str, orders: Mapping[str, ShadowOrder]) -> None:
        """Tell nodes whom to answer a sample of the requests a second time with."""
        with self._world.lock:
            now_s = self._answering()
            nodes = {name: self._world.node(name, self.factory) for name in orders}
            for name, order in orders.items():
                shadows = nodes[name].job(workload).shadows
                if not shadows or shadows[-1][1] != order:
                    shadows.append((nodes[name].online_from(now_s), order))

    @property
    def delays(self) -> Delays:
        """How long it takes until a snapshot shows a cut, and its end."""
        return Delays()

    def unplug(self, node: str, seconds: float) -> None:
        """Cut a node's link for so long; 0: restore it."""
        with self._world.lock:
            self._answering()
            self._world.unplug(self._world.node(node, self.factory), seconds)

    def _answering(self) -> float:
        """Return the time, or Unreachable while the factory's control plane is down."""
        if self._world.down(self.factory):
            message = f"{self.factory}: its control plane gave no answer; nothing is known, wait"
            raise Unreachable(message)
        return self._world.now_s


def sites_of(world: MemoryWorld) -> dict[str, MemorySite]:
    """Return the site of every factory."""
    return {factory: MemorySite(factory, world) for factory in world.factories}
