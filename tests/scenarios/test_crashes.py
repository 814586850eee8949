"""Given a driver killed at one call of a release, when another goes on, then the end is the same.

`make test-crash` tries every point and writes docs/crashes.md. How often a waiting driver looks is
up to the machine, so a sample of the points would be another one each time: without that command
only calls are tried that once did harm.
"""

import math
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage
from edgefleet.wiring import installed
from tests.scenarios.copies import Copy
from tests.scenarios.crashes import Given, Story, Trial, table, told, tried
from tests.scenarios.reaper import NODES, SMALL, Point
from tests.scenarios.stories import worse

PAGE = os.environ.get("EDGEFLEET_CRASHES", "")
"""Where `make test-crash` wants the table; empty: it is not asked for."""
SHARE = float(os.environ.get("EDGEFLEET_CRASHES_SHARE") or 1)
"""Of the points, for the page."""
EVERY_POINT = pytest.mark.skipif(not PAGE, reason="hours: make test-crash")
INTRODUCTION = f"""# Crashes

`make test-crash` runs one release for every blow, over {NODES} nodes in memory (`SHARE=0.1`: for a
seeded tenth of the points): its driver is killed before a call comes, or after it held and before
anybody was told; then another driver goes on. Or the driver lives, and the call's answer gets lost
at the same two points. Every call that an undisturbed release makes has points, on the ledger, on
the sites and on all other ports.

A release is *as undisturbed* when it has the same end, the same phases in the same order, the same
waves, as many looks, the same tags in the registry; and when every node serves what it served then,
went over to each package as often (once), and was never without one. *Not reached*: waiting takes a
call more or less from one run to the next, and the last of them did not come.
"""

pytestmark = pytest.mark.timeout(6 * 3600 if PAGE else 900)


Champions = Callable[[int, str], Copy]


def given(champions: Champions, end: Phase) -> Given:
    """Return what makes a fleet whose next version will end so."""

    @contextmanager
    def make() -> Iterator[Stage]:
        with tempfile.TemporaryDirectory() as folder:
            made = champions(NODES, SMALL).stage(Path(folder))
            with installed(made.world):
                yield made if end is Phase.RELEASED else worse(made, accuracy=0.5)

    return make


@pytest.fixture(scope="module", autouse=True)
def page() -> None:
    if PAGE:
        Path(PAGE).write_text(INTRODUCTION, encoding="utf-8")


@pytest.fixture(scope="module", params=[Phase.RELEASED, Phase.ROLLED_BACK])
def story(request: pytest.FixtureRequest, champions: Champions) -> Story:
    end: Phase = request.param
    story = told(given(champions, end))
    assert story.kept.end is end
    assert story.kept.unserved == 0
    return story


@EVERY_POINT
def test_wherever_its_driver_is_killed_a_release_ends_as_undisturbed(story: Story) -> None:
    trials = [tried(story, point, spares=False) for point in chosen(story.points)]
    report(f"A driver killed on the way to {story.kept.end}", trials, len(story.points))
    assert [trial for trial in trials if trial.broken] == []


@EVERY_POINT
def test_whichever_answer_gets_lost_a_release_ends_as_undisturbed(story: Story) -> None:
    trials = [tried(story, point, spares=True) for point in chosen(story.answers)]
    report(f"An answer lost on the way to {story.kept.end}", trials, len(story.answers))
    assert [trial for trial in trials if trial.broken] == []


def test_an_order_that_never_came_is_given_again(story: Story) -> None:
    assert_unharmed(story, "MemorySite.apply", 0.75)


def test_a_factory_that_is_not_heard_once_is_not_left_out_of_the_plan(story: Story) -> None:
    assert_unharmed(story, "MemorySite.snapshot", 0.0)


def test_the_last_word_about_a_release_reaches_a_registry_that_was_away(story: Story) -> None:
    assert_unharmed(story, "MemoryModels.record", 1.0)


def assert_unharmed(story: Story, call: str, share: float) -> None:
    """Let one call of a kind never come, the one after that share of them: nothing is otherwise."""
    calls = [point for point in story.answers if point[0] == ("before", call)]
    trial = tried(story, calls[min(int(share * len(calls)), len(calls) - 1)], spares=True)
    assert trial.reached
    assert trial.broken == ()


def chosen(points: tuple[Point, ...]) -> tuple[Point, ...]:
    draw = random.Random(6)  # noqa: S311 - it has to be the same every time
    count = math.ceil(SHARE * len(points))
    return points if count == len(points) else tuple(draw.sample(points, count))


def report(title: str, trials: list[Trial], points: int) -> None:
    """Print the table, and add it to the page that was asked for."""
    tried_of = f"{len(trials):,} of {points:,} points"
    text = "\n".join(("", f"## {title}: {tried_of}", "", *table(trials), ""))
    print(text)  # noqa: T201 - shown when the test fails, or by -s
    if PAGE:
        with Path(PAGE).open("a", encoding="utf-8") as file:
            file.write(text)
