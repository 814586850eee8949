"""The outside things, one small protocol each; adapters implement them, tasks call them.

All calls are blocking and may raise `Unreachable` (nothing is known, retry later). Orders to a
site are level-triggered: they say what shall hold, return at once, may be repeated, and what came
of them is read from the next snapshot.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from edgefleet.edge.contract import Digest, Evidence, ShadowOrder
from edgefleet.fleet.drivers import Lease
from edgefleet.fleet.inventory import Change, NodeView
from edgefleet.fleet.pins import Pin
from edgefleet.fleet.release import Admission, Phase, Release, Signal
from edgefleet.spec import On
from edgefleet.unplug import Unplug


class Clock(Protocol):
    """Time, so that a rehearsal may own it."""

    def now(self) -> datetime:
        """Return the current time, aware, UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Site(Unplug, Protocol):
    """One factory: its nodes, and the orders to them."""

    factory: str

    def snapshot(self, workload: str) -> tuple[NodeView, ...]:
        """Return every node of the factory as it is seen now, for `workload`."""
        ...

    def hold(self, node: str, digest: Digest, seed: str | None = None) -> None:
        """Bring a package to a node and keep it there; its signature is verified on arrival.

        `seed` names the node whose copy crossed the WAN; None: this node is the seeder.
        """
        ...

    def release_hold(self, node: str, digest: Digest) -> None:
        """Let a package go; it stays while it serves or is the shadow."""
        ...

    def apply(self, change: Change) -> None:
        """Order a change.

        Raises:
            Fenced: the site has seen a higher epoch for the workload.
            Conflict: `was` does not hold (and `want` does not either).
        """
        ...

    def shadow(self, workload: str, orders: Mapping[str, ShadowOrder]) -> None:
        """Tell nodes (by name) whom to answer a sample of the requests a second time with."""
        ...


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an image."""

    digest: Digest
    size: int
    kind: str
    """`base` or `model`."""


@dataclass(frozen=True, slots=True)
class Image:
    """A package as a registry holds it."""

    digest: Digest
    layers: tuple[Layer, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)


class Images(Protocol):
    """Where packages are kept, by digest."""

    def push(self, package: Path, tag: str) -> Digest:
        """Store the OCI image of a package folder (PACKAGE_FILES), its base layers, and a tag."""
        ...

    def resolve(self, tag: str) -> Digest:
        """Return the digest behind a tag.

        Raises:
            Refused: there is no such tag.
        """
        ...

    def describe(self, digest: Digest) -> Image:
        """Return layers with sizes.

        Raises:
            Refused: there is no such image.
        """
        ...

    def fetch(self, digest: Digest, folder: Path) -> None:
        """Unpack the model layer into `folder`, every byte checked against its digest.

        Raises:
            Refused: a blob is missing or its bytes are not what its digest says.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One registered version, with what its tags say became of it."""

    model: str
    version: str
    registered_at: datetime
    tags: Mapping[str, str]
    aliases: tuple[str, ...] = ()


class Models(Protocol):
    """Where models are registered."""

    def versions(self, model: str) -> tuple[ModelVersion, ...]:
        """Return all versions of a model, newest first; an unknown model has none."""
        ...

    def asking(self, model: str, on: On, after: int | None) -> tuple[ModelVersion, ...]:
        """Return the versions that ask for a release in that way, oldest first, without aliases.

        `any`: the complete ones with a number above `after`; None: the newest alone. An unknown
        model has none. What it costs does not depend on how many versions there are.
        """
        ...

    def register(self, folder: Path, metrics: Mapping[str, float]) -> ModelVersion:
        """Register a checked submission folder; the tag that asks for a release is set last."""
        ...

    def fetch(self, model: str, version: str, folder: Path) -> None:
        """Download a submission folder (model.onnx, card.json, data sets).

        Raises:
            Refused: there is no such version, or it lacks a part.
        """
        ...

    def record(self, model: str, version: str, tags: Mapping[str, str]) -> None:
        """Write what became of a version."""
        ...

    def alias(self, model: str, alias: str, version: str) -> None:
        """Point an alias at a version."""
        ...


class Telemetry(Protocol):
    """Where evidence comes from. A node without a reading is absent: no evidence, never zeros."""

    def collect(
        self, workload: str, nodes: Sequence[NodeView], after: int
    ) -> Mapping[str, tuple[Evidence, ...]]:
        """Return, per node that answered, the records of closed windows with number > `after`."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a release's journal."""

    at: datetime
    phase: str
    text: str


class Ledger(Protocol):
    """The durable truth about releases. Every write of a driver carries its epoch."""

    def admit(self, admission: Admission, now: datetime) -> tuple[Release, bool]:
        """Return the release of a registration, and whether this call made it (a unique row)."""
        ...

    def release(self, release_id: str) -> Release:
        """Return a release.

        Raises:
            Refused: the ledger knows none of that id.
        """
        ...

    def releases(self, workload: str | None = None) -> tuple[Release, ...]:
        """Return all releases (of a workload), newest first."""
        ...

    def spec(self, release_id: str) -> str:
        """Return the spec's text as it was admitted."""
        ...

    def move(
        self, release_id: str, phase: Phase, signal: Signal, reason: str, epoch: int, now: datetime
    ) -> Release:
        """Advance from `phase` by `signal`; the journal gets the reason in the same transaction.

        Raises:
            Fenced: the workload's lease has a higher epoch.
            Conflict: the release is in another phase, or the signal means nothing there.
        """
        ...

    def ask_abort(self, release_id: str, why: str, now: datetime) -> Release:
        """Record that an abort is wanted; the driver acts on it. Needs no lease; idempotent."""
        ...

    def note(self, release_id: str, text: str, now: datetime) -> None:
        """Add a line to the journal, stamped with the current phase."""
        ...

    def journal(self, release_id: str) -> tuple[Entry, ...]:
        """Return the journal, oldest first."""
        ...

    def put(self, release_id: str, kind: str, number: int, body: bytes, epoch: int) -> None:
        """Store a document (plan, evidence, verdict, ...); the same key is replaced.

        Raises:
            Fenced: the workload's lease has a higher epoch.
        """
        ...

    def get(self, release_id: str, kind: str, number: int) -> bytes | None:
        """Return a document, None if there is none."""
        ...

    def all(self, release_id: str, kind: str) -> Mapping[int, bytes]:
        """Return all documents of a kind by number, ascending."""
        ...

    def past(self, workload: str, model: str, on: On) -> int | None:
        """Return the version up to which none is released by itself; None: never watched so far."""
        ...

    def set_past(self, workload: str, model: str, on: On, version: int) -> None:
        """Record it; it never goes down."""
        ...

    def pin(self, workload: str, nodes: Collection[str], pin: Pin) -> None:
        """Keep nodes at a release's package from now on; an older pin of theirs is replaced."""
        ...

    def unpin(self, workload: str, nodes: Collection[str]) -> None:
        """Let nodes follow the champion again; nothing happens to those that do."""
        ...

    def pins(self, workload: str) -> Mapping[str, Pin]:
        """Return the workload's pins by node."""
        ...

    def acquire(self, workload: str, holder: str, now: datetime, lease_s: float) -> int:
        """Take the workload's lease and return the new epoch (one higher than ever before).

        Raises:
            Conflict: another holder's lease has not run out.
        """
        ...

    def renew(self, workload: str, holder: str, epoch: int, now: datetime, lease_s: float) -> None:
        """Extend the lease.

        Raises:
            Fenced: it is not held by `holder` at `epoch` any more.
        """
        ...

    def leave(self, workload: str, holder: str, epoch: int) -> None:
        """Give the lease back; nothing happens when it is not held."""
        ...

    def leases(self) -> Mapping[str, Lease]:
        """Return the lease of every workload that has one, or had."""
        ...

    def take_start(self, factory: str, starts_per_min: float, now: datetime) -> bool:
        """Take a pull's start from the factory's token bucket, shared by all workloads."""
        ...
