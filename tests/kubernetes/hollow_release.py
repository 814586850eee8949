"""Whole releases over a hollow fleet: the flow, the ledger and the sites that the product has.

Only what is outside is played: a registry and packages in memory, and the fleet. Its control planes
are prepared as docs/kubernetes.md asks for, and sites have no more than the rights given there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import yaml

from edgefleet.adapters.known import known_images
from edgefleet.adapters.kubernetes.config import ClusterConfig, Clusters, FactoryConfig, PodConfig
from edgefleet.adapters.kubernetes.site import KubernetesSite
from edgefleet.adapters.kubernetes.sites import sites_of
from edgefleet.adapters.ledger import SqlLedger
from edgefleet.adapters.memory.images import MemoryImages
from edgefleet.adapters.memory.models import MemoryModels
from edgefleet.adapters.memory.windows import Quality
from edgefleet.adapters.scrape import Scrape
from edgefleet.cli.own_prefect import own_prefect
from edgefleet.edge.contract import Digest
from edgefleet.fleet.inventory import NodeView
from edgefleet.fleet.release import Admission, Phase, Release, Signal
from edgefleet.model.miniature import write_miniature
from edgefleet.model.signature import TRUST_FOLDER, make_key, public_keys
from edgefleet.report.gather import ReleaseStory, gather
from edgefleet.spec import Spec, parse_spec
from edgefleet.wiring import WallClock, World, installed
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.factory import driver_of, prepare
from tests.kubernetes.cluster.hollow import (
    NAMESPACE,
    REPOSITORY,
    HollowFleet,
    Layout,
    Planes,
    hollow_fleet,
)

WINDOW_S = 2.0
_PREPARED = 4
"""Control planes prepared at one time."""
SPEC = f"""
workload: defect-detection
model: defect-classifier
selector: {{line: camera}}
approval: {{before_rollout: auto}}
quantization: {{precision: fp32}}
canary: {{fraction: 0.05, min_nodes: 2}}
# As wide as can be: what is measured is the cost of the work, and no pause.
prepull: {{nodes_at_once: 10000, starts_per_min: 600000}}
waves:
  shares: [0.4, 1.0]
  holdback: 0.1
  at_once_per_factory: 10000
  ready_timeout_s: 600
  windows: 1
gates:
  window_s: {WINDOW_S}
  min_windows: 3
  max_windows: 20
  pre_windows: 8
  shadow_rate: 1.0
  accuracy: {{margin_pt: 5}}
  latency: {{margin_pct: 100, quantiles: [0.5, 0.95]}}
  errors: {{margin_pt: 2}}
  floors: {{accuracy: 0.6, error_rate: 0.05}}
"""


class TimedLedger(SqlLedger):
    """The ledger, and when each step of a release was written into it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.moves: dict[str, list[tuple[float, Phase]]] = {}
        """By release: when it came into which phase."""
        self.kept: dict[tuple[str, str, int], float] = {}
        """When a document was stored first, by release, kind and number."""

    def move(
        self, release_id: str, phase: Phase, signal: Signal, reason: str, epoch: int, now: datetime
    ) -> Release:
        moved = super().move(release_id, phase, signal, reason, epoch, now)
        self.moves.setdefault(release_id, []).append((time.monotonic(), moved.phase))
        return moved

    def put(self, release_id: str, kind: str, number: int, body: bytes, epoch: int) -> None:
        super().put(release_id, kind, number, body, epoch)
        self.kept.setdefault((release_id, kind, number), time.monotonic())


class FieldImages(MemoryImages):
    """Packages, each worth in the field what its release was told that it is."""

    def __init__(self, fleet: HollowFleet) -> None:
        super().__init__()
        self.promised: dict[str, Quality] = {}
        """By release."""
        self._fleet = fleet
        self._worth: dict[str, Quality] = {}

    def push(self, package: Path, tag: str) -> Digest:
        digest = super().push(package, tag)
        found = (quality for release, quality in self.promised.items() if tag.endswith(release))
        for quality in found:
            self._worth[digest] = quality
            self._fleet.worth(self._worth)
        return digest


@dataclass(frozen=True)
class Stage:
    """A fleet, and the world of its releases."""

    fleet: HollowFleet
    world: World
    ledger: TimedLedger
    images: FieldImages
    sites: Mapping[str, KubernetesSite]
    spec: Spec = field(default_factory=lambda: parse_spec(SPEC, "test"))

    def submit(self, seed: int, quality: Quality | None = None, **changes: object) -> str:
        """Admit a version that is worth `quality` (None: as much as others); return its release."""
        folder = self.world.work_dir / f"miniature-{seed}"
        write_miniature(folder, self.spec.model, seed)
        spec = self.spec.model_copy(update=changes)
        admission = Admission(
            workload=spec.workload,
            fleet=spec.fleet,
            model=spec.model,
            version=self.world.models.register(folder, {}).version,
            asked_by="test",
            spec=yaml.safe_dump(spec.model_dump(mode="json")),
        )
        release_id = self.ledger.admit(admission, datetime.now(UTC))[0].release_id
        if quality is not None:
            self.images.promised[release_id] = quality
        return release_id

    def first(self, seed: int) -> str:
        """Admit a first champion, soon there: a look at the canary, and none after waves."""
        gates = self.spec.gates.model_copy(update={"min_windows": 1})
        waves = self.spec.waves.model_copy(update={"windows": 0, "shares": (1.0,)})
        return self.submit(seed, gates=gates, waves=waves)

    def release(self, release_id: str) -> ReleaseStory:
        """Drive a release to its end."""
        from flows.release import release  # noqa: PLC0415 - once Prefect's server is up

        release(release_id)
        return gather(self.ledger, release_id)

    def views(self) -> list[NodeView]:
        """Return all nodes of the fleet."""
        sites = self.sites.values()
        return [view for site in sites for view in site.snapshot(self.spec.workload)]

    def calls(self) -> Counter[str]:
        """Return the calls to all API servers so far, by verb and kind."""
        clusters = {site.cluster for site in self.sites.values()}
        return sum((cluster.api.calls for cluster in clusters), Counter[str]())

    def how(self, release_id: str) -> str:
        """Return the journal of a release."""
        lines = self.ledger.journal(release_id)
        return "\n".join(f"{entry.at:%H:%M:%S} {entry.phase} {entry.text}" for entry in lines)

    def close(self) -> None:
        """Stop watching."""
        for site in self.sites.values():
            site.cluster.close()


@contextmanager
def staged(
    folder: Path, nodes: Layout, planes: Planes = "each", settle_s: float = 120.0
) -> Iterator[Stage]:
    """Yield a fleet with a control plane for each factory or one for all, its world installed."""
    with hollow_fleet(nodes, planes) as fleet, own_prefect():
        clusters = _described(fleet, settle_s)
        keys = folder / "keys"
        make_key(keys)
        ledger, images = TimedLedger(f"sqlite:///{folder}/ledger.db"), FieldImages(fleet)
        trust = public_keys(keys / TRUST_FOLDER)
        sites = sites_of(clusters, REPOSITORY, known_images(ledger, images, folder), trust)
        clock = WallClock()
        world = World(
            clock=clock,
            ledger=ledger,
            models=MemoryModels(clock),
            images=images,
            telemetry=Scrape(),
            sites=sites,
            key_dir=keys,
            work_dir=folder / "work",
        )
        stage = Stage(fleet, world, ledger, images, sites)
        try:
            with installed(world):
                yield stage
        finally:
            stage.close()


def _described(fleet: HollowFleet, settle_s: float) -> Clusters:
    """Return what a file of these clusters would say, once their administrators are done."""
    pods = PodConfig(status_port=fleet.status_port, window_s=WINDOW_S, min_ready_s=0)

    def entry(plane: ControlPlane) -> ClusterConfig:
        prepare(plane)
        return ClusterConfig(
            name=plane.name,
            kubeconfig=driver_of(plane),
            namespace=NAMESPACE,
            factories=tuple(
                FactoryConfig(name=factory.name, selector=dict(factory.selector))
                for factory in fleet.factories.values()
                if factory.plane is plane and factory.selector
            ),
            settle_s=settle_s,
            pods=pods,
        )

    with ThreadPoolExecutor(_PREPARED) as threads:
        return Clusters(clusters=tuple(threads.map(entry, fleet.planes)))
