"""The ledger, as the flows see it: what holds, what was kept, and the lease of whoever drives.

Plain functions, not Prefect tasks: the ledger is the truth and Prefect's run state a view of it, so
a write must neither be retried nor replayed by Prefect.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeVar

import msgspec

from edgefleet.documents import decode
from edgefleet.errors import Conflict, Fenced, Refused, Unreachable
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.release import Phase, Release, Signal
from edgefleet.ports import Image
from edgefleet.spec import Spec, parse_spec
from edgefleet.wiring import WallClock, World, world

T = TypeVar("T")

_WALL = WallClock()
"""A lease guards against other processes, so it counts real seconds in every world."""


class Drive(msgspec.Struct, frozen=True):
    """Who moves a release: its id and the epoch of the lease under which every write is made."""

    release_id: str
    epoch: int

    @property
    def release(self) -> Release:
        """The release as the ledger holds it now."""
        return world().ledger.release(self.release_id)

    @property
    def spec(self) -> Spec:
        """The spec as it was admitted."""
        return spec_of(self.release_id)

    def move(self, phase: Phase, signal: Signal, reason: str) -> Release:
        """Advance the release; see `Ledger.move`."""
        here = world()
        return here.ledger.move(
            self.release_id, phase, signal, reason, self.epoch, here.clock.now()
        )

    def note(self, text: str) -> None:
        """Add a line to the journal."""
        here = world()
        here.ledger.note(self.release_id, text, here.clock.now())

    def keep(self, kind: str, number: int, document: object) -> None:
        """Store a document."""
        body = msgspec.json.encode(document)
        world().ledger.put(self.release_id, kind, number, body, self.epoch)

    def latest(self, kind: str, form: type[T]) -> T | None:
        """Return the document of a kind with the highest number, None if there is none."""
        found = latest(self.release_id, kind, form)
        return found[1] if found else None

    def recall_all(self, kind: str, form: type[T]) -> dict[int, T]:
        """Return all documents of a kind by number, ascending."""
        bodies = world().ledger.all(self.release_id, kind)
        return {n: decode(body, form) for n, body in bodies.items()}

    def recall(self, kind: str, number: int, form: type[T]) -> T | None:
        """Return a document, None if there is none."""
        return recall(self.release_id, kind, number, form)


def spec_of(release_id: str) -> Spec:
    """Return the spec with which a release was admitted."""
    return _parsed(world().ledger.spec(release_id), f"spec of {release_id}")


@lru_cache(maxsize=16)
def _parsed(text: str, origin: str) -> Spec:
    """Return the spec in a text; every step asks for it, and reading YAML takes 20 ms."""
    return parse_spec(text, origin)


def recall(release_id: str, kind: str, number: int, form: type[T]) -> T | None:
    """Return a document, None if there is none."""
    body = world().ledger.get(release_id, kind, number)
    return None if body is None else decode(body, form)


def needed(release_id: str, kind: str, number: int, form: type[T]) -> T:
    """Return a document that an earlier phase must have stored.

    Raises:
        Refused: it is not there, so the ledger was altered from outside.
    """
    found = recall(release_id, kind, number, form)
    if found is None:
        raise Refused(
            release_id, f"its {kind} {number} is not in the ledger", "Abort it and release anew"
        )
    return found


def latest(release_id: str, kind: str, form: type[T]) -> tuple[int, T] | None:
    """Return the document of a kind with the highest number, None if there is none."""
    bodies = world().ledger.all(release_id, kind)
    if not bodies:
        return None
    number = max(bodies)
    return number, decode(bodies[number], form)


@contextmanager
def driving(release_id: str) -> Iterator[Drive]:
    """Hold the workload's lease while driving its release, renewed by a thread.

    A holder that renews in time is never displaced: this waits until its lease runs out, which is
    at most one lease after it died.

    Raises:
        Conflict: another driver kept renewing for three leases.
    """
    here = world()
    workload = here.ledger.release(release_id).workload
    holder = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
    epoch = _acquired(here, workload, holder)
    stopped = threading.Event()
    renewer = threading.Thread(
        target=_renewing, args=(here, workload, holder, epoch, stopped), daemon=True
    )
    renewer.start()
    try:
        yield Drive(release_id, epoch)
    finally:
        stopped.set()
        renewer.join()
        here.ledger.leave(workload, holder, epoch)


def _acquired(here: World, workload: str, holder: str) -> int:
    pause_s = here.lease_s / 4
    for _ in range(12):
        try:
            return here.ledger.acquire(workload, holder, _WALL.now(), here.lease_s)
        except Conflict:
            _WALL.sleep(pause_s)
    return here.ledger.acquire(workload, holder, _WALL.now(), here.lease_s)


def _renewing(
    here: World, workload: str, holder: str, epoch: int, stopped: threading.Event
) -> None:
    while not stopped.wait(here.lease_s * 0.3):
        try:
            here.ledger.renew(workload, holder, epoch, _WALL.now(), here.lease_s)
        except Unreachable:
            continue
        except Fenced:
            return  # every write of the driver is refused from now on


def champion_of(workload: str) -> Image | None:
    """Return the package that last ended RELEASED for the workload, None if none has."""
    for past in world().ledger.releases(workload):
        if past.phase is Phase.RELEASED:
            return needed(past.release_id, "package", 0, Image)
    return None


def released_at(workload: str) -> datetime:
    """Return when the champion's release ended; the beginning of time if there is none."""
    for past in world().ledger.releases(workload):
        if past.phase is Phase.RELEASED:
            return past.changed_at
    return datetime.fromtimestamp(0, UTC)


def before_it(release_id: str) -> str:
    """Return the older release that is still live for the same workload; empty: it is its turn."""
    ledger = world().ledger
    own = ledger.release(release_id)
    older = (
        other.release_id
        for other in ledger.releases(own.workload)
        if other.live and other.generation < own.generation
    )
    return min(older, default="")


def newest(release_id: str) -> bool:
    """Say whether no release came after it for its workload."""
    ledger = world().ledger
    latest_of_all, *_ = ledger.releases(ledger.release(release_id).workload)
    return latest_of_all.release_id == release_id


def approved_plan(release_id: str) -> Plan:
    """Return the plan with the highest number: the one that was approved."""
    found = latest(release_id, "plan", Plan)
    if found is None:
        raise Refused(release_id, "it has no plan in the ledger", "Abort it and release anew")
    return found[1]
