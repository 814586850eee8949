"""Who is behind the champion, whose turn it is, and who is left alone for how long."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.edge.contract import Needs
from edgefleet.fleet.inventory import Inventory, NodeView, Pull, PullState
from edgefleet.fleet.needs import Package
from edgefleet.fleet.reconcile import (
    DAY,
    MOST_TRIES,
    Behind,
    Standing,
    Tried,
    after_turn,
    in_the_way,
    left_over,
    next_try,
    parts,
    standing,
    turn,
)
from edgefleet.fleet.release import ENDS, Phase
from edgefleet.fleet.stage import Fate, NodeReport, StageReport
from edgefleet.spec import Spec
from tests.fleet.fleets import NOW, WANT, WAS, fleet, pin, release, spec, view

PACKAGE = Package(WANT, 1_000_000, Needs(memory_mb=100, cpu_millis=100))
NIGHTS = [{"factories": ["f1"], "opens": "22:00", "closes": "05:00"}]


def seen(*others: NodeView, known: Standing | None = None, to: Spec | None = None) -> Standing:
    """Return who is behind in a fleet that serves the champion, but for some nodes."""
    inventory = fleet(8, {other.node: other for other in others}, WANT)
    return standing(to or spec(), PACKAGE, inventory, known or Standing(), NOW)


def test_nobody_is_behind_in_a_fleet_that_serves_its_champion() -> None:
    assert seen() == Standing()


@pytest.mark.parametrize(
    ("node", "kind", "reason"),
    [
        (view("n01", "f1"), "due", f"serves {WAS[:19]}"),
        (view("n01", "f1", None), "due", "serves nothing"),
        (replace(view("n01", "f1"), online=False), "deferred", "offline"),
        (replace(view("n01", "f1"), hold_reason="audit"), "deferred", "held: audit"),
        (replace(view("n01", "f1"), disk_free_mb=1), "excluded", "1 MB of disk free"),
        (replace(view("n01", "f1", WANT), ordered=WAS), "due", f"serves {WANT[:19]}"),
    ],
)
def test_a_node_is_behind_for_a_reason(node: NodeView, kind: str, reason: str) -> None:
    (behind,) = seen(node).behind
    assert (behind.node, behind.kind) == ("n01", kind)
    assert behind.reason.startswith(reason)


def test_a_closed_window_keeps_its_factorys_nodes_waiting_and_no_others() -> None:
    found = seen(view("n01", "f1"), view("n02", "f2"), to=spec(maintenance=NIGHTS))
    assert [item.kind for item in found.behind] == ["closed", "due"]
    assert found.behind[0].reason == "its maintenance window opens at 2026-01-01 22:00 UTC"


def test_what_a_silent_factory_had_behind_is_not_forgotten() -> None:
    before = seen(view("n01", "f1"), view("n02", "f2"))
    others = tuple(v for v in fleet(8, digest=WANT).nodes if v.factory != "f1")
    now = standing(spec(), PACKAGE, Inventory(others, {"f1": "no route"}), before, NOW)
    assert [(item.node, item.kind) for item in now.behind] == [("n01", "silent")]
    assert "no route" in now.behind[0].reason


def test_each_factory_gets_so_many_turns_at_once_and_each_node_one() -> None:
    late = seen(*[view(f"n{n:02d}", f"f{n % 4}") for n in (0, 1, 4, 5)])
    assert turn(late, (), 1) == {"f0": ("n00",), "f1": ("n01",)}
    assert turn(late, {"n00", "n01"}, 1) == {"f0": ("n04",), "f1": ("n05",)}
    assert turn(late, (), 5) == {"f0": ("n00", "n04"), "f1": ("n01", "n05")}


def test_a_pull_of_no_more_use_is_let_go_and_one_under_way_is_not() -> None:
    def pulled(name: str, digest: object, state: PullState) -> NodeView:
        serving = WANT if digest is WANT else WAS
        return replace(view(name, "f1", serving), pulls=(Pull(WANT, state),))

    views = [
        pulled("a", WANT, PullState.PRESENT),
        pulled("b", WAS, PullState.FAILED),
        pulled("c", WAS, PullState.PRESENT),
        pulled("d", WANT, PullState.PULLING),
        replace(pulled("e", WANT, PullState.PRESENT), online=False),
    ]
    assert left_over(views, PACKAGE) == {"f1": ("a", "b")}


def ended(fate: Fate, reason: str = "") -> list[StageReport]:
    return [StageReport("f1", "change", (NodeReport("n01", "f1", fate, reason),))]


def test_after_its_turn_a_node_is_there_or_away_or_paused() -> None:
    before = seen(view("n01", "f1"), view("n02", "f2"))
    there = after_turn(before, ended(Fate.DONE), NOW)
    assert [item.node for item in there.behind] == ["n02"]
    away = after_turn(before, ended(Fate.DEFERRED, "offline"), NOW)
    assert (away.behind[0].kind, away.behind[0].reason, away.tried) == ("deferred", "offline", {})
    failed = after_turn(before, ended(Fate.FAILED, "self-check failed"), NOW)
    assert failed.tried == {"n01": Tried((NOW,), "self-check failed")}
    assert failed.behind[0].reason == (
        "failed once, next try at 2026-01-01 12:10 UTC: self-check failed"
    )
    again = seen(view("n01", "f1"), known=failed)
    assert again.behind[0] == failed.behind[0]
    assert seen(known=failed) == Standing()  # it got there: nothing is held against it


@given(st.lists(st.integers(0, 3 * 24 * 60), max_size=60))
def test_nobody_is_tried_more_often_than_three_times_in_any_day(minutes: list[int]) -> None:
    """Whenever somebody looks, and tries if it may be."""
    node, tries = Standing(), []
    for moment in sorted(NOW + timedelta(minutes=m) for m in minutes):
        known = node.tried.get("n01")
        again = next_try(known, moment)
        if again is None:
            tries.append(moment)
            before = Standing(seen(view("n01", "f1")).behind, node.tried)
            node = after_turn(before, ended(Fate.FAILED, "bad"), moment)
        else:
            assert again > moment
    assert all(within(tries, moment) <= MOST_TRIES for moment in tries)


def within(tries: list[datetime], end: datetime) -> int:
    return sum(end - DAY < moment <= end for moment in tries)


def test_a_release_that_may_touch_nodes_has_them_for_itself() -> None:
    quiet = {Phase.QUALIFYING, Phase.PLANNED, Phase.AWAITING, *ENDS}
    for phase in Phase:
        why = in_the_way([replace(release(), phase=phase)])
        assert bool(why) == (phase not in quiet), phase
    queued = replace(release(3), phase=Phase.QUALIFYING)
    rolling = replace(release(2), phase=Phase.ROLLING)
    assert "inspect-2 is rolling" in in_the_way([queued, rolling])


def test_each_node_is_one_release_s_to_bring_along_and_so_is_what_is_known_of_it() -> None:
    pins = {"n01": pin(), "n02": pin("inspect-2"), "gone": pin()}
    inventory = replace(fleet(4), silent={"f9": "down"})
    found = {part.release_id: part for part in parts(inventory, pins, "inspect-2")}
    nodes = {name: [v.node for v in part.inventory.nodes] for name, part in found.items()}
    assert nodes == {"inspect-2": ["n00", "n02", "n03"], "inspect-1": ["n01"]}
    assert {str(part.inventory.silent) for part in found.values()} == {"{'f9': 'down'}"}
    known = Standing(
        tuple(Behind(node, "f0", "due", "") for node in ("n01", "n02", "n77", "gone")),
        {"n01": Tried((NOW,), "no"), "n77": Tried((NOW,), "no")},
    )
    ours, theirs = (found[name].known(known) for name in ("inspect-1", "inspect-2"))
    assert ([item.node for item in ours.behind], [*ours.tried]) == (["n01", "gone"], ["n01"])
    assert ([item.node for item in theirs.behind], [*theirs.tried]) == (["n02", "n77"], ["n77"])
