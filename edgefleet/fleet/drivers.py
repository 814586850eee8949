"""Whether a live release needs another driver: from its lease, its flow runs and its queue. Pure.

A second driver beside a living one does no harm, the lease lets one of them move; so where it is
not known whether one lives, another is started. All times here are the machine's own, since leases
and flow runs count in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

from edgefleet.fleet.release import Phase, Release

BEGINNING_S: Final = 120.0
"""A process boots, and takes the lease, within so long after its run has begun."""
PENDING_S: Final = 600.0
"""Whoever took a run and did not begin it within so long is gone: an image is pulled sooner."""
FREE_DEATHS: Final = 3
"""After so many deaths in a row the next driver comes later, and later."""
LONGEST_PAUSE_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may move a workload's nodes, as the ledger holds it."""

    holder: str
    """Empty: it was given back."""
    epoch: int
    expires_at: datetime | None

    def valid(self, now: datetime) -> bool:
        """Say whether nobody else may take it now."""
        return bool(self.holder) and self.expires_at is not None and now < self.expires_at

    def gone(self, now: datetime, lease_s: float) -> bool:
        """Say whether its holder had time to renew it once more, and did not; or gave it back."""
        if not self.holder or self.expires_at is None:
            return True
        return now > self.expires_at + timedelta(seconds=lease_s)


NO_LEASE: Final = Lease("", 0, None)
"""Of a workload whose lease nobody ever took."""


class RunState(StrEnum):
    """How far Prefect says that a flow run is."""

    SCHEDULED = "scheduled"
    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    CANCELLED = "cancelled"
    DIED = "died"
    COMPLETED = "completed"


_OVER: Final = frozenset({RunState.DIED, RunState.COMPLETED})
"""The process of such a run has ended; that of a cancelled one may not have yet."""


@dataclass(frozen=True, slots=True)
class Run:
    """One flow run of a release."""

    run_id: str
    state: RunState
    since: datetime
    """When it came into its state."""
    created: datetime


@dataclass(frozen=True, slots=True)
class Driven:
    """What is to be done about one release's driver, and why."""

    release_id: str
    do: Literal["leave", "start", "abort"]
    """`abort`: record the wish that a cancelled run expresses, and start a driver for it."""
    why: str
    again_s: float = 0.0
    """Its driver died, and the lease that it left runs out in so many seconds; 0: nothing will be
    known so soon."""


def decide(
    release: Release,
    older: str,
    lease: Lease,
    runs: Sequence[Run],
    now: datetime,
    lease_s: float,
) -> Driven:
    """Return what to do about a live release.

    `older` is the live release of the same workload for which it waits, empty: it is its turn.
    `runs` are all that Prefect knows of it, in any order.
    """
    newest = max(runs, key=lambda run: run.created, default=None)
    dead = newest is not None and newest.state is RunState.DIED
    died = dead and all(run.state in _OVER for run in runs)
    why = _undisturbed(release, older, lease, runs, now, lease_s, died=died)
    if why:
        left_s = (lease.expires_at - now).total_seconds() if lease.expires_at else 0.0
        soon = died and not older and lease.valid(now)
        return Driven(release.release_id, "leave", why, again_s=left_s if soon else 0.0)
    if release.abort_asked:
        return Driven(release.release_id, "start", f"to abort it: {release.abort_asked}")
    if newest and newest.state is RunState.CANCELLED:
        return Driven(release.release_id, "abort", "cancelled in Prefect")
    if release.phase is Phase.HELD:
        return Driven(release.release_id, "leave", "held: a person decides")
    if newest is None:
        return Driven(release.release_id, "start", "no run of it was ever started")
    return _followed(release.release_id, newest, runs, now)


def _undisturbed(
    release: Release,
    older: str,
    lease: Lease,
    runs: Sequence[Run],
    now: datetime,
    lease_s: float,
    *,
    died: bool,
) -> str:
    """Return why a release has a driver, or can have none yet; empty: nobody drives it."""
    if older:
        return f"waits for {older} to end"
    if lease.valid(now):
        return f"its workload is held by {lease.holder}"
    # Who is known to be dead renews nothing.
    if not died and not lease.gone(now, lease_s):
        return "its workload's lease has just run out: it may be renewed yet"
    return next(filter(None, (_alive(run, release, lease, now, lease_s) for run in runs)), "")


def _alive(run: Run, release: Release, lease: Lease, now: datetime, lease_s: float) -> str:
    """Return why a run without a lease may still drive, empty: it does not."""
    age_s = (now - run.since).total_seconds()
    match run.state:
        case RunState.SCHEDULED:
            return "a run of it is scheduled"
        case RunState.SUSPENDED if not release.abort_asked:
            return "its run is suspended: somebody is asked"
        case RunState.PENDING if age_s <= PENDING_S:
            return "a run of it is about to begin"
        case RunState.RUNNING if age_s <= BEGINNING_S and not _driven(run, release, lease, lease_s):
            return "a run of it has just begun"
        case _:
            return ""


def _driven(run: Run, release: Release, lease: Lease, lease_s: float) -> bool:
    """Say whether somebody drove the release after a run of it had begun.

    By then that run had the lease too, or waited for it. So if it is free now, the run is gone,
    whatever Prefect says: its server may have been away when the run ended.
    """
    if release.changed_at > run.since:
        return True
    if not lease.holder or lease.expires_at is None:
        return False
    return lease.expires_at - timedelta(seconds=lease_s) > run.since


def _followed(release_id: str, newest: Run, runs: Sequence[Run], now: datetime) -> Driven:
    """Return when a run that ended, or died unnoticed, gets a successor."""
    said = {
        RunState.COMPLETED: "the run before has left it, and it is its turn",
        RunState.DIED: "the run before died",
        RunState.RUNNING: "its run has no lease any more: it died with its worker",
        RunState.PENDING: "whoever took its run never began it",
    }.get(newest.state, f"its run is {newest.state}")
    deaths = 0
    for run in sorted(runs, key=lambda run: run.created, reverse=True):
        if run.state is RunState.COMPLETED:
            break
        deaths += 1
    wait = pause_s(deaths) - (now - newest.since).total_seconds()
    if wait > 0:
        return Driven(
            release_id, "leave", f"{deaths} drivers died one after the other: {wait:.0f} s more"
        )
    return Driven(release_id, "start", said)


def pause_s(deaths: int) -> float:
    """Return how many seconds after the last of so many deaths in a row the next driver comes."""
    if deaths <= FREE_DEATHS:
        return 0.0
    doublings = min(deaths - FREE_DEATHS - 1, 10)
    return min(60.0 * (1 << doublings), LONGEST_PAUSE_S)
