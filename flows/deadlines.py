"""Releases that wait for a person: who may decide is reminded, and past the deadline it ends."""

from __future__ import annotations

from edgefleet.errors import Conflict, Refused
from edgefleet.fleet.approval import ApprovalRequest
from edgefleet.fleet.deadlines import Waiting, waits
from edgefleet.fleet.release import Phase, Release
from edgefleet.wiring import world
from flows.ruling import settle
from tasks.events import tell_reminder
from tasks.records import latest, recall, spec_of
from tasks.starts import start_release

_REMINDER = "reminder: "
"""How a reminder's line in the journal begins; the lines are counted."""


def keep_deadlines() -> tuple[str, ...]:
    """Do what is due for every release that waits for a person; return which were ended.

    Raises:
        Refused: there is no deployment of the release flow.
        Unreachable: Prefect's server, or the ledger, does not answer.
    """
    here = world()
    ended = []
    for release in here.ledger.releases():
        found = _waiting(release) if release.live else None
        if found is None:
            continue
        now = here.clock.now()
        due = found.due(_reminders(release, found), now)
        if due == "reminder":
            text = found.in_words(now)
            lost = tell_reminder(release.release_id, text)
            said = f"{text} (nobody was told: {lost})" if lost else text
            here.ledger.note(release.release_id, f"{_REMINDER}{said}", now)
        elif due == "end" and _ended(release, found):
            ended.append(release.release_id)
    return tuple(ended)


def _waiting(release: Release) -> Waiting | None:
    spec = spec_of(release.release_id)
    asked = None
    if release.phase is Phase.AWAITING and spec.approval.before_rollout == "required":
        request = latest(release.release_id, "approval", ApprovalRequest)
        asked = request and request[1]
    elif release.phase is Phase.CONFIRMING:
        asked = recall(release.release_id, "confirmation", 0, ApprovalRequest)
    return waits(release, asked, spec.approval.held_h)


def _reminders(release: Release, found: Waiting) -> int:
    """Return how many reminders were sent since this wait began."""
    lines = world().ledger.journal(release.release_id)
    return sum(line.at >= found.since and line.text.startswith(_REMINDER) for line in lines)


def _ended(release: Release, found: Waiting) -> bool:
    """Let a driver end a wait that is over; a question's driver finds the deadline passed."""
    if release.phase is Phase.HELD:
        try:
            settle(release.release_id, "revert", "the deadline", "nobody decided", 0)
        except (Refused, Conflict):
            return False  # somebody decided, or is about to, at the same time
    start_release(release.release_id, f"{release.phase}-{found.until.isoformat()}")
    return True
