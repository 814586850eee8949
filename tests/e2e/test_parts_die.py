"""Given a release under a worker, when a part of the site dies and comes back, it ends right.

Real servers, nodes and cameras that never try twice. Nobody follows the release from a terminal:
what finds a successor for a dead driver is what runs on every site. `make test-crash` kills drivers
at all of the seeded points and writes docs/deaths.md. It takes long, so nothing else runs it.
"""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import pytest
from prefect.client.schemas.objects import FlowRun

from edgefleet.fleet.release import Phase
from tasks.starts import start_release
from tests.e2e.deaths import Story, begin, kill, outage, run_in, spec_without_questions, up
from tests.e2e.quick import write_versions
from tests.e2e.site import Site, a_site, wait_for

PAGE = os.environ.get("EDGEFLEET_DEATHS", "")
"""Where `make test-crash` wants the table; empty: it is not `make test-crash`."""
POINTS = 20
A_RELEASE = 3
"""So many drivers of one release are killed; after one more the next would come later."""
HIT = (Phase.QUALIFYING, Phase.PREPULLING, Phase.CANARY, Phase.SOAKING, Phase.ROLLING)
"""The phases in which a driver is at work for longer than a moment."""
SOON_S = 40.0
"""Within so long the next driver is to hold the lease, 95 times of 100."""

INTRODUCTION = """# Deaths

`make test-crash` kills the drivers of real releases with SIGKILL: Prefect, its worker, MLflow and
ten edge servers on one machine, cameras that never try twice, and nobody who follows the release. A
point is a phase and a share of the time that this phase usually takes, drawn by a seed. *Resumed*
is the time from the kill until the next driver holds the lease. Every release below ended as shown,
with each node changed once and no request lost.
"""

pytestmark = [
    pytest.mark.servers,
    pytest.mark.timeout(4 * 3600),
    pytest.mark.skipif(not PAGE, reason="takes long: `make test-crash` has it"),
]


@dataclass(frozen=True)
class Point:
    """Where a driver is killed."""

    number: int
    phase: Phase
    share: float
    """Of the time that the phase usually takes."""


@dataclass(frozen=True)
class Death:
    """What came of one kill."""

    point: Point
    hit: Phase
    """The phase that the dead driver left: one may be over sooner than usual."""
    resumed_s: float
    end: Phase


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Given a site where releases ask nobody, and two versions of one model."""
    folder = tmp_path_factory.mktemp("parts")
    specs = spec_without_questions(folder / "specs")
    with a_site(folder / "home", {"EDGEFLEET_SPECS": str(specs)}) as site:
        for version in write_versions(folder / "models", ("graz", "linz"), 2):
            site.edgefleet("register", str(version))
        yield site


@pytest.fixture(scope="module")
def champion(site: Site) -> Story:
    """Given a fleet that serves version 1."""
    first = begin(site, 1)
    first.ends()
    return first


@pytest.fixture(scope="module")
def versions(champion: Story) -> Iterator[int]:
    """Yield the version that the fleet does not serve."""
    assert champion.now.phase is Phase.RELEASED
    return cycle((2, 1))


def test_prefect_is_killed_while_the_canary_is_judged(site: Site, versions: Iterator[int]) -> None:
    story = begin(site, next(versions))
    story.reaches(Phase.SOAKING)
    kill(site, "prefect")
    outage(site)
    up(site)
    story.ends()


def test_a_worker_is_killed_with_its_driver_while_nodes_are_changed(
    site: Site, versions: Iterator[int]
) -> None:
    story = begin(site, next(versions))
    story.half_rolled()
    kill(site, "worker")
    up(site)
    story.ends()


def test_mlflow_is_dead_when_its_model_is_wanted(site: Site, versions: Iterator[int]) -> None:
    kill(site, "mlflow")
    story = begin(site, next(versions))
    wait_for(lambda: story.says("waiting: "), story.how)
    assert story.now.phase is Phase.QUALIFYING
    up(site)
    story.ends()


def test_a_driver_that_slept_through_its_lease_is_refused_when_it_wakes(
    site: Site, versions: Iterator[int]
) -> None:
    story = begin(site, next(versions))
    story.half_rolled()
    epoch, frozen = story.driven()
    run_id = run_in(frozen)
    os.kill(frozen, signal.SIGSTOP)
    try:
        start_release(story.release_id)
        later, _ = story.driven(above=epoch)
    finally:
        os.kill(frozen, signal.SIGCONT)
    run = wait_for(lambda: ended(story, run_id), story.how)
    assert run.state is not None
    assert run.state.is_failed(), run.state
    assert f"written under epoch {epoch}" in str(run.state.message)
    story.ends()
    assert story.now.epoch == later


def test_of_two_drivers_at_once_one_moves(site: Site, versions: Iterator[int]) -> None:
    story = begin(site, next(versions))
    start_release(story.release_id)
    epoch, _ = story.driven()
    story.ends()
    assert story.now.epoch == epoch
    said = story.how()
    wait_for(lambda: all(is_over(run) for run in story.runs()), story.how)
    assert len(story.runs()) == 2
    assert story.how() == said
    assert story.now.epoch == epoch


def test_a_driver_that_is_killed_anywhere_is_followed_soon(
    site: Site, champion: Story, versions: Iterator[int]
) -> None:
    usual = champion.seconds_in()
    deaths: list[Death] = []
    for points in drawn(POINTS):
        story = begin(site, next(versions))
        hits = [struck(story, point, usual[point.phase]) for point in points]
        story.ends()
        deaths += [
            Death(point, hit, resumed_s, story.now.phase)
            for point, (hit, resumed_s) in zip(points, hits, strict=True)
        ]
    text = "\n".join(table(deaths))
    print(text)  # noqa: T201 - shown when the test fails, or by -s
    Path(PAGE).write_text(f"{INTRODUCTION}\n{text}\n", encoding="utf-8")
    assert p95([death.resumed_s for death in deaths]) < SOON_S


def drawn(count: int) -> Iterator[tuple[Point, ...]]:
    """Yield the points of one release after the other, in the order of its phases."""
    draw = random.Random(6)  # noqa: S311 - it has to be the same every time
    for first in range(0, count, A_RELEASE):
        numbers = range(first + 1, min(first + A_RELEASE, count) + 1)
        phases = sorted(draw.sample(HIT, A_RELEASE), key=HIT.index)
        yield tuple(
            Point(number, phase, round(draw.random(), 2))
            for number, phase in zip(numbers, phases, strict=False)
        )


def struck(story: Story, point: Point, usual_s: float) -> tuple[Phase, float]:
    """Kill the driver at a point; return the phase it left, and how long until the next drives."""
    story.reaches(point.phase)
    due = time.monotonic() + point.share * usual_s
    wait_for(lambda: time.monotonic() >= due or story.now.phase is not point.phase, story.how)
    epoch, pid = story.driven()
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    hit = story.now.phase
    story.driven(above=epoch)
    return hit, time.monotonic() - killed


def table(deaths: Iterable[Death]) -> Iterator[str]:
    """Yield a markdown table of all kills, and what 95 of 100 stay under."""
    yield "| point | phase | share | hit in | resumed after, s | end |"
    yield "|---|---|---|---|---|---|"
    found = tuple(deaths)
    for one in found:
        where = f"{one.point.number} | {one.point.phase} | {one.point.share}"
        yield f"| {where} | {one.hit} | {one.resumed_s:.1f} | {one.end} |"
    seconds = sorted(one.resumed_s for one in found)
    yield ""
    yield (
        f"{len(seconds)} kills: resumed after {seconds[len(seconds) // 2]:.1f} s in the middle, "
        f"{p95(seconds):.1f} s at the 95th percentile, {seconds[-1]:.1f} s at most."
    )


def p95(seconds: Sequence[float]) -> float:
    """Return the smallest of the values that 95 of 100 do not exceed."""
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]


def ended(story: Story, run_id: str) -> FlowRun | None:
    """Return a run of the release once it is over."""
    return next((run for run in story.runs() if str(run.id) == run_id and is_over(run)), None)


def is_over(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_final()
