"""Given nodes that a release left behind, when reconcile comes, then they serve the champion."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from edgefleet.adapters.memory.faults import parse_fault
from edgefleet.edge.contract import Digest
from edgefleet.fleet.inventory import Change
from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage
from flows.reconcile import Reconciled, reconcile
from flows.release import release
from tasks.records import champion_of
from tests.scenarios.conftest import SPEC, Build, Written
from tests.scenarios.stories import changed, ended, meanwhile, package, serving, worse

Pass = Callable[[Stage], Reconciled]


@pytest.fixture
def passed(written: Written) -> Pass:
    """Given a spec file, as an operator has it: one pass of reconcile over it."""

    def once(made: Stage) -> Reconciled:
        written(made)
        (found,) = reconcile()
        return found

    return once


def champion(made: Stage) -> Digest:
    found = champion_of(made.spec.workload)
    assert found is not None
    return found.digest


def reasons(found: Reconciled) -> dict[str, str]:
    return {item.node: f"{item.kind}: {item.reason}" for item in found.behind}


def test_a_fleet_that_serves_its_champion_is_left_alone(build: Build, passed: Pass) -> None:
    made = build()
    before = made.fleet.transitions()
    assert passed(made) == Reconciled(made.spec.workload)
    assert made.fleet.transitions() == before


def test_nodes_that_were_offline_in_a_release_come_along_when_they_return(
    build: Build, passed: Pass
) -> None:
    made = build()
    away = ("node-0003", "node-0017", "node-0040")
    made.strike([parse_fault(f"offline:{','.join(away)}")])
    second = made.submit(2)
    release(second)
    assert ended(made, second) is Phase.RELEASED
    assert reasons(passed(made)) == dict.fromkeys(away, "deferred: offline")
    made.fleet.mend("node-0003")
    made.fleet.mend("node-0040")
    found = passed(made)
    assert found.brought == ("node-0003", "node-0040")
    assert reasons(found) == {"node-0017": "deferred: offline"}
    made.fleet.mend("node-0017")
    assert passed(made).behind == ()
    assert serving(made) == Counter({package(second): 40})
    assert set(changed(made).values()) == {1}
    assert all(not view.pulls for site in made.world.sites.values() for view in site.snapshot("x"))


def test_a_new_node_and_one_made_anew_get_the_champion(build: Build, passed: Pass) -> None:
    made = build()
    made.fleet.nodes["node-0005"].jobs.clear()  # its disk was wiped, and its orders with it
    wiped = made.fleet.nodes["node-0006"].job(made.spec.workload)  # its site still wants the same
    wiped.serving = wiped.previous = wiped.began_s = None
    wiped.pending = True
    found = passed(made)
    assert found.brought == ("node-0005", "node-0006")
    assert serving(made) == Counter({champion(made): 40})


def test_a_node_that_somebody_changed_by_hand_is_brought_back(build: Build, passed: Pass) -> None:
    made = build()
    (before,) = serving(made)
    release(made.submit(2))
    node, want = made.fleet.nodes["node-0008"], champion(made)
    by_hand = Change(made.spec.workload, node.name, node.factory, before, want, 0)
    node.order(by_hand, made.fleet.now_s)
    made.world.clock.sleep(60)
    assert serving(made) == Counter({want: 39, before: 1})
    assert passed(made).brought == ("node-0008",)
    assert serving(made) == Counter({want: 40})


def test_a_held_node_is_named_in_its_factorys_words_and_left_alone(
    build: Build, passed: Pass
) -> None:
    made = build()
    made.fleet.nodes["node-0009"].jobs.clear()
    made.fleet.veto("node-0009", "audit until Friday")
    assert reasons(passed(made)) == {"node-0009": "deferred: held: audit until Friday"}
    made.fleet.veto("node-0009", None)
    assert passed(made).brought == ("node-0009",)


def test_a_node_waits_for_the_maintenance_window_of_its_factory(build: Build, passed: Pass) -> None:
    made = build(spec=SPEC + "maintenance: [{factories: [factory-01], opens: 22:00, closes: 5:00}]")
    now = made.world.clock.now()
    made.world.clock.sleep((now.replace(hour=12) - now).total_seconds() % 86400)
    for name in ("node-0001", "node-0040"):
        made.fleet.nodes[name].jobs.clear()
    found = passed(made)
    assert found.brought == ("node-0040",)
    (closed,) = reasons(found).values()
    assert closed.startswith("closed: its maintenance window opens at 2026-01-0")
    made.world.clock.sleep(10 * 3600)
    assert passed(made).brought == ("node-0001",)


def test_a_node_that_fails_is_named_and_tried_three_times_a_day(build: Build, passed: Pass) -> None:
    made = build()
    made.fleet.nodes["node-0007"].jobs.clear()
    made.strike([parse_fault("self_check_fails:node-0007")])
    tries = 0
    for _ in range(12 * 12):
        before = made.world.ledger.journal(f"{made.spec.workload}-1")
        found = passed(made)
        tries += len(made.world.ledger.journal(f"{made.spec.workload}-1")) - len(before)
        made.world.clock.sleep(600)
    assert tries == 3
    (why,) = reasons(found).values()
    assert why.startswith("paused: failed 3 times, next try at")
    assert "self-check failed" in why
    made.fleet.mend("node-0007")
    made.world.clock.sleep(86400)
    found = passed(made)
    assert found.behind == ()
    assert serving(made)[champion(made)] == 40


def test_what_a_release_left_on_a_node_that_was_cut_off_comes_back(
    build: Build, passed: Pass
) -> None:
    made = worse(build(), accuracy=0.80)
    want, (before,) = champion(made), serving(made)
    second = made.submit(2)
    cut: list[str] = []

    def cut_off() -> None:
        """Cut a node of the canary off for good, once its verdict is known."""
        had_it = [m.node for m in made.fleet.transitions() if m.after == package(second)]
        cut.append(had_it[0])
        made.strike([parse_fault(f"offline:{had_it[0]}@{made.fleet.now_s}")])

    meanwhile(made, second, Phase.REVERTING, cut_off)
    assert ended(made, second) is Phase.ROLLED_BACK
    assert serving(made) == Counter({before: 39, None: 1})
    assert reasons(passed(made)) == {cut[0]: "deferred: offline"}
    made.fleet.mend(cut[0])
    made.world.clock.sleep(60)
    passed(made)
    assert serving(made) == Counter({want: 40})


def test_while_a_release_moves_nodes_they_are_left_to_it(build: Build, passed: Pass) -> None:
    made = build()
    second = made.submit(2)
    made.world.ledger.acquire(made.spec.workload, "a driver", datetime.now(UTC), 60)
    made.fleet.nodes["node-0009"].jobs.clear()
    found = passed(made)
    assert "driven by a driver" in found.untouched
    assert found.brought == ()
    assert made.world.ledger.release(second).live
