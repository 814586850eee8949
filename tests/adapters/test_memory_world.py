"""A memory world: its clock, its faults, and what they do to a node."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from edgefleet.adapters.memory.clock import START, MemoryClock
from edgefleet.adapters.memory.faults import MIXED, Fault, Kind, parse_fault, struck
from edgefleet.adapters.memory.kill import watched
from edgefleet.adapters.memory.site import MemorySite, sites_of
from edgefleet.adapters.memory.world import MemoryWorld
from edgefleet.edge.contract import Digest, parse_digest
from edgefleet.errors import Conflict, Fenced, Refused, Unreachable
from edgefleet.fleet.inventory import Change, NodeView, PullSource, PullState
from edgefleet.ports import Site

JOB = "defect-detection"
OLD = parse_digest("sha256:" + 64 * "1")
NEW = parse_digest("sha256:" + 64 * "2")
FIRST = "node-0001"


def fleet(*faults: str, nodes: int = 6, factories: int = 1) -> tuple[MemoryWorld, MemorySite]:
    """Make a fleet that has long served OLD."""
    parsed = [parse_fault(text) for text in faults]
    world = MemoryWorld(nodes, factories, faults=parsed)
    world.install(JOB, OLD)
    return world, MemorySite("factory-01", world)


def change(node: str = FIRST, want: Digest | None = NEW, epoch: int = 1) -> Change:
    return Change(JOB, node, "factory-01", want, OLD, epoch)


def upgraded(world: MemoryWorld, site: MemorySite, wait_s: float = 60) -> NodeView:
    """Hold, wait, change, wait; return the first node's view."""
    site.hold(FIRST, NEW)
    world.clock.sleep(wait_s)
    site.apply(change())
    world.clock.sleep(wait_s)
    return view_of(site)


def view_of(site: Site, node: str = FIRST) -> NodeView:
    return next(view for view in site.snapshot(JOB) if view.node == node)


def test_a_node_at_rest_shows_what_changed_as_soon_as_it_did() -> None:
    world, site = fleet()
    quiet = view_of(site)
    assert view_of(site) == quiet
    world.veto(FIRST, "audit")
    assert view_of(site).hold_reason == "audit"
    world.veto(FIRST, None)
    site.hold(FIRST, NEW)
    world.clock.sleep(60)
    assert [pull.digest for pull in view_of(site).pulls] == [NEW]
    site.release_hold(FIRST, NEW)
    assert view_of(site) == quiet
    world.strike(parse_fault("offline:100%"))
    assert not view_of(site).online


# --- clock ----------------------------------------------------------------------------------------


def test_the_clock_stands_until_somebody_sleeps() -> None:
    clock = MemoryClock()
    assert clock.now() == START == clock.now()
    clock.sleep(3600)
    clock.sleep(-5)
    assert clock.now() == START + timedelta(hours=1)


def test_sleepers_in_many_threads_never_move_the_clock_back() -> None:
    clock = MemoryClock()
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: (clock.sleep(1), clock.now())[1], range(400)))
    assert START + timedelta(seconds=50) <= clock.now() <= START + timedelta(seconds=400)
    assert max(seen) == clock.now()


# --- faults as text -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("offline:10%", Fault(Kind.OFFLINE, share=0.1)),
        ("self_check_fails:3", Fault(Kind.SELF_CHECK_FAILS, count=3)),
        ("wrong_digest:node-0007", Fault(Kind.WRONG_DIGEST, nodes=("node-0007",))),
        (
            "offline:factory-02,node-0001@600+1200",
            Fault(Kind.OFFLINE, nodes=("factory-02", "node-0001"), at_s=600, for_s=1200),
        ),
        ("worse_accuracy=3.5:100%", Fault(Kind.WORSE_ACCURACY, share=1.0, value=3.5)),
        ("slower:2@60", Fault(Kind.SLOWER, count=2, at_s=60, value=1.5)),
        (" errors=0.2:1 ", Fault(Kind.ERRORS, count=1, value=0.2)),
    ],
)
def test_a_fault_is_read_from_text(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not a known kind"),
        ("offline", "not a known kind with a place"),
        ("onfire:10%", "not a known kind"),
        ("offline:0%", "share of 0%"),
        ("offline:110%", "share of 110%"),
        ("offline:0", "0 nodes"),
        ("offline:-3", "'-3' is no share, number or name"),
        ("offline=3:10%", "offline takes no value"),
        ("errors=2:10%", "value 2, expected above 0 and at most 1"),
        ("slower=0:10%", "value 0"),
        ("errors=1.2.3:1", "could not convert"),
        ("offline:x y", "'x y' is no share"),
        ("offline:10%@5+0", "from 5 s for 0 s"),
    ],
)
def test_nonsense_is_refused_with_what_can_be_written(text: str, problem: str) -> None:
    with pytest.raises(Refused) as refusal:
        parse_fault(text)
    assert problem in str(refusal.value)
    assert "kind[=value]:who" in refusal.value.remedy


def test_a_name_that_is_not_there_is_refused() -> None:
    with pytest.raises(Refused, match="no node or factory node-9, there are 6 nodes node-0001 to"):
        fleet("offline:node-9")


def test_a_larger_share_strikes_every_node_of_the_smaller() -> None:
    where = {f"n{i}": "f" for i in range(100)}
    drawn = [struck(Fault(Kind.OFFLINE, share=s / 100), where, 7) for s in (1, 7, 33, 100)]
    assert [len(nodes) for nodes in drawn] == [1, 7, 33, 100]
    assert drawn[0] < drawn[1] < drawn[2] < drawn[3]
    assert struck(Fault(Kind.OFFLINE, share=0.07), where, 8) != drawn[1]


# --- a node without faults ------------------------------------------------------------------------


def test_a_node_sees_one_transition_however_often_it_is_ordered() -> None:
    world, site = fleet()
    upgraded(world, site)
    for epoch in (1, 2, 5):
        site.apply(change(epoch=epoch))
        world.clock.sleep(30)
    (one,) = world.transitions()
    assert (one.node, one.before, one.after, one.epoch) == (FIRST, OLD, NEW, 1)
    assert one.at_s == 64  # applied at 60, 4 s to start


def test_an_order_taken_back_before_it_took_effect_is_no_transition() -> None:
    world, site = fleet()
    site.hold(FIRST, NEW)
    world.clock.sleep(60)
    site.apply(change())
    world.clock.sleep(1)
    site.apply(change().undo(2))
    world.clock.sleep(60)
    assert world.transitions() == ()
    assert view_of(site).serves(OLD)


def test_one_copy_crosses_the_wan_and_the_others_come_from_it() -> None:
    world, site = fleet()
    site.hold(FIRST, NEW)
    site.hold("node-0002", NEW, FIRST)  # too early: the seeder does not have it yet
    world.clock.sleep(60)
    site.hold("node-0003", NEW, FIRST)
    world.clock.sleep(60)
    pulls = {one.node: one for one in world.transfers()}
    assert [pulls[f"node-000{n}"].source for n in (1, 2, 3)] == ["wan", "wan", "mirror"]
    assert pulls["node-0003"].ended_s - pulls["node-0003"].began_s == pytest.approx(1.2)


def test_a_pull_shows_its_progress() -> None:
    world, site = fleet()
    site.hold(FIRST, NEW)
    world.clock.sleep(3)
    pull = view_of(site).pull_of(NEW)
    assert pull is not None
    assert (pull.state, pull.transferred_bytes, pull.seconds) == (PullState.PULLING, 30_000_000, 3)


def test_what_a_node_serves_is_held_at_once_and_costs_nothing() -> None:
    _, site = fleet()
    site.hold(FIRST, OLD)
    pull = view_of(site).pull_of(OLD)
    assert pull is not None
    assert (pull.state, pull.transferred_bytes) == (PullState.PRESENT, 0)
    assert pull.source is PullSource.NONE


def test_a_factory_can_hold_a_node() -> None:
    world, site = fleet()
    world.veto(FIRST, "audit until Friday")
    assert view_of(site).hold_reason == "audit until Friday"
    world.veto(FIRST, None)
    assert view_of(site).hold_reason is None


def test_a_node_of_another_factory_is_refused() -> None:
    world, site = fleet(factories=2)
    with pytest.raises(Refused, match="node-0006: not a node of factory-01"):
        site.apply(change("node-0006"))
    assert set(sites_of(world)) == {"factory-01", "factory-02"}


def test_fences_are_kept_per_workload() -> None:
    _, site = fleet()
    site.apply(change(want=OLD, epoch=5))
    with pytest.raises(Fenced, match="epoch 4, 5 was seen"):
        site.apply(change(epoch=4))
    site.apply(Change("fusion", FIRST, "factory-01", None, None, 1))
    with pytest.raises(Conflict, match="expects"):
        site.apply(Change("fusion", FIRST, "factory-01", NEW, OLD, 1))


# --- a node with one ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("self_check_fails", "self-check failed"),
        ("never_ready", "never became ready"),
    ],
)
def test_a_server_that_does_not_come_up_leaves_the_old_one_serving(
    fault: str, problem: str
) -> None:
    world, site = fleet(f"{fault}:{FIRST}")
    view = upgraded(world, site)
    assert view.serves(OLD)
    assert problem in view.problem
    site.apply(change().undo(2))
    world.clock.sleep(60)
    assert (view_of(site).problem, world.transitions()) == ("", ())


def test_on_a_first_release_the_failing_server_is_seen_as_it_is() -> None:
    world = MemoryWorld(1, 1, faults=[parse_fault("self_check_fails:1")])
    site = MemorySite("factory-01", world)
    site.hold(FIRST, NEW)
    world.clock.sleep(60)
    site.apply(Change(JOB, FIRST, "factory-01", NEW, None, 1))
    world.clock.sleep(60)
    seen = view_of(site).serving
    assert seen is not None
    assert (seen.digest, seen.ready, seen.self_check_passed) == (NEW, False, False)
    assert "self-check failed" in seen.problem


def test_a_fault_that_ends_lets_the_start_succeed() -> None:
    world, site = fleet(f"self_check_fails:{FIRST}@0+100")
    assert not upgraded(world, site, 30).serves(NEW)
    world.clock.sleep(60)
    assert view_of(site).serves(NEW)
    assert [one.at_s for one in world.transitions()] == [104]


@pytest.mark.parametrize(
    ("fault", "reason"), [("bad_signature", "signature"), ("disk_full", "no space left: 60 MB")]
)
def test_a_pull_fails_with_its_reason_and_so_does_the_change_after_it(
    fault: str, reason: str
) -> None:
    world, site = fleet(f"{fault}:{FIRST}")
    view = upgraded(world, site)
    pull = view.pull_of(NEW)
    assert pull is not None
    assert pull.state is PullState.FAILED
    assert reason in pull.reason
    assert reason in view.problem
    assert view.serves(OLD)


def test_a_pull_that_failed_is_tried_again_when_it_is_ordered_again() -> None:
    world, site = fleet(f"disk_full:{FIRST}@0+100")
    assert view_of(site).disk_free_mb < 100
    upgraded(world, site)
    site.hold(FIRST, NEW)
    world.clock.sleep(60)
    assert view_of(site).serves(NEW)


def test_a_wrong_digest_is_what_the_node_says_and_goes_back_like_any_other() -> None:
    world, site = fleet(f"wrong_digest:{FIRST}")
    view = upgraded(world, site)
    assert view.ordered == NEW
    assert view.serving is not None
    assert view.serving.digest not in {OLD, NEW}
    site.apply(change().undo(2))
    world.clock.sleep(60)
    assert view_of(site).serves(OLD)


def test_a_cut_off_node_pulls_and_changes_after_it_is_back() -> None:
    world, site = fleet(f"offline:{FIRST}@2+98")
    site.hold(FIRST, NEW)
    world.clock.sleep(50)
    away = view_of(site)
    assert (away.online, away.serving) == (False, None)
    site.apply(change())
    world.clock.sleep(52)
    pull = view_of(site).pull_of(NEW)
    assert pull is not None
    assert pull.state is PullState.PULLING  # 2 s before the cut, 2 s after: 4 of 6
    world.clock.sleep(10)
    assert view_of(site).serves(NEW)
    assert [one.at_s for one in world.transitions()] == [108]


def test_a_flapping_node_is_away_half_of_the_time_and_gets_there() -> None:
    world, site = fleet("flapping:1")
    (name,) = (node.name for node in world.nodes.values() if node.faults)
    site.hold(name, NEW)
    site.apply(change(name))
    seen = []
    for _ in range(600):
        world.clock.sleep(1)
        seen.append(view_of(site, name).online)
    assert 250 < sum(seen) < 350
    assert [one.node for one in world.transitions()] == [name]


def test_a_slow_node_takes_longer_for_both_pull_and_start() -> None:
    world, site = fleet(f"slow=5:{FIRST}")
    site.hold(FIRST, NEW)
    site.apply(change())
    world.clock.sleep(100)
    assert [one.at_s for one in world.transitions()] == [50]  # 5 x (6 s + 4 s)


def test_a_factory_whose_control_plane_is_down_answers_nothing() -> None:
    world, site = fleet("site_down:factory-01@10+20", factories=2)
    site.hold(FIRST, NEW)
    world.clock.sleep(10)
    for ask in (
        lambda: site.snapshot(JOB),
        lambda: site.apply(change()),
        lambda: site.hold(FIRST, OLD),
        lambda: site.release_hold(FIRST, NEW),
    ):
        with pytest.raises(Unreachable, match="control plane"):
            ask()
    assert len(MemorySite("factory-02", world).snapshot(JOB)) == 3
    world.clock.sleep(20)
    assert view_of(site).pull_of(NEW) is not None


def test_a_node_that_never_comes_back_never_changes() -> None:
    world, site = fleet(f"offline:{FIRST}")
    assert not upgraded(world, site, 1e6).online
    assert world.transitions() == ()


# --- killing, and size ----------------------------------------------------------------------------


class Killed(BaseException):
    pass


@pytest.mark.parametrize(("when", "ordered"), [("before", OLD), ("after", NEW)])
def test_a_driver_can_be_killed_before_and_after_a_call(when: str, ordered: Digest) -> None:
    calls: list[tuple[str, str]] = []

    def hook(moment: str, call: str) -> None:
        calls.append((moment, call))
        if (moment, call) == (when, "MemorySite.apply"):
            raise Killed

    _, plain = fleet()
    site = watched(plain, hook)
    assert site.factory == "factory-01"
    site.snapshot(JOB)
    with pytest.raises(Killed):
        site.apply(change())
    assert view_of(plain).ordered == ordered
    assert calls[:2] == [("before", "MemorySite.snapshot"), ("after", "MemorySite.snapshot")]


def test_the_same_seed_and_orders_give_the_same_fleet() -> None:
    def told() -> tuple[object, ...]:
        world, site = fleet("offline:20%@30+40", "slow:30%", "wrong_digest:1", nodes=30)
        for name in world.nodes:
            site.hold(name, NEW)
            site.apply(change(name))
        world.clock.sleep(500)
        return world.transitions()

    first = told()
    assert len(first) == 30
    assert first == told()


def test_ten_thousand_nodes_are_looked_at_in_a_moment() -> None:
    world = MemoryWorld(10_000, 12, faults=[parse_fault("offline:5%"), parse_fault("slow:10%")])
    world.install(JOB, OLD)
    sites = sites_of(world)
    start = time.process_time()
    for site in sites.values():
        for view in site.snapshot(JOB):
            site.hold(view.node, NEW)
            site.apply(Change(JOB, view.node, site.factory, NEW, OLD, 1))
    world.clock.sleep(300)
    seen = [view for site in sites.values() for view in site.snapshot(JOB)]
    took_s = time.process_time() - start
    assert sum(view.serves(NEW) for view in seen) == 9_500
    assert took_s < 5, f"{took_s:.2f} s of processor"


def test_a_mixed_fault_deals_its_nodes_out_to_all_kinds_evenly() -> None:
    world = MemoryWorld(120, 3, faults=[parse_fault("mixed:10%@60+600")])
    found = [fault for node in world.nodes.values() for fault in node.faults]
    assert len(found) == 12
    assert sorted(fault.kind for fault in found) == sorted(2 * MIXED)
    assert {(fault.at_s, fault.for_s) for fault in found} == {(60, 600)}
    assert {fault.value for fault in found if fault.kind is Kind.SLOW} == {10}
