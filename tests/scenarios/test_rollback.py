"""Going back by hand: a release that carries an earlier package, or nodes that keep one."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from typer.testing import CliRunner

from edgefleet.adapters.memory.faults import parse_fault
from edgefleet.adapters.memory.images import MemoryImages
from edgefleet.adapters.memory.kill import watched
from edgefleet.adapters.memory.telemetry import MemoryTelemetry, Quality
from edgefleet.cli import app
from edgefleet.edge.contract import Digest
from edgefleet.errors import Refused, Unreachable
from edgefleet.fleet.inventory import Change
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage
from edgefleet.wiring import installed
from flows.reconcile import Reconciled, reconcile
from flows.release import release
from flows.rollback import rollback
from tasks.pins import pin, unpin
from tasks.records import latest
from tasks.rollbacks import RolledBack, roll_back
from tests.scenarios.conftest import Build, Written
from tests.scenarios.stories import changed, ended, meanwhile, package, serving

KEPT = ("node-0003", "node-0017", "node-0040")
JOB = "defect-detection"
FIRST, SECOND, THIRD = (f"{JOB}-{generation}" for generation in (1, 2, 3))


def released(made: Stage, seed: int) -> str:
    """Return a further release that has ended well."""
    release_id = made.submit(seed)
    release(release_id)
    assert ended(made, release_id) is Phase.RELEASED
    return release_id


@pytest.fixture
def twice(build: Build, written: Written) -> Stage:
    """Given a workload whose second release is its champion, and its spec in the folder."""
    made = build()
    written(made)
    assert released(made, 2) == SECOND
    return made


def passed() -> Reconciled:
    (found,) = reconcile()
    return found


def served(made: Stage, nodes: tuple[str, ...]) -> set[Digest | None]:
    views = [v for site in made.world.sites.values() for v in site.snapshot(JOB)]
    return {v.serving.digest if v.serving else None for v in views if v.node in nodes}


# --- the whole fleet ------------------------------------------------------------------------------


def test_a_rollback_is_a_release_of_the_earlier_package_as_it_is(twice: Stage) -> None:
    found = roll_back(JOB, "scratches are missed", "Ada")
    assert found == RolledBack(JOB, FIRST, THIRD, ())
    calls: list[str] = []
    models = watched(twice.world.models, lambda _when, call: calls.append(call))
    with installed(replace(twice.world, models=models)):
        release(THIRD)
    assert ended(twice, THIRD) is Phase.RELEASED
    assert serving(twice) == Counter({package(FIRST): 40})
    assert set(changed(twice).values()) == {2}
    assert "MemoryModels.fetch" not in calls
    ledger = twice.world.ledger
    for kind in ("qualification", "package"):
        assert ledger.get(THIRD, kind, 0) == ledger.get(FIRST, kind, 0)
    assert len(ledger.all(THIRD, "look")) >= 1
    assert any("Ada, rollback: scratches are missed" in e.text for e in ledger.journal(THIRD))


def test_a_rollback_needs_no_further_yes_and_is_judged_sooner(twice: Stage) -> None:
    roll_back(JOB, "scratches are missed", "Ada")
    text = twice.world.ledger.spec(THIRD)
    assert "before_rollout: auto" in text
    assert f"min_windows: {twice.spec.gates.urgent_min_windows}\n" in text


def test_asked_for_twice_it_is_one_release_until_that_has_ended(twice: Stage) -> None:
    first, again = (roll_back(JOB, "scratches are missed", who) for who in ("Ada", "Bob"))
    assert first == again
    twice.world.ledger.ask_abort(THIRD, "not today", twice.world.clock.now())
    release(THIRD)
    assert ended(twice, THIRD) is Phase.ABORTED
    assert roll_back(JOB, "today", "Ada").release_id == f"{JOB}-4"


def test_an_earlier_package_that_is_somewhat_worse_is_gone_back_to_all_the_same(
    twice: Stage,
) -> None:
    telemetry = twice.world.telemetry
    assert isinstance(telemetry, MemoryTelemetry)
    quality = telemetry.qualities.get(package(SECOND), Quality())
    telemetry.qualities[package(FIRST)] = replace(quality, accuracy=quality.accuracy - 0.1)
    release(roll_back(JOB, "parts of supplier B are refused", "Ada").release_id)
    assert ended(twice, THIRD) is Phase.RELEASED


def test_a_live_release_makes_room_for_a_rollback_that_is_named(twice: Stage) -> None:
    third = twice.submit(3)
    with pytest.raises(Refused, match=f"edgefleet abort {third}"):
        roll_back(JOB, "scratches are missed", "Ada")
    found = roll_back(JOB, "scratches are missed", "Ada", to=FIRST)
    for release_id in (third, found.release_id):
        release(release_id)
    assert ended(twice, third) is Phase.ABORTED
    assert "goes back instead" in twice.world.ledger.release(third).abort_asked
    assert ended(twice, found.release_id) is Phase.RELEASED


def test_after_a_rollback_the_way_does_not_lead_forward_again(twice: Stage) -> None:
    release(roll_back(JOB, "scratches are missed", "Ada").release_id)
    assert serving(twice) == Counter({package(FIRST): 40})
    with pytest.raises(Refused, match=f"nothing was released before {FIRST}.*--to: {SECOND}"):
        roll_back(JOB, "once more", "Ada")
    assert roll_back(JOB, "it was the light", "Ada", to=SECOND).to == SECOND


def test_a_rollback_that_cannot_work_is_refused_in_words(twice: Stage) -> None:
    for to, problem in ((SECOND, "as the champion"), ("x-9", f"{SECOND}, {FIRST}")):
        with pytest.raises(Refused, match=problem):
            roll_back(JOB, "scratches are missed", "Ada", to=to)
    with pytest.raises(Refused, match="no reason"):
        roll_back(JOB, " ", "Ada")
    assert len(twice.world.ledger.releases(JOB)) == 2


def test_a_package_that_is_kept_no_more_cannot_come_back(twice: Stage) -> None:
    images = twice.world.images
    assert isinstance(images, MemoryImages)
    images.forget(package(FIRST))
    release(roll_back(JOB, "scratches are missed", "Ada").release_id)
    assert ended(twice, THIRD) is Phase.REFUSED
    assert "is no blob in memory" in twice.world.ledger.release(THIRD).reason
    assert serving(twice) == Counter({package(SECOND): 40})


# --- some nodes -----------------------------------------------------------------------------------


def test_a_rollback_of_nodes_pins_them_and_reconcile_brings_them_back(twice: Stage) -> None:
    found = roll_back(JOB, "their cameras are old", "Ada", nodes=KEPT)
    assert found == RolledBack(JOB, FIRST, "", KEPT)
    assert passed().brought == KEPT
    assert served(twice, KEPT) == {package(FIRST)}
    assert serving(twice) == Counter({package(SECOND): 37, package(FIRST): 3})
    assert passed() == Reconciled(JOB)


def test_a_rollback_of_a_factory_pins_its_nodes(twice: Stage) -> None:
    found = roll_back(JOB, "new lamps", "Ada", factories=("factory-02",))
    mine = {view.node for view in twice.world.sites["factory-02"].snapshot(JOB)}
    assert set(found.pinned) == mine
    twice.strike([parse_fault("site_down:factory-03")])
    with pytest.raises(Unreachable, match=r"factory-03: .*name its nodes one by one"):
        roll_back(JOB, "new lamps", "Ada", factories=("factory-03",))
    with pytest.raises(Refused, match="graz, node-9: no node or factory"):
        roll_back(JOB, "new lamps", "Ada", factories=("graz",), nodes=("node-9",))


def test_a_pinned_node_stays_while_a_newer_release_goes_out(twice: Stage) -> None:
    pin(twice.spec, KEPT, "line 3 is audited", "Ada")
    released(twice, 3)
    assert served(twice, KEPT) == {package(SECOND)}
    assert serving(twice) == Counter({package(THIRD): 37, package(SECOND): 3})
    found = latest(THIRD, "plan", Plan)
    assert found is not None
    left = {out.node: (out.kind, out.reason) for out in found[1].left_out}
    assert left.keys() == set(KEPT)
    for kind, reason in left.values():
        assert kind == "pinned"
        assert reason.startswith(f"pinned to {SECOND} by Ada on 2026-01-")
        assert reason.endswith("line 3 is audited")
    assert passed() == Reconciled(JOB)


def test_a_pin_that_comes_during_a_release_keeps_its_node_from_the_waves(twice: Stage) -> None:
    third = twice.submit(3)

    def pin_one() -> None:
        found = latest(third, "plan", Plan)
        assert found is not None
        pin(twice.spec, (found[1].waves[1].changes[0].node,), "audit", "Ada")

    meanwhile(twice, third, Phase.ROLLING, pin_one)
    assert ended(twice, third) is Phase.RELEASED
    (kept,) = twice.world.ledger.pins(JOB)
    assert served(twice, (kept,)) == {package(SECOND)}
    assert "39 nodes serve" in twice.world.ledger.release(third).reason


def test_a_pinned_node_that_was_changed_by_hand_is_brought_back_to_its_pin(twice: Stage) -> None:
    pin(twice.spec, KEPT, "line 3 is audited", "Ada")
    released(twice, 3)
    node = twice.fleet.nodes[KEPT[0]]
    by_hand = Change(JOB, node.name, node.factory, package(FIRST), package(SECOND), 0)
    node.order(by_hand, twice.fleet.now_s)
    twice.world.clock.sleep(60)
    assert served(twice, KEPT[:1]) == {package(FIRST)}
    assert passed().brought == KEPT[:1]
    assert served(twice, KEPT) == {package(SECOND)}


def test_without_its_pin_a_node_follows_the_champion_again(twice: Stage) -> None:
    pin(twice.spec, KEPT, "line 3 is audited", "Ada")
    released(twice, 3)
    unpin(JOB, KEPT[:2], "Ada")
    assert passed().brought == KEPT[:2]
    assert serving(twice) == Counter({package(THIRD): 39, package(SECOND): 1})
    with pytest.raises(Refused, match=f"{KEPT[0]}: not pinned for {JOB} .pinned: {KEPT[2]}"):
        unpin(JOB, KEPT[:1], "Ada")


def test_what_a_pinned_node_failed_at_before_does_not_make_it_wait(twice: Stage) -> None:
    twice.fleet.nodes[KEPT[0]].jobs.clear()
    twice.strike([parse_fault(f"self_check_fails:{KEPT[0]}")])
    (behind,) = passed().behind
    assert behind.kind == "paused"
    twice.fleet.mend(KEPT[0])
    pin(twice.spec, KEPT[:1], "the new one does not load here", "Ada", FIRST)
    assert passed() == Reconciled(JOB, KEPT[:1])
    assert served(twice, KEPT[:1]) == {package(FIRST)}


def test_a_pinned_node_that_is_away_is_behind_its_pin_and_named(twice: Stage) -> None:
    pin(twice.spec, KEPT[:1], "audit", "Ada", FIRST)
    twice.strike([parse_fault(f"offline:{KEPT[0]}")])
    assert [(item.node, item.kind) for item in passed().behind] == [(KEPT[0], "deferred")]


def test_only_what_ended_well_may_be_pinned_to(twice: Stage) -> None:
    third = twice.submit(3)
    for to in (third, "elsewhere-1"):
        with pytest.raises(Refused, match=f"{to}: is no release of {JOB} that ended as released"):
            pin(twice.spec, KEPT, "audit", "Ada", to)
    assert twice.world.ledger.pins(JOB) == {}


# --- by the command line, and in Prefect's pages --------------------------------------------------


def said(*words: str) -> dict[str, Any]:
    found = CliRunner().invoke(app, [*words, "--json"])
    assert found.exit_code == 0, found.output
    content = json.loads(found.stdout)
    return content if isinstance(content, dict) else content[0]


def test_the_command_line_pins_says_so_everywhere_and_unpins(
    twice: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = twice.world.work_dir.parent
    monkeypatch.setenv("EDGEFLEET_LEDGER_URL", f"sqlite:///{folder}/ledger.db")
    monkeypatch.setenv("EDGEFLEET_HOME", str(folder))
    node = KEPT[0]
    words = ("--reason", "audit", "--name", "Ada")
    pinned = said("pin", JOB, node, "--to", FIRST, *words)
    assert pinned == {"workload": JOB, "nodes": [node], "release_id": FIRST}
    held = said("status")["pins"][JOB]
    assert (held[node]["release_id"], held[node]["asked_by"]) == (FIRST, "Ada")
    why = said("why", node)
    assert why["wants"] == package(FIRST)
    assert why["explanation"][0].startswith(f"pinned to {FIRST} by Ada on ")
    assert "1 nodes pinned" in CliRunner().invoke(app, ["status"]).output
    passed()
    assert said("unpin", JOB, node, "--name", "Bob")["nodes"] == [node]
    assert "pinned" not in said("why", node)["explanation"][0]
    lines = [entry.text for entry in twice.world.ledger.journal(FIRST)]
    assert any(line.startswith(f"{node} pinned to {FIRST} by Ada") for line in lines)
    assert f"{node} unpinned by Bob: the champion comes" in lines


def test_a_run_of_the_flow_goes_back_and_starts_a_driver(
    twice: Stage, client: SyncPrefectClient
) -> None:
    ended_in = rollback(JOB, "scratches are missed", nodes=KEPT, return_state=True)
    assert ended_in.is_completed()
    assert f"3 nodes pinned to {FIRST}" in str(ended_in.message)
    rollback(JOB, "scratches are missed", name="Ada")
    named = FlowRunFilter(name=FlowRunFilterName(any_=[THIRD]))
    assert len(client.read_flow_runs(flow_run_filter=named)) == 1
    assert "Ada" in twice.world.ledger.release(THIRD).asked_by
