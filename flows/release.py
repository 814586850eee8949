"""The release: one sequence for the demo, the tests, a rehearsal and the real thing.

A driver over the ledger: while the release is live, run the step of its phase. A driver that is
killed anywhere leaves a release that the next one takes up where the ledger says.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from edgefleet.errors import Refused, Unreachable
from edgefleet.fleet.release import TOUCHED, UNTOUCHED, Phase, Release, Signal
from edgefleet.wiring import world
from flows.approval import await_approval, await_confirmation
from flows.planning import plan
from flows.qualification import qualify
from flows.rollout import change_canary, let_go, prepull, revert, roll
from flows.soak import soak
from tasks.policy import PATIENCE_S
from tasks.records import Drive, before_it, driving, newest, patiently
from tasks.registry import publish


def as_step(subflow: Callable[[str, int], None]) -> Callable[[Drive], None]:
    """Return a step that runs a flow of its own, so that Prefect's graph shows the chain."""
    return lambda drive: subflow(drive.release_id, drive.epoch)


STEPS: Final[dict[Phase, Callable[[Drive], None]]] = {
    Phase.QUALIFYING: as_step(qualify),
    Phase.PLANNED: as_step(plan),
    Phase.AWAITING: await_approval,
    Phase.PREPULLING: as_step(prepull),
    Phase.CANARY: as_step(change_canary),
    Phase.SOAKING: as_step(soak),
    Phase.CONFIRMING: await_confirmation,
    Phase.ROLLING: as_step(roll),
    Phase.REVERTING: as_step(revert),
}

STATE_NAMES: Final = {
    Phase.RELEASED: "Released",
    Phase.ROLLED_BACK: "RolledBack",
    Phase.REFUSED: "Refused",
    Phase.REJECTED: "Rejected",
    Phase.ABORTED: "Aborted",
    Phase.HELD: "Held",
}


@flow(name="release", flow_run_name="{release_id}", retries=0, persist_result=False)
def release(release_id: str) -> State[None]:
    """Drive a release until it ends, or until only a person can move it."""
    earlier = patiently(lambda: before_it(release_id))
    if earlier:
        return Completed(name="Waiting", message=f"{release_id} waits for {earlier} to end")
    with driving(release_id) as drive:
        current = patiently(lambda: drive.release)
        if patiently(lambda: newest(release_id)):
            publish(current)  # again: its driver may not have lived to tell its end
        while current.phase in STEPS or (current.phase is Phase.HELD and current.abort_asked):
            current = _stepped(drive, current)
            publish(current)
        if not current.live:
            patiently(lambda: let_go(drive))
    return Completed(name=STATE_NAMES[current.phase], message=current.reason)


def _stepped(drive: Drive, current: Release) -> Release:
    """Run the step of the current phase once, or wait for what it needs."""
    try:
        _step(drive, current)
    except Unreachable as error:
        get_run_logger().warning("waiting %s s: %s", PATIENCE_S, error)
        with suppress(Unreachable):  # it may be the ledger itself that is away
            drive.note(f"waiting: {error}")
        world().clock.sleep(PATIENCE_S)
    # A move whose answer got lost may hold: only the ledger can tell.
    return patiently(lambda: drive.release)


def _step(drive: Drive, current: Release) -> None:
    if current.abort_asked and current.phase in {*UNTOUCHED, *TOUCHED}:
        drive.move(current.phase, Signal.ABORT, current.abort_asked)
        return
    try:
        STEPS[current.phase](drive)
    except Refused as error:
        if current.phase not in UNTOUCHED:
            raise
        drive.move(drive.release.phase, Signal.REFUSED, str(error))
