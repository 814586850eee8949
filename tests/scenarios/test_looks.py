"""When the canary is looked at, and what a look knows."""

from __future__ import annotations

from dataclasses import replace

from edgefleet.adapters.memory.faults import Fault, Kind
from edgefleet.adapters.memory.kill import watched
from edgefleet.fleet.design import Design
from edgefleet.fleet.release import Phase
from edgefleet.wiring import installed
from flows.looks import begun_sheets
from flows.release import release
from flows.soak import Look
from tasks.records import Drive, needed
from tests.scenarios.conftest import SPEC, Build
from tests.scenarios.stories import ended

RARELY = SPEC.replace("min_windows: 4", "min_windows: 4\n  look_every: 5")
LONG = SPEC.replace("min_windows: 4", "min_windows: 26")


def test_looks_are_as_far_apart_as_the_spec_says(build: Build) -> None:
    made = build(spec=RARELY)
    second = made.submit(2)
    with installed(made.world):
        release(second)
        looks = Drive(second, 0).recall_all("look", Look)
        first = needed(second, "design", 0, Design).first_window
    assert ended(made, second) is Phase.RELEASED
    assert [look.window - first for look in looks.values()] == [5 * n for n in range(len(looks))]
    assert 1 < len(looks) <= 6


def test_what_a_node_did_while_it_was_cut_off_counts_once_it_is_back(build: Build) -> None:
    made = build(spec=LONG)
    second = made.submit(2)
    fleet = made.fleet
    collected: list[float] = []

    def cut_at_the_third_look(when: str, name: str) -> None:
        if (when, name) == ("before", "MemoryTelemetry.collect"):
            collected.append(fleet.now_s)
            if len(collected) == 4:  # one reading before the first look
                away_s = 9 * made.spec.gates.window_s
                fleet.strike(Fault(Kind.OFFLINE, share=0.1, at_s=fleet.now_s, for_s=away_s))

    telemetry = watched(made.world.telemetry, cut_at_the_third_look)
    with installed(replace(made.world, telemetry=telemetry)):
        release(second)
        drive = Drive(second, 0)
        design = needed(second, "design", 0, Design)
        sheet = begun_sheets(drive, design, design.first_window - 1).until(design.first_window + 19)
    seen = sheet.after.seen
    assert seen.shape == (40, 20)
    assert seen[:, 1:].all()  # in the first one most had just started
