"""One simulated factory: its nodes, its networks, and the fence that keeps old drivers out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from edgefleet.adapters.local.config import FactoryConfig, SupervisorConfig
from edgefleet.adapters.local.disk import read_whole, write_whole
from edgefleet.adapters.local.links import Link
from edgefleet.adapters.local.manner import Manner
from edgefleet.adapters.local.node import Node, free_now
from edgefleet.adapters.local.pulls import Wires
from edgefleet.adapters.local.store import Store
from edgefleet.edge.contract import Digest, ShadowOrder
from edgefleet.errors import Conflict, Fenced, Refused
from edgefleet.fleet.inventory import Change, NodeView


class Factory:
    """The Site port's calls, on this side of the wire."""

    def __init__(self, config: FactoryConfig, fleet: SupervisorConfig, manner: Manner) -> None:
        """Read what the disk knows."""
        self.name = config.name
        folder = Path(fleet.root) / "factories" / config.name
        folder.mkdir(parents=True, exist_ok=True)
        self._fence_file = folder / "epochs.json"
        self._epochs = read_whole(self._fence_file, dict[str, int], {})
        wires = Wires(
            central=Store(Path(fleet.images_dir)),
            mirror=Store(folder / "mirror"),
            wan=Link(config.wan_mbit),
            lan=Link(config.lan_mbit),
            trust_dir=Path(fleet.trust_dir),
            margin_mb=fleet.disk_margin_mb,
        )
        self.nodes = {
            node.name: Node(
                config.name,
                node,
                folder / "nodes" / node.name,
                wires,
                manner,
                fleet.label_rate,
                self._pull_failed,
            )
            for node in config.nodes
        }

    def start(self) -> None:
        """Go on with everything that the disk knows."""
        for node in self.nodes.values():
            node.start()

    async def stop(self) -> None:
        """End all servers of the factory."""
        await asyncio.gather(*(node.stop() for node in self.nodes.values()))

    async def snapshot(self, workload: str) -> tuple[NodeView, ...]:
        """Return every node as it is seen now."""
        free = free_now()
        views = (node.view(workload, free) for node in self.nodes.values())
        return tuple(await asyncio.gather(*views))

    def hold(self, node: str, digest: Digest, seed: str | None) -> None:
        """Bring a package to a node and keep it there."""
        if seed is not None:
            self._node(seed)
        self._node(node).pulls.hold(digest, seed)

    def release_hold(self, node: str, digest: Digest) -> None:
        """Let a package go; it stays while it serves or is the shadow."""
        found = self._node(node)
        found.pulls.release(digest)
        found.collect()

    def apply(self, change: Change) -> None:
        """Order a change: fence first, then `was`, then the disk.

        Raises:
            Fenced: a higher epoch was seen for the workload.
            Conflict: the node has neither `was` nor `want`.
        """
        seen = self._epochs.get(change.workload, 0)
        if change.epoch < seen:
            message = (
                f"node {change.node}: order of epoch {change.epoch} for {change.workload}, "
                f"but epoch {seen} was seen: a newer driver holds it"
            )
            raise Fenced(message)
        job = self._node(change.node).job(change.workload)
        # After a change that failed, the order and the server differ: both are true of the node.
        if change.want != job.ordered and change.was not in {job.ordered, job.running}:
            message = (
                f"node {change.node}: change from {change.was or 'nothing'}, but ordered is "
                f"{job.ordered or 'nothing'} and {job.running or 'nothing'} serves: read it again"
            )
            raise Conflict(message)
        if change.epoch > seen:
            self._epochs[change.workload] = change.epoch
            write_whole(self._fence_file, self._epochs)
        job.order(change.want)

    def shadow(self, workload: str, orders: Mapping[str, ShadowOrder]) -> None:
        """Tell nodes whom to answer a sample of the requests a second time with."""
        for node, order in orders.items():
            self._node(node).job(workload).shadow(order)

    def unplug(self, node: str, seconds: float) -> None:
        """Cut a node's link for so long; 0: restore it."""
        self._node(node).unplug(seconds)

    def _pull_failed(self, node: str, digest: Digest) -> str:
        return self._node(node).pull_failed(digest)

    def _node(self, name: str) -> Node:
        if name not in self.nodes:
            known = ", ".join(self.nodes) or "none"
            subject = f"node {name}"
            raise Refused(subject, f"is not in factory {self.name} ({known})", "Name one")
        return self.nodes[name]
