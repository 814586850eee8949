"""Given a fleet in memory, when the release flow runs, then it ends where it should."""

from collections import Counter
from dataclasses import replace

import pytest

from edgefleet.adapters.memory.faults import parse_fault
from edgefleet.adapters.memory.kill import watched
from edgefleet.errors import Unreachable
from edgefleet.fleet.preflight import Preflight
from edgefleet.fleet.release import Phase
from edgefleet.wiring import installed
from flows.release import release
from tasks.records import champion_of, needed
from tests.scenarios.conftest import Build
from tests.scenarios.stories import ended, package, serving, worse

LAB = {
    "precision": "fp32",
    "accuracy_fp32": "1.0000",
    "accuracy": "1.0000",
    "drop_pt": "0.00",
    "speedup": "1.00",
}


def test_a_good_version_reaches_every_node(build: Build) -> None:
    made = build()
    second = made.submit(2)
    release(second)
    assert ended(made, second) is Phase.RELEASED
    assert serving(made) == Counter({package(second): 40})


@pytest.mark.parametrize("silent_in", [None, Phase.PLANNED])
def test_the_registry_shows_what_the_lab_found(build: Build, silent_in: Phase | None) -> None:
    made = build()
    second = made.submit(2)

    def silent(when: str, call: str) -> None:
        if (when, call) == ("before", "MemoryModels.record") and ended(made, second) is silent_in:
            raise Unreachable("no answer")

    models = made.world.models
    with installed(replace(made.world, models=watched(models, silent))):
        release(second)
    tags = models.versions(made.spec.model)[0].tags
    found = {name: tags[f"edgefleet.{name}"] for name in ("state", "by", *LAB)}
    assert found == {"state": "released", "by": second, **LAB}


def test_each_node_sees_one_transition_per_release(build: Build) -> None:
    made = build()
    release(made.submit(2))
    transitions = Counter(moved.node for moved in made.fleet.transitions())
    assert set(transitions.values()) == {2}  # nothing -> first, first -> second


def test_whoever_approves_is_shown_how_alike_canary_and_others_were(build: Build) -> None:
    made = build()
    made.world.clock.sleep(20 * made.spec.gates.window_s)
    second = made.submit(2)
    release(second)
    shown = needed(second, "preflight", 1, Preflight)
    assert [one.metric for one in shown.balance] == ["p50", "p95", "p99", "errors", "accuracy"]
    assert all(0 < one.further <= 1 for one in shown.balance)
    assert "| before | canary | others |" in shown.text


def test_a_version_that_is_worse_in_the_field_goes_back_and_only_the_canary_had_it(
    build: Build,
) -> None:
    made = worse(build(), accuracy=0.80)
    second = made.submit(2)
    release(second)
    assert ended(made, second) is Phase.ROLLED_BACK
    had_it = {m.node for m in made.fleet.transitions() if m.after == package(second)}
    assert len(had_it) == 5
    champion = champion_of(made.spec.workload)
    assert champion is not None
    assert serving(made) == Counter({champion.digest: 40})


def test_an_abort_before_anything_moved_leaves_everything_as_it_was(build: Build) -> None:
    made = build()
    second = made.submit(2)
    made.world.ledger.ask_abort(second, "wrong version", made.world.clock.now())
    release(second)
    assert ended(made, second) is Phase.ABORTED
    assert len(serving(made)) == 1


def test_nodes_that_are_offline_are_deferred_and_named(build: Build) -> None:
    made = build()
    made.strike([parse_fault("offline:3")])
    second = made.submit(2)
    release(second)
    current = made.world.ledger.release(second)
    assert current.phase is Phase.RELEASED
    assert "3 later" in current.reason


@pytest.mark.parametrize(
    ("fault", "updated"), [("disk_full:2", 38), ("wrong_digest:1", 39), ("slow:4", 40)]
)
def test_a_few_nodes_at_fault_do_not_stop_the_others_and_count_by_what_they_say(
    build: Build, fault: str, updated: int
) -> None:
    made = build()
    made.strike([parse_fault(fault)])
    second = made.submit(2)
    release(second)
    current = made.world.ledger.release(second)
    assert current.phase is Phase.RELEASED
    assert current.reason.startswith(f"{updated} nodes serve")
    assert serving(made)[package(second)] == updated


def test_too_many_nodes_offline_are_refused_before_anything_moves(build: Build) -> None:
    made = build()
    made.strike([parse_fault("offline:50%")])
    second = made.submit(2)
    release(second)
    current = made.world.ledger.release(second)
    assert current.phase is Phase.REFUSED
    assert "20 of 40 nodes are deferred" in current.reason


@pytest.mark.parametrize("fault", ["self_check_fails:50%", "wrong_digest:50%", "never_ready:50%"])
def test_canary_nodes_that_do_not_serve_it_send_it_back(build: Build, fault: str) -> None:
    made = build()
    made.strike([parse_fault(fault)])
    second = made.submit(2)
    release(second)
    assert ended(made, second) is Phase.ROLLED_BACK
    champion = champion_of(made.spec.workload)
    assert champion is not None
    assert serving(made) == Counter({champion.digest: 40})


def test_a_second_release_of_the_workload_waits_for_the_first(build: Build) -> None:
    made = build()
    second, third = made.submit(2), made.submit(3)
    release(third)
    assert ended(made, third) is Phase.QUALIFYING
    release(second)
    release(third)
    assert ended(made, third) is Phase.RELEASED
