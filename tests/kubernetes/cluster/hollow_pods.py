"""What pods there are, who serves on which node since when, and what they say of themselves.

It asks the API servers on connections of its own. An API server that is away takes nothing from
its pods: they go on as they were last seen, as real ones do.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from edgefleet.adapters.kubernetes.api import Api
from edgefleet.adapters.kubernetes.informer import Informer
from edgefleet.adapters.kubernetes.objects import ConfigMap, Meta, Node, Part, PodStatus
from edgefleet.adapters.memory.draw import GOLDEN, Plant
from edgefleet.adapters.memory.windows import (
    EQUAL,
    Character,
    Drawn,
    Quality,
    Rhythm,
    Served,
    characters,
    reading,
)
from edgefleet.edge.contract import (
    LOADING,
    Digest,
    Evidence,
    SelfCheck,
    ServerSettings,
    ShadowOrder,
    Summary,
    Windows,
)
from edgefleet.errors import Unreachable
from edgefleet.fleet.manifest_names import FENCE, WORKLOAD, shadow_key, shadow_map

SWITCH = "test/online"
"""The label of nodes that are switched on."""
_SPOOL = 240
"""Windows that a node keeps."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the process that answers for pods is started with."""

    planes: dict[str, str]
    """Kubeconfig by name of the control plane."""
    namespace: str
    nodes: tuple[str, ...]
    """All of the fleet, in the order in which their characters are dealt out."""
    qualities: str
    """File with what packages are worth, by digest; read again when it changes."""
    port_file: str
    """Where it writes the port that it listens on."""
    plant: Plant


class Container(Part, frozen=True):
    """A container as it was ordered, with its words."""

    args: tuple[str, ...] = ()


class Spec(Part, frozen=True):
    """A pod as it was ordered."""

    node_name: str = ""
    containers: tuple[Container, ...] = ()


class Pod(Part, frozen=True):
    """A pod that serves."""

    metadata: Meta
    spec: Spec = Spec()
    status: PodStatus = PodStatus()

    @property
    def runs(self) -> bool:
        return any(one.state.running for one in self.status.container_statuses)

    @property
    def ready(self) -> bool:
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)


@dataclass
class Plane:
    """One API server, as it was last seen."""

    name: str
    pods: Informer[Pod]
    nodes: Informer[Node]
    maps: Informer[ConfigMap]
    seen: tuple[Mapping[str, Pod], Mapping[str, Node], Mapping[str, ConfigMap]] = ({}, {}, {})

    @classmethod
    def at(cls, name: str, kubeconfig: str, namespace: str) -> Plane:
        api = Api.of_context(name, Path(kubeconfig), None)
        space = f"/api/v1/namespaces/{namespace}"
        return cls(
            name,
            Informer(api, f"{space}/pods", Pod, WORKLOAD),
            Informer(api, "/api/v1/nodes", Node, f"{SWITCH}=yes"),
            Informer(api, f"{space}/configmaps", ConfigMap, f"{WORKLOAD},!{FENCE}"),
        )

    def look(self) -> None:
        try:
            self.seen = (self.pods.all(), self.nodes.all(), self.maps.all())
        except Unreachable:
            return


@dataclass
class Place:
    """One workload on one node: what outlives its pods."""

    servers: list[Served] = field(default_factory=list)
    shadows: list[tuple[float, ShadowOrder]] = field(default_factory=list)


@dataclass(frozen=True)
class Server:
    """A pod that runs, and whether its node is switched on."""

    pod: Pod
    settings: ServerSettings
    since_s: float
    linked: bool


class Pods:
    """All of the fleet's; `look` as often as changes shall be noticed."""

    def __init__(self, order: Order, clock: Callable[[], float] = time.time) -> None:
        self._planes = [Plane.at(name, to, order.namespace) for name, to in order.planes.items()]
        self._clock = clock
        own = characters(order.nodes, order.plant.seed)
        self._characters: Mapping[str, Character] = {one.node: one for one in own}
        self._plant = order.plant
        self._qualities: Mapping[Digest, Quality] = {}
        self._file, self._written = Path(order.qualities), -1
        self._drawn: defaultdict[float, Drawn] = defaultdict(lambda: Drawn(self._plant))
        self._settings: dict[str, tuple[ServerSettings, float]] = {}
        self._servers: dict[str, Server] = {}
        self._places: defaultdict[tuple[str, str], Place] = defaultdict(Place)

    def look(self) -> None:
        """Notice what changed since the last look."""
        now = self._clock()
        self._read_qualities()
        servers: dict[str, Server] = {}
        here: dict[tuple[str, str], list[Server]] = {place: [] for place in self._places}
        for plane in self._planes:
            plane.look()
            pods, nodes, maps = plane.seen
            for pod in pods.values():
                if not (pod.status.pod_ip and pod.runs):
                    continue
                settings, since_s = self._known(pod, now)
                server = Server(pod, settings, since_s, pod.spec.node_name in nodes)
                servers[pod.status.pod_ip] = server
                here.setdefault((settings.node, settings.workload), []).append(server)
                self._hear(settings, maps, now)
        for place, found in here.items():
            self._succeed(self._places[place].servers, found, now)
        alive = {server.pod.metadata.uid for server in servers.values()}
        self._settings = {uid: known for uid, known in self._settings.items() if uid in alive}
        self._servers = servers
        for window_s, drawn in self._drawn.items():
            drawn.forget(Rhythm(window_s).number(now))

    def summary(self, address: str) -> Summary | None:
        """Return what the pod with an address says; None: nobody answers there."""
        server = self._servers.get(address)
        if server is None or not server.linked:
            return None
        pod, settings = server.pod, server.settings
        rhythm, now = _rhythm(settings), self._clock()
        window, boot = rhythm.number(now), f"{settings.node}/{_boot(pod)}"
        ready = pod.ready
        check = SelfCheck(passed=True, agreed=GOLDEN, total=GOLDEN)
        if not ready:
            check = SelfCheck(passed=False, agreed=0, total=0, reason=LOADING)
        return Summary(
            workload=settings.workload,
            digest=settings.digest,
            boot=boot,
            ready=ready,
            self_check=check,
            warm=window > rhythm.number(server.since_s) + rhythm.warmup,
            window_s=settings.window_s,
            uptime_s=now - server.since_s,
            p50_ms=None,
            p95_ms=None,
            p99_ms=None,
            queue_depth=0,
            total=Evidence(window=window, digest=settings.digest, boot=boot),
            shadow=settings.shadow_digest,
            disk_free_mb=8192,
        )

    def windows(self, address: str, after: int) -> Windows | None:
        """Return the closed windows with number > `after` of the node of a pod; None: as above."""
        server = self._servers.get(address)
        if server is None or not server.linked:
            return None
        settings, now = server.settings, self._clock()
        rhythm = _rhythm(settings)
        place = self._places[settings.node, settings.workload]
        current = rhythm.number(now)
        first = rhythm.number(place.servers[0].since_s) if place.servers else current
        records = [
            record
            for window in range(max(after + 1, first, current - _SPOOL), current)
            for record in self._records(window, rhythm, settings.node, place)
        ]
        return Windows(now=now, window_s=settings.window_s, records=tuple(records))

    def _records(self, window: int, rhythm: Rhythm, node: str, place: Place) -> Sequence[Evidence]:
        drawn = reading(
            window,
            rhythm,
            self._characters[node],
            place.servers,
            place.shadows,
            lambda digest: self._qualities.get(digest, EQUAL),
        )
        return self._drawn[rhythm.window_s].records(window, [drawn]) if drawn else ()

    def _known(self, pod: Pod, now: float) -> tuple[ServerSettings, float]:
        known = self._settings.get(pod.metadata.uid)
        if known is None:
            [words] = pod.spec.containers[0].args
            known = (msgspec.json.decode(words, type=ServerSettings), now)
            self._settings[pod.metadata.uid] = known
        return known

    def _hear(self, settings: ServerSettings, maps: Mapping[str, ConfigMap], now: float) -> None:
        """Note a shadow order that is new to a node."""
        named = shadow_map(settings.workload)
        told = next((found for found in maps.values() if found.metadata.name == named), None)
        text = told.data.get(shadow_key(settings.node)) if told else None
        if text is None:
            return
        order = msgspec.json.decode(text, type=ShadowOrder)
        shadows = self._places[settings.node, settings.workload].shadows
        if not shadows or shadows[-1][1] != order:
            shadows.append((now, order))

    def _succeed(self, servers: list[Served], found: Sequence[Server], now: float) -> None:
        """Note who serves, if it is another than before: the latest of those that are ready."""
        ready = [server for server in found if server.pod.ready]
        if not ready:
            if servers and servers[-1].digest is not None:
                servers.append(Served(now, None, ""))
            return
        best = max(ready, key=lambda s: (not s.pod.metadata.deletion_timestamp, s.since_s))
        boot = _boot(best.pod)
        if not servers or servers[-1].boot != boot:
            settings = best.settings
            servers.append(Served(now, settings.digest, boot, settings.shadow_digest))

    def _read_qualities(self) -> None:
        written = self._file.stat().st_mtime_ns
        if written != self._written:
            told = msgspec.json.decode(self._file.read_bytes(), type=dict[str, Quality])
            self._qualities = {Digest(digest): quality for digest, quality in told.items()}
            self._written = written


def _rhythm(settings: ServerSettings) -> Rhythm:
    return Rhythm(settings.window_s, settings.warmup_windows)


def _boot(pod: Pod) -> str:
    return pod.metadata.uid[:8]
