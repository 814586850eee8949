"""What a person decides about a release that is held: look on, go on, or go back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from edgefleet.errors import Refused
from edgefleet.fleet.release import Phase, Release, Signal

Decided = Literal["extend", "override", "revert"]

SIGNALS: Final[Mapping[Decided, Signal]] = {
    "extend": Signal.EXTEND,
    "override": Signal.OVERRIDE,
    "revert": Signal.REVERT,
}


@dataclass(frozen=True, slots=True)
class Ruling:
    """One decision; Prefect and the command line record the name, and do not prove it."""

    decided: Decided
    name: str
    reason: str
    windows: int
    """More windows to look at; 0 where nothing is extended."""
    at: datetime

    @property
    def in_words(self) -> str:
        """Return what the journal says."""
        more = f" by {self.windows} windows" if self.windows else ""
        return f"{self.decided}{more}, by {self.name or 'somebody'}: {self.reason or 'no reason'}"


def ruled(release: Release, ruling: Ruling, windows: int) -> Ruling:
    """Return the ruling as it holds; an extension of no stated length is as long as the soak.

    `windows`: the spec's max_windows.

    Raises:
        Refused: the release is not held, an override has no reason, or more windows were asked for
            than the error budget is kept for.
    """
    if release.phase is not Phase.HELD:
        raise Refused(
            release.release_id,
            f"it is {release.phase}, and only a release that is held waits for a decision",
            "See `edgefleet status`; `edgefleet abort` works at any time",
        )
    if ruling.decided == "override" and not ruling.reason:
        raise Refused(release.release_id, "an override has to give a reason", "Give --reason")
    if ruling.decided != "extend":
        return ruling
    more = ruling.windows or windows
    if more > windows:
        raise Refused(
            release.release_id,
            f"{more} more windows: a tenth of the error budget is kept for as many as the soak "
            f"had, {windows}",
            f"Ask for at most {windows}",
        )
    return Ruling("extend", ruling.name, ruling.reason, more, ruling.at)


def most_windows(windows: int, rulings: Mapping[int, Ruling]) -> int:
    """Return how many windows may be looked at: with what was granted, at most twice as many."""
    return min(windows + sum(ruling.windows for ruling in rulings.values()), 2 * windows)
