"""A hall whose nodes serve, a site over it, and clients inside the nodes' own networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgefleet.adapters.kubernetes.site import KubernetesSite
from edgefleet.edge.contract import Digest
from edgefleet.fleet.inventory import Change, NodeView, PullState
from edgefleet.fleet.manifest_names import WORKLOAD
from tests.edge.tiny import DARK, tiny_package
from tests.kubernetes.cluster.factory import NAMESPACE, Factory
from tests.kubernetes.cluster.load import Inside, failed
from tests.kubernetes.cluster.real_node import RealNode
from tests.kubernetes.cluster.remains import wait_for
from tests.kubernetes.cluster.watched import watched_cluster

PATH = "/v2/models/tiny/raw"
RATE_HZ = 60
PROXY_S = 150
"""How long a node's proxy may take to hear of a change once the cable is mended, and the old pod to
go after that."""


@dataclass(frozen=True)
class Life:
    """By what one sees that a pod is still the same, and was never started anew."""

    uid: str
    container: str
    restarts: int


@dataclass
class Hall:
    """Open as long as `open_hall` lasts; each node serves the package `champion` at first."""

    factory: Factory
    site: KubernetesSite
    shelf: Path
    workload: str
    size: int = 2
    """Nodes. They share one folder for their state: where windows are read, take one."""
    address: str = ""
    """Of the service, as clients inside the nodes have it."""
    requests: int = 0
    """Sent so far by all clients that have ended."""
    _epochs: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _files: Iterator[int] = field(default_factory=itertools.count)

    @property
    def nodes(self) -> list[RealNode]:
        return self.factory.nodes[: self.size]

    def package(self, name: str) -> Digest:
        """Return a new package in the registry."""
        made = self.shelf / name
        bias = len(list(self.shelf.iterdir())) / 100
        tiny_package(made, self.shelf / "keys", bias=bias, version=name)
        digest = Digest(self.factory.push(made, f"{self.workload}-{name}"))
        # Told once, as by a ledger: no order to a node may need the registry.
        self.site.cluster.describe(digest)
        return digest

    def view(self, node: RealNode) -> NodeView:
        return next(v for v in self.site.snapshot(self.workload) if v.node == node.name)

    def wait(
        self, node: RealNode, condition: Callable[[NodeView], object], what: str, within_s: float
    ) -> NodeView:
        """Return the first view of a node that meets the condition."""
        seen = []

        def met() -> bool:
            seen[:] = [self.view(node)]
            return bool(condition(seen[0]))

        try:
            wait_for(met, f"{node.name}: {what}", within_s)
        except TimeoutError as error:
            error.add_note(str(seen))
            raise
        return seen[0]

    def wait_serving(self, node: RealNode, digest: Digest, within_s: float = 90) -> NodeView:
        return self.wait(node, lambda v: v.serves(digest), f"serves {digest[:19]}", within_s)

    def wait_offline(self, node: RealNode) -> NodeView:
        return self.wait(node, lambda view: not view.online, "is seen offline", 40)

    def hold(self, node: RealNode, digest: Digest) -> None:
        """Bring a package to a node, and return when it is there."""
        self.site.hold(node.name, digest)

        def there(view: NodeView) -> bool:
            pull = view.pull_of(digest)
            assert pull is None or pull.state is not PullState.FAILED, pull
            return pull is not None and pull.state is PullState.PRESENT

        self.wait(node, there, f"holds {digest[:19]}", 90)

    def order(self, node: RealNode, want: Digest) -> Digest | None:
        """Order a change from whatever the node was told last; return that."""
        was = self.view(node).ordered
        factory = self.site.factory
        self.site.apply(Change(self.workload, node.name, factory, want, was, next(self._epochs)))
        return was

    def serve(self, node: RealNode, want: Digest) -> Life:
        """Bring a package, order it, and return the pod that serves it, alone."""
        self.hold(node, want)
        self.order(node, want)
        self.wait_serving(node, want)
        return self.alone(node)

    def alone(self, node: RealNode) -> Life:
        """Return the pod of a node when it is the only one, and Kubernetes calls it ready."""
        wait_for(lambda: len(self.lives(node)) == 1, f"one pod on {node.name}", PROXY_S)
        return next(iter(self.lives(node)))

    def wait_answers(self, client: Inside, digest: Digest) -> None:
        """Return when a client inside a node is answered by what is to serve there."""
        what = f"answers of {digest[:19]} to {client.cable.namespace}"
        wait_for(lambda: client.answers()[-1].digest == digest, what, PROXY_S)

    def lives(self, node: RealNode) -> set[Life]:
        """Return the pods of a node, whatever has become of them."""
        found = set()
        for pod in self.factory.pods(f"{WORKLOAD}={self.workload}"):
            if pod["spec"].get("nodeName") == node.name:
                [server] = pod["status"].get("containerStatuses") or [{}]
                found.add(
                    Life(
                        pod["metadata"]["uid"],
                        server.get("containerID", ""),
                        server.get("restartCount", 0),
                    )
                )
        return found

    @contextmanager
    def clients(self, *nodes: RealNode) -> Iterator[list[Inside]]:
        """Ask inside each node while the block lasts; none of the requests may have failed."""
        remains = self.factory.remains
        asking: list[Inside] = []
        try:
            for node in nodes:
                file = remains.root / f"client-{self.workload}-{next(self._files)}.jsonl"
                asking.append(
                    Inside(remains, node.cable, file, self.address, 80, PATH, DARK, RATE_HZ)
                )
            yield asking
        finally:
            for client in asking:
                client.end()
        for node, client in zip(nodes, asking, strict=True):
            answers = client.answers()
            lost = failed(answers)
            seconds = answers[-1].at - answers[0].at
            print(  # noqa: T201 - the measurement
                f"{node.name}: {len(answers)} requests in {seconds:.0f} s, "
                f"{len(answers) / seconds:.0f} a second, {len(lost)} failed"
            )
            self.requests += len(answers)
            assert lost == [], (lost[0], lost[-1], len(lost))
            assert len(answers) > 10 * seconds


@contextmanager
def open_hall(factory: Factory, shelf: Path, workload: str, size: int = 2) -> Iterator[Hall]:
    """Yield the hall, and leave the factory as it was."""
    while len(factory.nodes) < size:
        factory.add_node()
    tiny_package(shelf / "first", shelf / "keys")
    manner = factory.manner(window_s=2.0, linger_s=1.0, drain_s=2.0, min_ready_s=0)
    with watched_cluster(factory, shelf / "keys", manner) as cluster:
        hall = Hall(factory, KubernetesSite("graz", cluster), shelf, workload, size)
        try:
            champion = hall.package("champion")
            for node in hall.nodes:
                hall.serve(node, champion)
            path = f"/api/v1/namespaces/{NAMESPACE}/services/{workload}"
            hall.address = factory.plane.ask("GET", path)["spec"]["clusterIP"]
            yield hall
        finally:
            for node in hall.nodes:
                node.cable.mend()
            factory.clear()
