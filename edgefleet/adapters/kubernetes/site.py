"""The Site port over a cluster: the nodes of one factory, by their labels."""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_not

import msgspec

from edgefleet.adapters.kubernetes.cable import Cable
from edgefleet.adapters.kubernetes.cluster import Cluster
from edgefleet.adapters.kubernetes.edges import is_edge, online
from edgefleet.adapters.kubernetes.objects import Node
from edgefleet.adapters.kubernetes.views import Kin, Said, kin_of, ordered, view
from edgefleet.edge.contract import Digest, ShadowOrder
from edgefleet.errors import Refused
from edgefleet.fleet.inventory import Change, NodeView
from edgefleet.unplug import BACK_S, Delays


class KubernetesSite:
    """One factory. Threads may share it, and factories a cluster."""

    def __init__(
        self,
        factory: str,
        cluster: Cluster,
        selector: Mapping[str, str] | None = None,
        cable: Cable | None = None,
    ) -> None:
        """Work on the nodes that carry the labels; None: on all of the cluster.

        `cable` takes nodes off their network; None: nothing can.
        """
        self.factory = factory
        self.cluster = cluster
        self._cable = cable or Cable()
        self._selector = dict(selector or {})
        self._kins: dict[tuple[str, str], tuple[tuple[object, ...], Kin]] = {}
        self._views: dict[tuple[str, str], tuple[Kin, Mapping[str, Said], str, NodeView]] = {}

    def snapshot(self, workload: str) -> tuple[NodeView, ...]:
        """Return every node of the factory as it is seen now, for `workload`.

        Raises:
            Unreachable: nothing is known of its nodes now.
        """
        away = self.cluster.away()
        kins = [self._kin(workload, node) for _, node in sorted(self._nodes().items())]
        # Who is cut off is not asked: it would only cost the time to wait for it.
        said = self.cluster.answers.of(
            (pod, ordered(kin.deployment))
            for kin in kins
            if online(kin.node) and kin.node.metadata.name not in away
            for pod in kin.pods
        )
        return tuple(
            self._view(workload, kin, said, away.get(kin.node.metadata.name, "")) for kin in kins
        )

    def hold(self, node: str, digest: Digest, seed: str | None = None) -> None:
        """Bring a package to a node and keep it there; its signature is verified on arrival."""
        self._known(node)
        if digest not in self.cluster.held(node):
            self.cluster.hold(node, digest, "wan" if seed is None else "mirror")

    def release_hold(self, node: str, digest: Digest) -> None:
        """Let a package go; it stays while it serves or is the shadow."""
        self._known(node)
        self.cluster.release_hold(node, digest)

    def apply(self, change: Change) -> None:
        """Order a change.

        Raises:
            Fenced: the site has seen a higher epoch for the workload.
            Conflict: `was` does not hold, or somebody else owns what would be changed.
        """
        self._known(change.node)
        self.cluster.order(change)

    def shadow(self, workload: str, orders: Mapping[str, ShadowOrder]) -> None:
        """Tell nodes (by name) whom to answer a sample of the requests a second time with.

        Pods see it when their kubelet next looks: within about a minute.
        """
        for node in orders:
            self._known(node)
        told = {node: msgspec.json.encode(order).decode() for node, order in orders.items()}
        self.cluster.shadow(workload, told)

    @property
    def delays(self) -> Delays:
        """As the control plane has them; an edge that is back is not judged for a while."""
        edges = any(map(is_edge, self._nodes().values()))
        settle_s = self.cluster.settle_s if edges else 0.0
        return Delays(self._cable.notice_s, BACK_S + settle_s)

    def unplug(self, node: str, seconds: float) -> None:
        """Have the plant's own command cut a node off for so long; 0: restore it.

        The command keeps the end. It is not asked whether the node is cut off: the control plane
        says so when it has not heard from it for a while.

        Raises:
            Refused: there is no such command or node, or the command failed.
        """
        self._known(node)
        self._cable.cut(node, seconds)

    def _kin(self, workload: str, node: Node) -> Kin:
        """Return what belongs to a node; made anew only when a part of it has changed."""
        name = node.metadata.name
        here = self.cluster
        parts = (node, here.deployments.of(name), here.pods.of(name), here.jobs.of(name))
        known = self._kins.get((workload, name))
        if known is None or any(map(is_not, known[0], parts)):
            known = parts, kin_of(node, workload, *parts[1:])
            self._kins[workload, name] = known
        return known[1]

    def _view(self, workload: str, kin: Kin, said: Mapping[str, Said], away: str) -> NodeView:
        """Return the view of a node; made anew only when something of it has changed."""
        name = kin.node.metadata.name
        own = {p.metadata.uid: said[p.metadata.uid] for p in kin.pods if p.metadata.uid in said}
        known = self._views.get((workload, name))
        if known is None or known[0] is not kin or known[1:3] != (own, away):
            known = kin, own, away, view(kin, self.factory, own, away)
            self._views[workload, name] = known
        return known[3]

    def _nodes(self) -> dict[str, Node]:
        found = self.cluster.nodes.all().items()
        ours = self._selector.items()
        return {name: node for name, node in found if ours <= node.metadata.labels.items()}

    def _known(self, node: str) -> None:
        nodes = self._nodes()
        if node not in nodes:
            raise Refused(
                node,
                f"is no node of {self.factory} ({len(nodes)} are)",
                "Name one of `edgefleet status`",
            )
