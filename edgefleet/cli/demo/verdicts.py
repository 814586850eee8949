"""What must hold at the end of the demo; each check shows its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from edgefleet.plant.record import PlantRecord
from edgefleet.report.shown import NEAR_S, Check, StoryResult, fewest_near

LEAST_REQUESTS: Final = 20_000
LEAST_NEAR: Final = 200
MOST_REPAIRED_DROP_PT: Final = 1.0


def checks(results: Sequence[StoryResult], stories: int, plant: PlantRecord) -> tuple[Check, ...]:
    """Return every check, in the order in which a reader wants them.

    `results` are of the first of `stories` stories: a release that waits for a person ends the run.
    """
    told = f"{len(results)} of {stories} stories"
    return (
        *(Check(result.title, result.ok, f"{result.ended}") for result in results),
        *([] if len(results) == stories else [Check("all was told", ok=False, text=told)]),
        *_requests(plant),
        *(check for bad in results[2:3] for check in _bad_one(bad, plant)),
        *(check for repaired in results[3:4] for check in _repaired(repaired)),
    )


def _requests(plant: PlantRecord) -> Iterator[Check]:
    totals = plant.totals
    yield Check(
        "no request failed",
        totals.failed == 0 and totals.requests >= LEAST_REQUESTS,
        f"{totals.requests} requests without retries (at least {LEAST_REQUESTS}): "
        f"{totals.failed} failed, {totals.refused} refused",
    )
    near = fewest_near(plant)
    fewest = near[1] if near else 0
    yield Check(
        "a gap would have shown",
        fewest >= LEAST_NEAR,
        f"{len(plant.cutovers)} cut-overs, at least {fewest} requests within {NEAR_S:g} s of each",
    )


def _bad_one(result: StoryResult, plant: PlantRecord) -> Iterator[Check]:
    """Check that only canary nodes ever served the version that was worse in the field."""
    story = result.story
    if story.plan is None:
        yield Check("only the canary had the bad version", ok=False, text="no plan was made")
        return
    canary = {change.node for change in story.plan.waves[0].changes}
    served = {cut.node for cut in plant.cutovers if cut.new == story.plan.want}
    yield Check(
        "only the canary had the bad version",
        served == canary,
        f"{len(served)} nodes served it, the canary has {len(canary)}",
    )


def _repaired(result: StoryResult) -> Iterator[Check]:
    found = result.story.qualification
    if found is None:
        yield Check("INT8 repaired", ok=False, text="it was not qualified")
        return
    drop = found.drop.points
    yield Check(
        "INT8 repaired",
        found.precision == "mixed" and drop <= MOST_REPAIRED_DROP_PT,
        f"{found.precision}, {drop:+.2f} pt against FP32, in float: {', '.join(found.excluded)}",
    )
