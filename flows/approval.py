"""AWAITING and CONFIRMING: a person's yes in Prefect's UI, bound to the plan that was shown.

No process waits: the flow run is suspended, and resumed by a click on its form. Prefect does not
record who clicked; the typed name is a record, not a proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Final, Literal
from uuid import UUID

from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run

from edgefleet.fleet.approval import ApprovalRequest, Decision, request_for
from edgefleet.fleet.forecast import forecast, speeds_of
from edgefleet.fleet.plan import Plan, outdated
from edgefleet.fleet.preflight import Preflight
from edgefleet.fleet.release import Phase, Release, Signal
from edgefleet.fleet.stage import StageReport
from edgefleet.model.qualify import Qualification
from edgefleet.report.form import approval_form, confirmation_form
from edgefleet.wiring import world
from flows.soak import Look
from tasks.records import Drive, approved_plan, latest, needed, recall
from tasks.sites import take_patient_inventory
from tasks.starts import close_forms

_BROUGHT: Final = frozenset({Phase.RELEASED, Phase.ROLLED_BACK})
_LOOKED_BACK: Final = 10
"""Releases, of those that were brought to nodes, in which a factory's speed is looked for."""


class ApprovalForm(RunInput):
    """What a person fills in."""

    decision: Literal["approve", "reject"]
    name: str
    comment: str = ""


def await_approval(drive: Drive) -> None:
    """Ask, unless the spec says `auto`; record the answer; go on, end, or plan again.

    Not a flow of its own: only the run that a deployment started can be suspended.
    """
    request = latest(drive.release_id, "approval", ApprovalRequest)
    assert request is not None  # noqa: S101 - PLANNED stores it in the step that leads here
    number, asked = request

    def ask() -> Decision:
        if drive.spec.approval.before_rollout == "auto":
            said, now = "approval.before_rollout is auto", world().clock.now()
            return Decision("approve", "the spec", said, asked.plan_hash, now)
        return _asked(drive, asked, f"approval-{number}", form_of(drive, number, asked))

    decision = _decided(drive, "decision", number, ask)
    if decision.decision == "reject":
        drive.move(Phase.AWAITING, Signal.REJECTED, decision.in_words)
        return
    made = needed(drive.release_id, "plan", number, Plan)
    stale = outdated(made, take_patient_inventory(drive.release.workload))
    signal = Signal.OUTDATED if stale else Signal.DONE
    drive.move(Phase.AWAITING, signal, f"plan out of date: {stale}" if stale else decision.in_words)


def await_confirmation(drive: Drive) -> None:
    """Ask whether the fleet may follow the canary; without a yes the canary goes back."""
    made = approved_plan(drive.release_id)
    asked = drive.recall("confirmation", 0, ApprovalRequest)
    if asked is None:
        asked = request_for(made, drive.spec.approval, world().clock.now())
        drive.keep("confirmation", 0, asked)

    def ask() -> Decision:
        return _asked(drive, asked, "confirmation", _verdict_form(drive, made, asked))

    decision = _decided(drive, "confirmed", 0, ask)
    signal = Signal.DONE if decision.decision == "approve" else Signal.REJECTED
    drive.move(Phase.CONFIRMING, signal, decision.in_words)


def _decided(drive: Drive, kind: str, number: int, ask: Callable[[], Decision]) -> Decision:
    """Return the answer that a killed driver has left, else ask; either way it is kept."""
    decision = drive.recall(kind, number, Decision) or ask()
    drive.keep(kind, number, decision)
    return decision


def _asked(drive: Drive, asked: ApprovalRequest, key: str, form_text: str) -> Decision:
    """Suspend the run until somebody answers; past the deadline the answer is a no."""
    now = world().clock.now()
    if now >= asked.deadline:
        late = f"no answer by {asked.deadline}"
        return Decision("reject", "the deadline", late, asked.plan_hash, now)
    close_forms(drive.release_id, UUID(flow_run.get_id()))
    form = suspend_flow_run(
        wait_for_input=ApprovalForm.with_initial_data(description=form_text),
        key=key,
        timeout=int((asked.deadline - now + timedelta(hours=1)).total_seconds()),
    )
    at = world().clock.now()
    return Decision(form.decision, form.name, form.comment, asked.plan_hash, at)


def form_of(drive: Drive, number: int, asked: ApprovalRequest) -> str:
    """Return what the form about plan `number` shows above its fields, in markdown."""
    release_id, spec = drive.release_id, drive.spec
    made = needed(release_id, "plan", number, Plan)
    earlier = [one for one in world().ledger.releases(spec.workload) if not one.live]
    return approval_form(
        drive.release,
        needed(release_id, "qualification", 0, Qualification),
        made,
        needed(release_id, "preflight", number, Preflight),
        forecast(made, spec.prepull, speeds_of(_pulls_of(earlier), made.model_bytes)),
        earlier,
        asked.deadline,
    )


def _pulls_of(earlier: Sequence[Release]) -> Iterator[tuple[str, tuple[StageReport, ...]]]:
    """Yield the newest releases that brought their package to nodes, with what was reported."""
    brought = [one.release_id for one in earlier if one.phase in _BROUGHT]
    for release_id in brought[:_LOOKED_BACK]:
        yield release_id, recall(release_id, "pulls", 0, tuple[StageReport, ...]) or ()


def _verdict_form(drive: Drive, made: Plan, asked: ApprovalRequest) -> str:
    found = latest(drive.release_id, "look", Look)
    assert found is not None  # noqa: S101 - a canary passes by its last look
    return confirmation_form(drive.release, made, found[1].verdict, asked.deadline)
