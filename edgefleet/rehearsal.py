"""A release rehearsed: a world in memory with its own clock, for the very same release flow.

It shows how a spec behaves on a fleet of a size, with faults: pacing, waves, looks, deferrals. It
says nothing about a real model's quality: the package is a miniature and evidence is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgefleet.adapters.ledger import SqlLedger
from edgefleet.adapters.memory.clock import MemoryClock
from edgefleet.adapters.memory.faults import Fault
from edgefleet.adapters.memory.images import MemoryImages
from edgefleet.adapters.memory.models import MemoryModels
from edgefleet.adapters.memory.site import sites_of
from edgefleet.adapters.memory.telemetry import MemoryTelemetry
from edgefleet.adapters.memory.world import MemoryWorld
from edgefleet.fleet.release import Admission
from edgefleet.model.miniature import write_miniature
from edgefleet.model.signature import make_key
from edgefleet.model.submission import checked_metrics
from edgefleet.spec import Approval, Spec
from edgefleet.wiring import World
from edgefleet.written import written

_UNPACED: Final = 10_000
"""Nodes at once: as many as a memory world has."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A world in memory, with what a release of it needs."""

    world: World
    fleet: MemoryWorld
    spec: Spec

    def submit(self, seed: int, *, hurried: bool = False) -> str:
        """Register another version and admit it; return the release's id.

        `hurried`: unpaced, one look, none after waves: to get a first champion quickly.
        """
        folder = self.world.work_dir / f"miniature-{seed}"
        write_miniature(folder, self.spec.model, seed)
        version = self.world.models.register(folder, checked_metrics(folder)).version
        spec = _hurried(self.spec) if hurried else self.spec
        admission = Admission(
            workload=spec.workload,
            fleet=spec.fleet,
            model=spec.model,
            version=version,
            asked_by="rehearsal",
            spec=written(spec),
        )
        return self.world.ledger.admit(admission, self.world.clock.now())[0].release_id

    def strike(self, faults: Sequence[Fault]) -> None:
        """Let faults happen from now on."""
        for fault in faults:
            self.fleet.strike(fault)


def stage(spec: Spec, folder: Path, *, nodes: int, factories: int, seed: int = 0) -> Stage:
    """Return a fresh world below `folder`; approvals are given by the spec itself."""
    clock = MemoryClock()
    images = MemoryImages()
    fleet = MemoryWorld(
        nodes,
        factories,
        seed,
        clock=clock,
        window_s=spec.gates.window_s,
        labels=spec.selector,
        images=images,
    )
    keys = folder / "keys"
    make_key(keys)
    world = World(
        clock=clock,
        ledger=SqlLedger(f"sqlite:///{folder}/ledger.db"),
        models=MemoryModels(clock),
        images=images,
        telemetry=MemoryTelemetry(
            fleet,
            requests=max(round(spec.gates.window_s * 4), 100),
            label_rate=spec.gates.label_rate,
        ),
        sites=sites_of(fleet),
        key_dir=keys,
        work_dir=folder / "work",
    )
    return Stage(world, fleet, _unattended(spec))


def _unattended(spec: Spec) -> Spec:
    approval = Approval(before_rollout="auto", before_fleet="auto")
    quantization = spec.quantization.model_copy(update={"precision": "fp32"})
    return spec.model_copy(update={"approval": approval, "quantization": quantization})


def _hurried(spec: Spec) -> Spec:
    gates = spec.gates.model_copy(update={"min_windows": 1})
    waves = spec.waves.model_copy(
        update={"windows": 0, "shares": (1.0,), "at_once_per_factory": _UNPACED}
    )
    prepull = spec.prepull.model_copy(
        update={"nodes_at_once": _UNPACED, "starts_per_min": 60 * _UNPACED}
    )
    return spec.model_copy(update={"gates": gates, "waves": waves, "prepull": prepull})
