"""How long a release waits for a person, and when somebody is reminded. Pure.

Prefect's own time-out of a suspended run comes an hour later, and only if nobody kept these.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from edgefleet.fleet.approval import ApprovalRequest
from edgefleet.fleet.release import Phase, Release

REMIND_AT: Final = (0.5, 0.9)
"""Shares of the time after which whoever may decide is reminded, once each."""

Due = Literal["nothing", "reminder", "end"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A release that waits for a person."""

    since: datetime
    until: datetime
    otherwise: str
    """What follows when nobody decides, in words."""

    def due(self, reminders: int, now: datetime) -> Due:
        """Return what has to be done, when so many reminders were sent for this wait."""
        if now >= self.until:
            return "end"
        share = (now - self.since) / (self.until - self.since)
        wanted = sum(share >= at for at in REMIND_AT)
        return "reminder" if wanted > reminders else "nothing"

    def in_words(self, now: datetime) -> str:
        """Return how long it has waited, and what comes next."""
        waited = (now - self.since).total_seconds() / 3600
        end = f"{self.until:%Y-%m-%d %H:%M} UTC"
        return f"nobody has decided for {waited:.1f} h; at {end} {self.otherwise}"


def waits(release: Release, asked: ApprovalRequest | None, held_h: float) -> Waiting | None:
    """Return what a release waits for, None: for nobody.

    `asked` is the question that is open in its phase, `held_h` the hours that a release is held.
    """
    if release.phase is Phase.HELD:
        until = release.changed_at + timedelta(hours=held_h)
        return Waiting(release.changed_at, until, "it goes back")
    if asked is None:
        return None
    match release.phase:
        case Phase.AWAITING:
            return Waiting(asked.asked_at, asked.deadline, "the answer is a no")
        case Phase.CONFIRMING:
            return Waiting(asked.asked_at, asked.deadline, "the canary goes back")
        case _:
            return None
