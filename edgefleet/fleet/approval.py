"""A request for a person's yes, and the answer; both name the plan by its hash."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from edgefleet.fleet.plan import Plan, plan_hash
from edgefleet.spec import Approval


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """Stored before anybody is asked; its number in the ledger is the form's key."""

    plan_hash: str
    asked_at: datetime
    deadline: datetime


def request_for(made: Plan, approval: Approval, now: datetime) -> ApprovalRequest:
    """Return what is asked of a person now, and until when."""
    return ApprovalRequest(plan_hash(made), now, now + timedelta(hours=approval.timeout_h))


@dataclass(frozen=True, slots=True)
class Decision:
    """Who answered what, when. The name was typed: a record, not a proof."""

    decision: Literal["approve", "reject"]
    name: str
    comment: str
    plan_hash: str
    at: datetime

    @property
    def in_words(self) -> str:
        """Return one line for the journal."""
        verb = "approved" if self.decision == "approve" else "rejected"
        said = f": {self.comment}" if self.comment else ""
        return f"{verb} by {self.name or 'nobody named'} (plan {self.plan_hash[:12]}){said}"
