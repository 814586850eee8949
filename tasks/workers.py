"""Orders to factories that only their own Prefect worker can reach: it dials out, nobody dials in.

One flow run for an order, on the factory's own work pool. The order is signed, and begun by its
expiry or never; what came of it comes back as one artifact. A worker that is away holds nothing up:
its factory is deferred.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

import msgspec
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterType,
)
from prefect.client.schemas.objects import FlowRun, State, WorkPoolStatus
from prefect.exceptions import ObjectNotFound
from prefect.runtime import task_run
from prefect.states import Cancelled

from edgefleet.documents import decode
from edgefleet.errors import Refused, Unreachable
from edgefleet.fleet.inventory import NodeView
from edgefleet.fleet.order import (
    Answer,
    CutLinks,
    Errand,
    Found,
    Look,
    Order,
    OrderShadows,
    longest_s,
    undelivered,
    workload_of,
)
from edgefleet.model.dsse import seal
from edgefleet.model.signature import KEY_FILE
from edgefleet.wiring import Seen, world
from tasks.policy import ANSWER_S, BEGIN_S, FRESH_S
from tasks.starts import start

ERRAND: Final = "application/vnd.edgefleet.errand+json"
"""What kind of signed message an order is."""
ANSWER: Final = "edgefleet-answer"
"""Type of the artifact with a worker's answer."""
_POLL_S: Final = 0.5


def seen_by_worker(factory: str, workload: str) -> tuple[NodeView, ...]:
    """Return a factory's nodes as its worker saw them a moment ago, else as it sees them now.

    Raises:
        Unreachable: it does not answer.
    """
    here = world()
    seen = here.workers[factory].seen.get(workload)
    if seen is not None and (here.clock.now() - seen.at).total_seconds() <= FRESH_S:
        return seen.views
    return send(factory, Look(workload)).views


def send(factory: str, order: Order) -> Found:
    """Have an order carried out by the factory's worker, and wait for what came of it.

    Sent again by the same task run, it is the same order.

    Raises:
        Unreachable: nobody answered a look, a shadow's order or a cut. Else a stage's nodes are
            deferred.
    """
    here = world()
    worker = here.workers[factory]
    try:
        found = _answered(factory, order)
    except Unreachable as error:
        if isinstance(order, Look | OrderShadows | CutLinks):
            raise
        return undelivered(factory, order, str(error))
    workload = workload_of(order)
    if workload is not None and found.views:
        worker.seen[workload] = Seen(here.clock.now(), found.views)
    return found


def _answered(factory: str, order: Order) -> Found:
    """Return the worker's answer.

    Raises:
        Unreachable: it gave none, or did not follow the order, in words.
    """
    here = world()
    worker = here.workers[factory]
    with get_client(sync_client=True) as client:
        _check_pool(client, factory, worker.pool)
        expires = here.clock.now() + timedelta(seconds=BEGIN_S)
        body = msgspec.json.encode(Errand(factory, order, expires))
        sealed = seal(body, ERRAND, here.key_dir / KEY_FILE)
        key = f"{factory}-{task_run.id or uuid4()}"
        name = f"{type(order).__struct_config__.tag} {factory} {key[-6:]}"
        run = start(f"factory/{factory}", {"errand": sealed}, key, name)
        state = _waited(client, run, longest_s(order))
        answer = answer_of(client, run.id)
        if answer is None:
            _cancel(client, run)
            said = "no answer" if state is None else f"{state.name}: {state.message}"
            raise Unreachable(f"the worker of {factory} did not carry out {run.name}: {said}")
    if answer.found is None:
        raise Unreachable(f"the worker of {factory} refused {run.name}: {answer.refused}")
    return answer.found


def _check_pool(client: SyncPrefectClient, factory: str, pool: str) -> None:
    try:
        status = client.read_work_pool(pool).status
    except ObjectNotFound as error:
        remedy = "Run `edgefleet deploy`"
        raise Refused(factory, f"Prefect knows no work pool {pool!r}", remedy) from error
    if status is not WorkPoolStatus.READY:
        raise Unreachable(f"no worker of {factory} is online (work pool {pool}: {status})")


def _waited(client: SyncPrefectClient, run: FlowRun, longest: float) -> State | None:
    """Return the state in which a run ended or was not begun in time; None: it runs too long."""
    begun_by = time.monotonic() + BEGIN_S
    ended_by = begun_by + longest + ANSWER_S
    while True:
        state = client.read_flow_run(run.id).state
        if state is None or state.is_final():
            return state
        now = time.monotonic()
        if (state.is_scheduled() or state.is_pending()) and now > begun_by:
            return state
        if now > ended_by:
            return None
        time.sleep(_POLL_S)


def answer_of(client: SyncPrefectClient, run: UUID) -> Answer | None:
    """Return what a worker left at Prefect's server for an order, None: nothing yet."""
    mine = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[run]), type=ArtifactFilterType(any_=[ANSWER])
    )
    found = client.read_artifacts(artifact_filter=mine)
    return decode(str(found[0].data), Answer) if found else None


def _cancel(client: SyncPrefectClient, run: FlowRun) -> None:
    """Let nobody begin on it any more."""
    client.set_flow_run_state(run.id, Cancelled(message="not waited for any more"), force=True)
