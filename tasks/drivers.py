"""The one way in which a release that nobody drives gets a driver: looked for, and started.

Whoever calls it, however often and however many at once: for each death there is one successor. It
moves nothing itself, and needs no lease.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterName,
    FlowRunFilterState,
    FlowRunFilterStateType,
    Operator,
)
from prefect.client.schemas.objects import FlowRun, StateType

from edgefleet.errors import Unreachable
from edgefleet.fleet.drivers import NO_LEASE, Driven, Run, RunState, decide
from edgefleet.wiring import world
from tasks.records import before_it
from tasks.starts import has_form, start_release

_LEASES: Final = 3
"""So many may pass while one is waited for: a living driver may have taken it."""
_AFTER_S: Final = 0.1
"""A lease that runs out now has run out then."""

_PAGE: Final = 200
"""As many runs as Prefect's server gives in one answer."""

_STATES: Final = {
    StateType.SCHEDULED: RunState.SCHEDULED,
    StateType.PENDING: RunState.PENDING,
    StateType.RUNNING: RunState.RUNNING,
    StateType.PAUSED: RunState.SUSPENDED,
    StateType.CANCELLING: RunState.CANCELLED,
    StateType.CANCELLED: RunState.CANCELLED,
    StateType.COMPLETED: RunState.COMPLETED,
    StateType.FAILED: RunState.DIED,
    StateType.CRASHED: RunState.DIED,
}
_OPEN: Final = [
    StateType.SCHEDULED,
    StateType.PENDING,
    StateType.RUNNING,
    StateType.PAUSED,
    StateType.CANCELLING,
]


def start_missing(*, patient: bool = False) -> tuple[str, ...]:
    """Start a driver for every live release that nobody drives; return their ids.

    A release whose run was cancelled is aborted by it: that is what Cancel means. Patient: a lease
    that a dead driver left is waited for, so that its successor need not wait for the next look.

    Raises:
        Refused: there is no deployment of the release flow.
        Unreachable: Prefect's server, or the ledger, does not answer.
    """
    started, soon_s = _started()
    until = time.monotonic() + _LEASES * world().lease_s
    while patient and soon_s and time.monotonic() < until:
        time.sleep(min(soon_s) + _AFTER_S)
        more, soon_s = _started()
        started += more
    return tuple(started)


def _started() -> tuple[list[str], list[float]]:
    """Look once; return whom a driver was started for, and when leases of dead ones run out."""
    here = world()
    started, soon_s = [], []
    for driven, after in _decided():
        if driven.do == "leave":
            if driven.again_s:
                soon_s.append(driven.again_s)
            continue
        if driven.do == "abort":
            here.ledger.ask_abort(driven.release_id, driven.why, here.clock.now())
        here.ledger.note(driven.release_id, f"another driver: {driven.why}", here.clock.now())
        start_release(driven.release_id, after)
        started.append(driven.release_id)
    return started, soon_s


def _decided() -> Iterator[tuple[Driven, str]]:
    """Yield what to do for each live release, and what a start of it would come after."""
    here = world()
    live = [release for release in here.ledger.releases() if release.live]
    if not live:
        return
    leases = here.ledger.leases()
    runs = _runs(release.release_id for release in live)
    now = datetime.now(UTC)
    for release in live:
        lease, mine = leases.get(release.workload, NO_LEASE), runs[release.release_id]
        newest = max(mine, key=lambda run: run.created).run_id if mine else "none"
        older = before_it(release.release_id)
        driven = decide(release, older, lease, mine, now, here.lease_s)
        yield driven, f"{lease.epoch}-{newest}"


def _runs(release_ids: Iterable[str]) -> dict[str, list[Run]]:
    """Return what Prefect knows of releases' runs.

    A run has its release's name from its first line on; before that, only its parameters tell.
    """
    names = FlowRunFilterName(any_=list(release_ids))
    states = FlowRunFilterState(type=FlowRunFilterStateType(any_=_OPEN))
    wanted = FlowRunFilter(name=names, state=states)
    wanted.operator = Operator.or_
    found: dict[str, list[Run]] = defaultdict(list)
    try:
        with get_client(sync_client=True) as client:
            for run in _pages(client, wanted):
                found[str(run.parameters.get("release_id", run.name))].append(_run(client, run))
    except (httpx.HTTPError, OSError) as error:
        raise Unreachable(f"Prefect's server does not answer: {error}") from error
    return found


def _pages(client: SyncPrefectClient, wanted: FlowRunFilter) -> Iterator[FlowRun]:
    flows = FlowFilter(name=FlowFilterName(any_=["release"]))
    offset = 0
    while True:
        page = client.read_flow_runs(
            flow_filter=flows, flow_run_filter=wanted, limit=_PAGE, offset=offset
        )
        yield from page
        if len(page) < _PAGE:
            return
        offset += _PAGE


def _run(client: SyncPrefectClient, run: FlowRun) -> Run:
    state = run.state
    began = run.created or datetime.now(UTC)
    if state is None:
        return Run(str(run.id), RunState.SCHEDULED, began, began)
    known = _STATES[state.type]
    if known is RunState.SUSPENDED and not has_form(client, run):
        # It is about to ask, or died before it could: nobody would ever answer it.
        known = RunState.PENDING
    return Run(str(run.id), known, state.timestamp, began)
