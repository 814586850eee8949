"""AWAITING: a person's yes in Prefect's UI, bound to the hash of the plan that was shown.

No process waits: the flow run is suspended, and resumed by a click on its form. Prefect does not
record who clicked; the typed name is a record, not a proof.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput

from edgefleet.fleet.approval import ApprovalRequest, Decision
from edgefleet.fleet.plan import Plan, outdated
from edgefleet.fleet.preflight import Preflight
from edgefleet.fleet.release import Phase, Signal
from edgefleet.model.qualify import Qualification
from edgefleet.report.form import approval_form
from edgefleet.wiring import world
from tasks.records import Drive, latest, needed
from tasks.sites import take_inventory


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
    decision = drive.recall("decision", number, Decision) or _asked(drive, number, asked)
    drive.keep("decision", number, decision)
    made = needed(drive.release_id, "plan", number, Plan)
    if decision.decision == "reject":
        drive.move(Phase.AWAITING, Signal.REJECTED, decision.in_words)
        return
    stale = outdated(made, take_inventory(drive.release.workload))
    signal = Signal.OUTDATED if stale else Signal.DONE
    drive.move(Phase.AWAITING, signal, f"plan out of date: {stale}" if stale else decision.in_words)


def _asked(drive: Drive, number: int, asked: ApprovalRequest) -> Decision:
    now = world().clock.now()
    plan = asked.plan_hash
    if drive.spec.approval.before_rollout == "auto":
        return Decision("approve", "the spec", "approval.before_rollout is auto", plan, now)
    if now >= asked.deadline:
        return Decision("reject", "the deadline", f"no answer by {asked.deadline}", plan, now)
    form = suspend_flow_run(
        wait_for_input=ApprovalForm.with_initial_data(
            description=form_text(drive, number, asked.deadline)
        ),
        key=f"approval-{number}",
        timeout=int((asked.deadline - now + timedelta(hours=1)).total_seconds()),
    )
    return Decision(form.decision, form.name, form.comment, plan, world().clock.now())


def form_text(drive: Drive, number: int, deadline: datetime) -> str:
    """Return what the form shows above its fields, in markdown."""
    release_id = drive.release_id
    return approval_form(
        drive.release,
        needed(release_id, "qualification", 0, Qualification),
        needed(release_id, "plan", number, Plan),
        needed(release_id, "preflight", number, Preflight),
        deadline,
    )
