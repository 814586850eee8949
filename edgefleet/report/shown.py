"""What a run is reported by: stories with how they should have ended, checks, and the plant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from edgefleet.plant.record import Cutover, PlantRecord
from edgefleet.report.gather import ReleaseStory

NEAR_S = 2.0
"""Requests within so many seconds of a cut-over count as near it."""


@dataclass(frozen=True, slots=True)
class StoryResult:
    """One story, and whether it ended as it should."""

    title: str
    expected: str
    """How it should end, in words."""
    ended: str
    """How it did."""
    ok: bool
    story: ReleaseStory


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold for the run as a whole."""

    name: str
    ok: bool
    text: str
    """With the numbers."""


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run."""

    title: str
    started: datetime
    ended: datetime
    machine: str
    window_s: float
    stories: tuple[StoryResult, ...]
    plant: PlantRecord | None
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether there was anything to show, and all of it ended as it should."""
        parts = [*(story.ok for story in self.stories), *(check.ok for check in self.checks)]
        return bool(parts) and all(parts)


def fewest_near(plant: PlantRecord) -> tuple[Cutover, int] | None:
    """Return the cut-over with the fewest requests near it and their number; None without any."""
    counted = [(cut, plant.around(cut, NEAR_S).requests) for cut in plant.cutovers]
    return min(counted, key=lambda pair: pair[1], default=None)
