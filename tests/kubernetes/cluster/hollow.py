"""A fleet for numbers: real control planes, nodes and pods that kwok plays, servers that answer.

No lease is renewed, so that a fleet at rest costs next to nothing: a node that is switched off is
marked by `switch_off` as the node controller would mark it once its patience has ended, and taints
follow from that. Pods of a node that is off neither start nor end, and do not answer.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgefleet.adapters.memory.draw import Plant
from edgefleet.adapters.memory.windows import Quality
from edgefleet.fleet.manifest_names import Manner
from tests.kubernetes.cluster import stages
from tests.kubernetes.cluster.admin import Admin, Plane
from tests.kubernetes.cluster.binaries import program
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.given import GivenPlane
from tests.kubernetes.cluster.hollow_pods import SWITCH, Order
from tests.kubernetes.cluster.remains import Program, Remains, run, wait_for

Planes = Literal["each", "one"] | Path
"""A control plane for each factory, one for all, or the one that a kubeconfig file names."""
Layout = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Factory -> node -> labels."""

NAMESPACE = "edgefleet"
REPOSITORY = "registry.invalid/plant/packages"
_NUMBERS = range(120, 240)
"""Of the second byte of the fleet's addresses."""
_NEVER_S = 100_000
"""Nobody renews a lease: no node may be missed for that."""
_LEASES_S = 40
"""In a cluster that exists, whose patience with silent nodes is not ours to say."""
API_OPTIONS = ("--feature-gates=WatchList=false",)
"""kwok watches from the beginning of time, which is then made a list as a stream: and etcd 3.4
cannot do that, so that kwok would lose its watches, and see its pods every few seconds only."""
_STARTS = 4
"""Control planes that start at one time: one waits for disks and ports while others compute."""
_AT_ONCE = 8
"""Calls to one API server."""
_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class HollowFactory:
    """One factory's part of a control plane."""

    name: str
    plane: Plane
    selector: Mapping[str, str]
    """Of its nodes; empty: all of the plane's."""
    nodes: Sequence[str]
    pods: IPv4Network

    @property
    def kubeconfig(self) -> Path:
        return self.plane.kubeconfig


@dataclass
class HollowFleet:
    """Up as long as `hollow_fleet` lasts."""

    remains: Remains
    factories: dict[str, HollowFactory] = field(default_factory=dict)
    admins: dict[str, Admin] = field(default_factory=dict)
    """By name of the control plane."""
    programs: dict[str, Program] = field(default_factory=dict)
    status_port: int = 0

    def __post_init__(self) -> None:
        self._names = itertools.count()
        self.qualities = self.remains.root / "qualities.json"
        self.worth({})

    @property
    def planes(self) -> list[Plane]:
        return [admin.plane for admin in self.admins.values()]

    def manner(self, **options: Any) -> Manner:
        """Return how pods run here."""
        return Manner(NAMESPACE, REPOSITORY, status_port=self.status_port, **options)

    def worth(self, qualities: Mapping[str, Quality]) -> None:
        """Say what packages are worth from now on, also in windows that are past."""
        unfinished = self.qualities.with_suffix(".new")
        unfinished.write_text(json.dumps({str(d): asdict(q) for d, q in qualities.items()}))
        unfinished.rename(self.qualities)

    def let_fail(self, failure: stages.Failure) -> None:
        """Let a package fail in pods that are still to come."""
        name = f"failing-{next(self._names)}"
        for admin in self.admins.values():
            admin.ask("POST", stages.PATH, failure.stage(name))

    def let_be(self) -> None:
        """Let nothing fail any more in pods that are still to come."""
        for admin in self.admins.values():
            for stage in admin.ask("GET", stages.PATH)["items"]:
                name = stage["metadata"]["name"]
                if name.startswith("failing-"):
                    admin.ask("DELETE", f"{stages.PATH}/{name}")

    def switch_off(self, *nodes: str) -> None:
        """Let nodes be missed."""
        for node in nodes:
            admin = self._admin(node)
            admin.patch(f"/api/v1/nodes/{node}", {"metadata": {"labels": {SWITCH: None}}})
            missed = {
                "type": "Ready",
                "status": "Unknown",
                "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
                "lastTransitionTime": datetime.now(UTC).isoformat(),
            }
            admin.patch(f"/api/v1/nodes/{node}/status", {"status": {"conditions": [missed]}})

    def switch_on(self, *nodes: str) -> None:
        """Let nodes be back."""
        for node in nodes:
            labels = {"metadata": {"labels": {SWITCH: "yes"}}}
            self._admin(node).patch(f"/api/v1/nodes/{node}", labels)

    def hear(self, *nodes: str) -> None:
        """Let nodes be Ready again, as edges of KubeEdge are before they tell what their pods are.

        What their pods are is told, and done, once they are switched on.
        """
        now = datetime.now(UTC).isoformat()
        heard = {
            "type": "Ready",
            "status": "True",
            "reason": "EdgeReady",
            "message": "edge is posting ready status",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        for node in nodes:
            status = {"status": {"conditions": [heard]}}
            self._admin(node).patch(f"/api/v1/nodes/{node}/status", status)

    def wait(self, node: str, reason: str, message: str = "") -> None:
        """Let the pods of a node that have not begun wait, and say why."""
        admin = self._admin(node)
        path = f"/api/v1/namespaces/{NAMESPACE}/pods"
        for pod in self.pods(node):
            if pod["status"]["phase"] != "Pending":
                continue
            waiting = {"waiting": {"reason": reason, "message": message}}
            told = [
                {"name": one["name"], "image": one["image"], "imageID": "", "state": waiting}
                | {"ready": False, "started": False, "restartCount": 0}
                for one in pod["spec"]["containers"]
            ]
            admin.patch(
                f"{path}/{pod['metadata']['name']}/status", {"status": {"containerStatuses": told}}
            )

    def pods(self, node: str) -> list[dict[str, Any]]:
        """Return the pods of a node, as its API server knows them."""
        path = f"/api/v1/namespaces/{NAMESPACE}/pods?fieldSelector=spec.nodeName={node}"
        found: list[dict[str, Any]] = self._admin(node).ask("GET", path)["items"]
        return found

    def running(self) -> dict[str, list[Program]]:
        """Return all processes by kind."""
        found: dict[str, list[Program]] = {}
        for plane in self.planes:
            for name, one in plane.programs.items():
                found.setdefault(name, []).append(one)
        for name, one in self.programs.items():
            found.setdefault(name.split(" ")[0], []).append(one)
        return found

    def _admin(self, node: str) -> Admin:
        home = next(one for one in self.factories.values() if node in one.nodes)
        return self.admins[home.plane.name]


def layout(factories: int, nodes: int, **labels: str) -> Layout:
    """Return so many camera nodes in so many factories, as even as can be."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for index in range(nodes):
        factory = f"factory-{index * factories // nodes + 1:02d}"
        found.setdefault(factory, {})[f"node-{index + 1:03d}"] = {"line": "camera", **labels}
    return found


@contextmanager
def hollow_fleet(
    nodes: Layout,
    planes: Planes,
    plant: Plant | None = None,
) -> Iterator[HollowFleet]:
    """Yield a fleet, all Ready."""
    remains = Remains(Path(tempfile.gettempdir()) / f"ef-hollow-{os.getpid()}-{time.time_ns()}")
    fleet = HollowFleet(remains)
    try:
        _raise(fleet, nodes, planes)
        _answer(fleet, plant or Plant())
        for admin in fleet.admins.values():
            here = [one for one in fleet.factories.values() if one.plane is admin.plane]
            _await(admin, sum(len(one.nodes) for one in here))
        yield fleet
    finally:
        # An API server whose etcd ends with it takes a long time to end: nothing here needs grace.
        for one in (one for plane in fleet.planes for one in plane.programs.values()):
            one.kill()
        remains.close()


def _raise(fleet: HollowFleet, nodes: Layout, planes: Planes) -> None:
    """Start the control planes, several at a time, and make the nodes."""
    addresses = _addresses(fleet.remains)
    # Each factory has as many addresses as the others, more than its pods will ever be.
    ranges = addresses.subnets(prefixlen_diff=(len(nodes) - 1).bit_length())
    pods = dict(zip(nodes, ranges, strict=False))
    homes = {name: name if planes == "each" else "centre" for name in nodes}

    def start(home: str) -> None:
        plane: Plane
        if isinstance(planes, Path):
            plane, leases_s = GivenPlane(fleet.remains, home, planes, NAMESPACE), _LEASES_S
        else:
            plane = ControlPlane(fleet.remains, home, grace_s=_NEVER_S, api_options=API_OPTIONS)
            leases_s = 0
        fleet.admins[home] = admin = Admin(plane)
        _teach(admin)
        fleet.programs[f"kwok {home}"] = _player(fleet.remains, plane, addresses, leases_s)
        for factory, of in nodes.items():
            if homes[factory] == home:
                _make(admin, factory, of, pods[factory])

    with ThreadPoolExecutor(_STARTS) as threads:
        list(threads.map(start, dict.fromkeys(homes.values())))
    for name, of in nodes.items():
        selector = {} if planes == "each" else {"factory": name}
        plane = fleet.admins[homes[name]].plane
        fleet.factories[name] = HollowFactory(name, plane, selector, tuple(of), pods[name])


def _addresses(remains: Remains) -> IPv4Network:
    """Return a range of addresses that this machine takes for its own while the fleet is up."""
    known = run("ip", "-4", "addr").stdout + run("ip", "route", "show", "table", "all").stdout
    for number in _NUMBERS:
        if f" 10.{number}." in known:
            continue
        found = IPv4Network(f"10.{number}.0.0/16")
        route = f"local {found} dev lo"
        # Noted afterwards: another fleet may have been quicker, and must keep it.
        if run("ip", "route", "add", *route.split(), check=False).returncode == 0:
            remains.note("route", route)
            return found
    raise RuntimeError(f"no range 10.{_NUMBERS[0]}.0.0/16 and so on can be had: root alone may")


def _teach(admin: Admin) -> None:
    """Make the namespace, and tell the API server what stages are, and which there are."""
    admin.ask("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    admin.ask("POST", path, stages.definition())
    wait_for(lambda: admin.found(stages.PATH), f"stages of {admin.plane.name}")
    for stage in stages.base():
        admin.ask("POST", stages.PATH, stage)


def _player(remains: Remains, plane: Plane, addresses: IPv4Network, leases_s: int) -> Program:
    """Start what plays a plane's nodes and pods."""
    words = [
        program("kwok"),
        f"--kubeconfig={plane.kubeconfig}",
        f"--config={os.devnull}",
        "--enable-crds=Stage",
        f"--manage-nodes-with-label-selector={SWITCH}=yes",
        f"--node-lease-duration-seconds={leases_s}",
        f"--cidr={addresses}",
        "--v=WARN",
    ]
    return remains.start("kwok", words, plane.folder / "kwok.log", dict(os.environ))


def _make(
    admin: Admin, factory: str, nodes: Mapping[str, Mapping[str, str]], pods: IPv4Network
) -> None:
    """Make nodes, switched on."""

    def make(node: str) -> None:
        own = {"kubernetes.io/hostname": node, "factory": factory, SWITCH: "yes"}
        metadata = {"name": node, "labels": {**own, **nodes[node]}}
        admin.ask("POST", "/api/v1/nodes", {"metadata": metadata, "spec": {"podCIDR": str(pods)}})

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(make, nodes))


def _await(admin: Admin, count: int) -> None:
    what = f"{count} nodes of {admin.plane.name} Ready"
    wait_for(lambda: admin.ready_nodes() == count, what, 300)


def _answer(fleet: HollowFleet, plant: Plant) -> None:
    """Start the process that answers for all pods."""
    root = fleet.remains.root
    order = Order(
        planes={name: str(admin.plane.kubeconfig) for name, admin in fleet.admins.items()},
        namespace=NAMESPACE,
        nodes=tuple(node for one in fleet.factories.values() for node in one.nodes),
        qualities=str(fleet.qualities),
        port_file=str(root / "port"),
        plant=plant,
    )
    (root / "edge.json").write_bytes(msgspec.json.encode(order))
    words = [sys.executable, "-m", "tests.kubernetes.cluster.hollow_edge", str(root / "edge.json")]
    env = {**os.environ, "PYTHONPATH": str(_ROOT)}
    edge = fleet.programs["edge"] = fleet.remains.start("edge", words, root / "edge.log", env)

    def told() -> bool:
        if not edge.alive:
            raise RuntimeError(f"edge servers ended: {edge.log.read_text()[-2000:]}")
        return Path(order.port_file).exists()

    wait_for(told, "the port of the edge servers")
    fleet.status_port = int(Path(order.port_file).read_text())
