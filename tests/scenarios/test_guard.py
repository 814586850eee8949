"""Given a released champion, when it gets worse in the field, then the guard says so, and how."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from edgefleet.adapters.memory.faults import parse_fault
from edgefleet.adapters.memory.telemetry import MemoryTelemetry, Quality
from edgefleet.edge.contract import ShadowOrder
from edgefleet.errors import Refused
from edgefleet.fleet.alarms import Cause
from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage
from flows.guard import Watched, guard
from flows.release import release
from tests.scenarios.conftest import SPEC, Build
from tests.scenarios.stories import ended, package, serving

EVERY_S = 900.0
GUARD = "guard: {learn_windows: 60, shadow_rate: 0.2, false_alarm_days: 30}\n"

Runs = Callable[..., list[Watched]]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Given a spec file, as an operator has it: runs of the guard over it, on its schedule."""

    def some(made: Stage, count: int = 1, acknowledge: str = "") -> list[Watched]:
        folder = tmp_path / "specs"
        folder.mkdir(exist_ok=True)
        text = yaml.safe_dump(made.spec.model_dump(mode="json"))
        (folder / f"{made.spec.workload}.yaml").write_text(text)
        monkeypatch.setenv("EDGEFLEET_SPECS", str(folder))
        found = []
        for _ in range(count):
            made.world.clock.sleep(EVERY_S)
            found += guard(acknowledge)
        return found

    return some


def released(build: Build, text: str = SPEC + GUARD) -> tuple[Stage, str]:
    """Return a fleet whose second version is the champion."""
    made = build(spec=text)
    second = made.submit(2)
    release(second)
    assert ended(made, second) is Phase.RELEASED
    return made, second


def field(made: Stage) -> dict[object, Quality]:
    telemetry = made.world.telemetry
    assert isinstance(telemetry, MemoryTelemetry)
    return telemetry.qualities  # type: ignore[return-value]


def journal(made: Stage, release_id: str) -> list[str]:
    lines = [entry.text for entry in made.world.ledger.journal(release_id)]
    return [line for line in lines if line.startswith("guard: ")]


def shadows(made: Stage) -> set[ShadowOrder]:
    jobs = [node.jobs[made.spec.workload] for node in made.fleet.nodes.values()]
    return {job.shadows[-1][1] for job in jobs if job.shadows}


def test_a_champion_that_loses_points_after_its_release_is_found_and_a_rollback_proposed(
    build: Build, runs: Runs
) -> None:
    made, second = released(build)
    assert all(found.alarms == () for found in runs(made, 5))
    field(made)[package(second)] = Quality(accuracy=0.88)
    found = runs(made, 2)
    told = [alarm for one in found for alarm in one.told]
    assert {(a.place, a.cause) for a in told} == {("fleet", Cause.MODEL)}
    lines = journal(made, second)
    assert len(lines) == len(told)
    assert "Go back with `edgefleet rollback defect-detection --reason ...`." in lines[0]
    (after,) = runs(made)
    assert after.told == ()
    assert len(after.alarms) == len(told)
    (anew,) = runs(made, acknowledge=made.spec.workload)
    assert anew.alarms == anew.told


def test_a_misspelt_workload_is_not_acknowledged_in_silence(build: Build, runs: Runs) -> None:
    made = build(spec=SPEC + GUARD)
    words = "defect-detecton: no spec is of this workload.*Name one of these: defect-detection"
    with pytest.raises(Refused, match=words):
        runs(made, acknowledge="defect-detecton")


def test_where_the_spec_lets_it_the_guard_goes_back_by_itself(build: Build, runs: Runs) -> None:
    made, second = released(build, SPEC + GUARD.replace("{", "{action: perform, "))
    runs(made, 5)
    field(made)[package(second)] = Quality(accuracy=0.88)
    runs(made, 2)
    back = f"{made.spec.workload}-3"
    assert any(f"Going back: {back} takes the package" in line for line in journal(made, second))
    release(back)
    assert ended(made, back) is Phase.RELEASED
    assert set(serving(made)) == {package(f"{made.spec.workload}-1")}


def test_where_the_spec_lets_it_a_node_goes_back_alone(build: Build, runs: Runs) -> None:
    made, second = released(build, SPEC + GUARD.replace("{", "{action: perform, "))
    runs(made, 5)
    made.strike([parse_fault(f"errors=0.1:node-0012@{made.fleet.now_s}")])
    runs(made, 3)
    assert set(made.world.ledger.pins(made.spec.workload)) == {"node-0012"}
    (line,) = journal(made, second)
    assert "Going back: 1 nodes pinned to defect-detection-1: node-0012" in line


def test_lighting_that_old_and_new_suffer_from_alike_is_named_as_drift(
    build: Build, runs: Runs
) -> None:
    made, second = released(build)
    runs(made, 5)
    for digest in (package(second), package(f"{made.spec.workload}-1")):
        field(made)[digest] = Quality(accuracy=0.88)
    told = [alarm for one in runs(made, 3) for alarm in one.told]
    assert {alarm.cause for alarm in told} <= {Cause.SURROUNDINGS, Cause.UNTOLD}
    line = journal(made, second)[-1]
    assert line.startswith("guard: drift: old and new alike lost ")
    assert "points at the whole fleet; not the model" in line
    assert "rollback would change nothing" in line


def test_errors_of_one_node_are_proposed_to_be_undone_there(build: Build, runs: Runs) -> None:
    made, second = released(build)
    runs(made, 5)
    made.strike([parse_fault(f"errors=0.1:node-0012@{made.fleet.now_s}")])
    runs(made, 3)
    (line,) = journal(made, second)
    assert line.startswith("guard: errors at node-0012: ")
    assert "edgefleet rollback defect-detection --node node-0012 --reason" in line


def test_the_model_before_answers_a_sample_for_the_days_that_the_spec_says(
    build: Build, runs: Runs
) -> None:
    made, _ = released(build, SPEC + GUARD.replace("shadow_rate", "shadow_days: 0.1, shadow_rate"))
    assert shadows(made) == {ShadowOrder(against="none", rate=0.0)}
    runs(made)
    assert shadows(made) == {ShadowOrder(against="previous", rate=0.2)}
    made.fleet.nodes["node-0003"].jobs[made.spec.workload].shadows.clear()
    runs(made)
    assert not made.fleet.nodes["node-0003"].jobs[made.spec.workload].shadows, "told once"
    runs(made, 10)
    assert shadows(made) == {ShadowOrder(against="none", rate=0.0)}


def test_while_a_release_moves_nodes_they_are_not_judged(build: Build, runs: Runs) -> None:
    made, second = released(build)
    runs(made, 2)
    field(made)[package(second)] = Quality(accuracy=0.70)
    third = made.submit(3)
    release(third)
    assert ended(made, third) is Phase.RELEASED
    assert runs(made, 2)[-1].alarms == (), "the windows before are those of another champion"


def test_a_workload_without_a_champion_or_without_a_guard_is_left_alone(
    build: Build, runs: Runs
) -> None:
    made = build(spec=SPEC + "guard: {action: off}")
    (found,) = runs(made)
    assert found.unwatched == "its spec says guard.action: off"
    assert len(serving(made)) == 1
