"""The ledger, as the flows see it: what holds, what was kept, and the lease of whoever drives.

Plain functions, not Prefect tasks: the ledger is the truth and Prefect's run state a view of it, so
a write must neither be retried nor replayed by Prefect.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, TypeVar

import msgspec

from edgefleet.documents import decode
from edgefleet.edge.contract import Digest
from edgefleet.errors import Conflict, Fenced, Refused, Unreachable
from edgefleet.fleet.drill import Drill
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.reconcile import Standing
from edgefleet.fleet.release import Phase, Release, Signal
from edgefleet.ports import Image, Ledger
from edgefleet.spec import Spec, parse_spec
from edgefleet.wiring import WallClock, World, world
from tasks.policy import PATIENCE_S

T = TypeVar("T")
logger = logging.getLogger(__name__)

STANDING: Final = "reconcile"
"""Kind of the document, of a champion's release, with the nodes behind it."""

DRILL: Final = "drill"
"""Kind of the documents, of a champion's release, with the drills while it was one."""

_WALL = WallClock()
"""A lease guards against other processes, so it counts real seconds in every world."""
_TRIES = 13
"""A quarter of a lease apart: so long a driver waits for the one before it."""


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
        return dict(self.each(kind, form))

    def each(self, kind: str, form: type[T]) -> Iterator[tuple[int, T]]:
        """Yield the same one at a time: large ones need not be held together."""
        bodies = dict(world().ledger.all(self.release_id, kind))
        for number in sorted(bodies):
            yield number, decode(bodies.pop(number), form)

    def recall(self, kind: str, number: int, form: type[T]) -> T | None:
        """Return a document, None if there is none."""
        return recall(self.release_id, kind, number, form)


def patiently(ask: Callable[[], T]) -> T:
    """Return what `ask` does, which may be done twice, as soon as the ledger answers.

    A ledger that is away says nothing about the release, and nothing on a node waits for it: its
    driver waits here, and another one may take the lease meanwhile.
    """
    while True:
        try:
            return ask()
        except Unreachable as error:
            logger.warning("waiting %s s: %s", PATIENCE_S, error)
            world().clock.sleep(PATIENCE_S)


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
    """Hold the workload's lease while driving its release; see `holding`.

    Raises:
        Conflict: another driver kept renewing for three leases.
    """
    workload = patiently(lambda: world().ledger.release(release_id)).workload
    with holding(workload, tries=_TRIES) as epoch:
        yield Drive(release_id, epoch)


@contextmanager
def holding(workload: str, tries: int = 1) -> Iterator[int]:
    """Hold a workload's lease, renewed by a thread; gives its epoch.

    A holder that renews in time is never displaced: with enough tries this waits until its lease
    runs out, which is at most one lease after it died.

    Raises:
        Conflict: at the last try another holder's lease has not run out.
    """
    here = world()
    holder = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
    epoch = patiently(lambda: _acquired(here, workload, holder, tries))
    stopped = threading.Event()
    renewer = threading.Thread(
        target=_renewing, args=(here, workload, holder, epoch, stopped), daemon=True
    )
    renewer.start()
    try:
        yield epoch
    finally:
        stopped.set()
        renewer.join()
        with suppress(Unreachable):  # then it runs out by itself
            here.ledger.leave(workload, holder, epoch)


def _acquired(here: World, workload: str, holder: str, tries: int) -> int:
    for _ in range(tries - 1):
        try:
            return here.ledger.acquire(workload, holder, _WALL.now(), here.lease_s)
        except Conflict:
            _WALL.sleep(here.lease_s / 4)
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
    crowned = crowned_by(workload)
    return needed(crowned.release_id, "package", 0, Image) if crowned else None


def champions_of(workload: str, most: int) -> tuple[Image, ...]:
    """Return the packages that ended RELEASED for the workload, newest first, each model once.

    At most so many; the first one is the champion.
    """
    found: dict[tuple[Digest, ...], Image] = {}
    for release in world().ledger.releases(workload):
        if release.phase is Phase.RELEASED and len(found) < most:
            image = needed(release.release_id, "package", 0, Image)
            models = (layer.digest for layer in image.layers if layer.kind == "model")
            found.setdefault(tuple(models), image)
    return tuple(found.values())


def released_at(workload: str) -> datetime:
    """Return when the champion's release ended; the beginning of time if there is none."""
    crowned = crowned_by(workload)
    return crowned.changed_at if crowned else datetime.fromtimestamp(0, UTC)


def crowned_by(workload: str) -> Release | None:
    """Return the release whose package is the champion, None if there is none."""
    return crowned(world().ledger.releases(workload))


def crowned(releases: Iterable[Release]) -> Release | None:
    """Return the newest release that ended RELEASED, of releases with the newest first."""
    return next((release for release in releases if release.phase is Phase.RELEASED), None)


def standing_of(ledger: Ledger, release_id: str) -> Standing:
    """Return which nodes are behind the champion of a release, as reconcile last saw them."""
    body = ledger.get(release_id, STANDING, 0)
    return Standing() if body is None else decode(body, Standing)


def drills_of(ledger: Ledger, workload: str) -> tuple[Drill, ...]:
    """Return every drill of a workload, oldest first, whichever champion it was held with."""
    found = [
        decode(body, Drill)
        for release in ledger.releases(workload)
        for body in ledger.all(release.release_id, DRILL).values()
    ]
    return tuple(sorted(found, key=lambda drill: drill.number))


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
