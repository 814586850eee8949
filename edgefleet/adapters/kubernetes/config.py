"""The file of the clusters: which control planes there are, and which factories are behind them.

Written by people, checked where it enters. One K3s cluster is one factory; a central cluster of
KubeEdge nodes has many, told apart by the labels of their nodes. A factory that only its own worker
reaches is named as such; that worker has a file with the factory's cluster.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from edgefleet.adapters.kubernetes.cable import NOTICE_S
from edgefleet.fleet.manifest_names import Manner
from edgefleet.written import Part, Share, parse, read

_NAME: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"

NodePort = Annotated[int, Field(ge=30000, le=32767)]
"""A port of the range that Kubernetes keeps for them."""


class FactoryConfig(Part):
    """One factory of a cluster with several."""

    name: Annotated[str, Field(pattern=_NAME)]
    """Unique in the fleet."""
    selector: dict[str, str] = Field(default_factory=dict)
    """Labels of its nodes; none: every node of the cluster."""


class PodConfig(Part):
    """How the pods of a cluster are run."""

    pull_secret: str = ""
    """Secret of the namespace with the registry's login; empty: the nodes need none."""
    state_path: str = "/var/lib/edgefleet"
    """Folder of each node for evidence and kept answers."""
    port: int = 8080
    """Port of a pod for inference."""
    status_port: int = 8081
    """Port of a pod for health, metrics and evidence."""
    node_port: NodePort | dict[str, NodePort] | None = None
    """Port of every node at which its cameras find the service. A number is for a cluster with one
    workload; where there are several, a map of workload to port. None, or not named: only pods find
    it."""
    window_s: Annotated[float, Field(gt=0)] = 60.0
    """Length of a window of evidence; must be the specs' `gates.window_s`."""
    warmup_windows: Annotated[int, Field(ge=0)] = 1
    """Windows after a server's start that are marked as not warm."""
    label_rate: Share = 0.1
    """Share of the requests whose true label is wanted."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Inference threads of a server; 0: what its limits allow."""
    drain_s: Annotated[float, Field(ge=0)] = 10.0
    """How long a server that ends may take for what it has accepted."""
    linger_s: Annotated[float, Field(ge=0)] = 3.0
    """A server that was told to end accepts until nobody asked for so long: more than the slowest
    camera's period."""
    linger_max_s: Annotated[float, Field(ge=0)] = 120.0
    """The longest that it goes on so: a node's proxy that was cut off needs up to 75 s to know who
    serves (it notices after 45 s that a connection is dead, and asks again within 30 s)."""
    min_ready_s: Annotated[int, Field(ge=0)] = 2
    """How long a new server must be ready before the old one goes."""
    progress_s: Annotated[int, Field(gt=0)] = 600
    """How long a new server may take to load."""
    priority_class: str = "system-node-critical"
    """Of the servers; empty: none. A kubelet short of disk or memory takes away every pod but those
    of this class."""
    tolerations: tuple[dict[str, str], ...] = ()
    """Of the pods, for taints of the factory's own nodes."""
    hold_upgrade: bool = False
    """On KubeEdge: a node starts the next server only when its own operator lets it go; until then
    the one before serves, and the node is deferred."""

    @model_validator(mode="after")
    def _own_ports(self) -> PodConfig:
        """Let no node port be of two workloads."""
        ports = self.node_port if isinstance(self.node_port, dict) else {}
        for one, other in combinations(ports, 2):
            if ports[one] == ports[other]:
                raise ValueError(f"node_port: {one} and {other} both have {ports[one]}")
        return self


class ClusterConfig(Part):
    """One control plane."""

    name: Annotated[str, Field(pattern=_NAME)]
    """Unique; without `factories` it is the factory's name too."""
    kubeconfig: Path | None = None
    """File with its address and credentials; none: KUBECONFIG, else `~/.kube/config`."""
    context: str | None = None
    """Context of that file; none: its current one."""
    namespace: Annotated[str, Field(pattern=_NAME)] = "edgefleet"
    """Where everything of edgefleet is; it must exist."""
    repository: str = ""
    """Of the packages, as its nodes name it (a factory's mirror: `mirror:5000/plant/packages`);
    empty: as the registry's settings say."""
    factories: tuple[FactoryConfig, ...] = ()
    """Those behind it; none: it is one factory with all its nodes."""
    answers: Literal["direct", "prometheus"] = "direct"
    """How a server's own word comes, without which no change is done: from the pod's address; or,
    where that is out of reach (KubeEdge), as an agent forwarded it to EDGEFLEET_PROMETHEUS_URL."""
    settle_s: Annotated[float, Field(ge=0)] = 120.0
    """A node of KubeEdge that was cut off is Ready before its pods' state is true again: so long
    after it came back it is not judged, and takes no part. Other nodes need no such time."""
    unplug: tuple[str, ...] = ()
    """Command that takes a node off its network for a drill, with its arguments; it is run as
    `COMMAND... NODE SECONDS` and must bring the node back by itself: docs/drill.md. Empty: its
    nodes take part in no drill."""
    notice_s: Annotated[float, Field(gt=0)] = NOTICE_S
    """How long it may take until the cluster calls a node that was cut off not ready: no drill of
    its nodes is shorter."""
    pods: PodConfig = PodConfig()

    @model_validator(mode="after")
    def _apart(self) -> ClusterConfig:
        """Let no node be of two factories: each two must differ in the value of a label."""
        for one, other in combinations(self.factories, 2):
            shared = one.selector.keys() & other.selector.keys()
            if all(one.selector[label] == other.selector[label] for label in shared):
                raise ValueError(
                    f"a node may be of {one.name} and of {other.name}: "
                    "give both a label with another value"
                )
        return self

    def manner(self, repository: str) -> Manner:
        """Return how its pods run, with packages from `repository` unless it has its own."""
        return Manner(
            namespace=self.namespace,
            repository=self.repository or repository,
            **self.pods.model_dump(),
        )

    def sites(self) -> tuple[FactoryConfig, ...]:
        """Return its factories."""
        return self.factories or (FactoryConfig(name=self.name),)


class WorkerConfig(Part):
    """A factory that cannot be reached from here: it has a Prefect worker of its own."""

    name: Annotated[str, Field(pattern=_NAME)]
    """Of the factory, as in its worker's own file of clusters."""
    pool: str = ""
    """Prefect's work pool on which its worker takes orders; empty: the factory's name."""


class Clusters(Part):
    """The whole file."""

    clusters: tuple[ClusterConfig, ...] = ()
    """The control planes that are reached from here."""
    workers: tuple[WorkerConfig, ...] = ()
    """The factories that are not."""

    @model_validator(mode="after")
    def _sound(self) -> Clusters:
        sites = [site.name for cluster in self.clusters for site in cluster.sites()]
        for kind, names in (
            ("cluster", [cluster.name for cluster in self.clusters]),
            ("factory", [*sites, *[worker.name for worker in self.workers]]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{kind} named twice: {', '.join(twice)}")
        if not sites and not self.workers:
            raise ValueError("names neither clusters nor workers")
        return self


def load_clusters(path: Path) -> Clusters:
    """Return the clusters in a file.

    Raises:
        Refused: it cannot be read, is no YAML, or fields are wrong: all are named.
    """
    text = read(path, "a file of clusters")
    return parse(Clusters, text, str(path), "docs/clusters.md", "clusters")
