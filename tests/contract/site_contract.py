"""What every site does with orders: a class of tests, to be inherited where a site can be made.

The subclass gives a fixture `bench`; it may be shared by all tests of a module, since each test
takes nodes of its own and epochs only grow.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import pytest

from edgefleet.edge.contract import Digest, ShadowOrder, parse_digest
from edgefleet.errors import Conflict, Fenced, Refused
from edgefleet.fleet.inventory import Change, NodeView, PullState
from edgefleet.ports import Site

Condition = Callable[[NodeView], bool]
UNKNOWN = parse_digest("sha256:" + 64 * "e")


def anything(_view: NodeView) -> bool:
    return True


@dataclass
class Bench:
    """A site with idle nodes, two packages that can be brought to them, and time that passes."""

    site: Site
    workload: str
    old: Digest
    new: Digest
    idle: Iterator[str]
    """Nodes that nobody has ordered anything of."""
    wait: Callable[[], None] = lambda: time.sleep(0.05)
    """Let a little of the site's time pass."""
    deadline_s: float = 60.0
    """Real seconds after which a condition will not come true any more."""
    cut: Callable[[str], None] | None = None
    """Cut a node's link, None where the site cannot be made to."""
    mend: Callable[[str], None] | None = None
    unplugs: bool = True
    """Whether its nodes can be taken off their network."""
    cut_s: float = 5.0
    """So long that a node is seen offline before it is back."""
    without_images: Callable[[], AbstractContextManager[None]] = nullcontext
    """While it lasts, no image gets to a node: for sites whose nodes fetch what they lack."""
    epochs: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def view(self, node: str) -> NodeView:
        return next(view for view in self.site.snapshot(self.workload) if view.node == node)

    def settle(self, node: str, condition: Condition = anything) -> NodeView:
        """Return the first view of a node that meets the condition."""
        until = time.monotonic() + self.deadline_s
        while not condition(view := self.view(node)):
            assert time.monotonic() < until, f"not in {self.deadline_s:g} s: {view}"
            self.wait()
        return view

    def steadily(self, node: str, condition: Condition, looks: int = 20) -> None:
        """Look again and again, and see nothing else."""
        for _ in range(looks):
            view = self.view(node)
            assert condition(view), view
            self.wait()

    def change(self, node: str, want: Digest | None, was: Digest | None) -> Change:
        epoch = next(self.epochs)
        return Change(self.workload, node, self.site.factory, want, was, epoch)

    def bring(self, node: str, *digests: Digest) -> None:
        """Hold packages on a node until they are present."""
        for digest in digests:
            self.site.hold(node, digest)
            self.settle(node, present(digest))

    def serve(self, node: str, want: Digest, was: Digest | None = None) -> NodeView:
        """Bring a package, apply the change to it, and return the view of the node serving it."""
        self.bring(node, want)
        self.site.apply(self.change(node, want, was))
        return self.settle(node, serves(want))


def present(digest: Digest) -> Condition:
    def condition(view: NodeView) -> bool:
        pull = view.pull_of(digest)
        assert pull is None or pull.state is not PullState.FAILED, pull
        return pull is not None and pull.state is PullState.PRESENT

    return condition


def serves(digest: Digest) -> Condition:
    return lambda view: view.serves(digest)


def stopped(view: NodeView) -> bool:
    return view.serving is None


class SiteContract:
    """The contract; `node` is one that nothing was ever asked of."""

    @pytest.fixture
    def node(self, bench: Bench) -> str:
        return next(bench.idle)

    def test_an_idle_node_is_seen_with_its_facts_and_no_work(self, bench: Bench, node: str) -> None:
        view = bench.view(node)
        assert (view.node, view.factory, view.online) == (node, bench.site.factory, True)
        assert (view.serving, view.ordered, view.problem) == (None, None, "")
        assert view.pulls == ()

    def test_a_held_package_becomes_present(self, bench: Bench, node: str) -> None:
        bench.site.hold(node, bench.new)
        view = bench.settle(node, present(bench.new))
        pull = view.pull_of(bench.new)
        assert pull is not None
        assert pull.transferred_bytes > 0
        assert (view.serving, view.ordered) == (None, None)

    def test_holding_again_moves_no_byte_more(self, bench: Bench, node: str) -> None:
        bench.bring(node, bench.new)
        before = bench.view(node).pulls
        bench.site.hold(node, bench.new)
        bench.steadily(node, lambda view: view.pulls == before)

    def test_a_hold_that_was_released_is_not_shown_any_more(self, bench: Bench, node: str) -> None:
        bench.bring(node, bench.new)
        bench.site.release_hold(node, bench.new)
        bench.settle(node, lambda view: view.pull_of(bench.new) is None)
        bench.site.release_hold(node, bench.new)

    def test_a_package_whose_hold_was_released_goes_on_serving(
        self, bench: Bench, node: str
    ) -> None:
        boot = served_by(bench.serve(node, bench.old))
        bench.site.release_hold(node, bench.old)
        bench.steadily(node, lambda view: view.serves(bench.old) and served_by(view) == boot)

    def test_a_change_is_seen_by_what_the_node_itself_answers(
        self, bench: Bench, node: str
    ) -> None:
        view = bench.serve(node, bench.old)
        assert (view.ordered, view.problem) == (bench.old, "")
        view = bench.serve(node, bench.new, bench.old)
        assert (view.ordered, view.problem) == (bench.new, "")

    def test_something_serves_all_the_time_while_a_node_changes(
        self, bench: Bench, node: str
    ) -> None:
        bench.serve(node, bench.old)
        bench.bring(node, bench.new)
        seen: list[NodeView] = []

        def watched(view: NodeView) -> bool:
            seen.append(view)
            return view.serves(bench.new)

        bench.site.apply(bench.change(node, bench.new, bench.old))
        bench.settle(node, watched)
        assert all(view.serves(bench.old) or view.serves(bench.new) for view in seen)

    def test_applying_what_already_holds_does_nothing(self, bench: Bench, node: str) -> None:
        boot = served_by(bench.serve(node, bench.old))
        for was in (None, bench.old, bench.new):
            bench.site.apply(bench.change(node, bench.old, was))
        bench.steadily(node, lambda view: view.serves(bench.old) and served_by(view) == boot)

    def test_an_order_of_a_driver_that_was_replaced_is_refused(
        self, bench: Bench, node: str
    ) -> None:
        bench.serve(node, bench.old)
        bench.bring(node, bench.new)
        stale = bench.change(node, bench.new, bench.old)
        bench.site.apply(bench.change(node, bench.old, bench.old))
        with pytest.raises(Fenced):
            bench.site.apply(stale)
        bench.steadily(node, lambda view: view.ordered == bench.old)

    def test_the_fence_holds_for_all_nodes_of_the_workload(self, bench: Bench, node: str) -> None:
        other = next(bench.idle)
        stale = bench.change(other, bench.old, None)
        bench.serve(node, bench.old)
        with pytest.raises(Fenced):
            bench.site.apply(stale)
        assert bench.view(other).ordered is None

    def test_an_order_that_expects_another_past_is_a_conflict(
        self, bench: Bench, node: str
    ) -> None:
        bench.serve(node, bench.old)
        bench.bring(node, bench.new)
        for was in (None, UNKNOWN):
            with pytest.raises(Conflict):
                bench.site.apply(bench.change(node, bench.new, was))
        bench.steadily(node, lambda view: view.ordered == bench.old and view.serves(bench.old))

    def test_wanting_nothing_stops_the_server(self, bench: Bench, node: str) -> None:
        bench.serve(node, bench.old)
        bench.site.apply(bench.change(node, None, bench.old))
        view = bench.settle(node, stopped)
        assert (view.ordered, view.online) == (None, True)

    def test_the_undo_of_a_change_brings_back_what_was(self, bench: Bench, node: str) -> None:
        bench.serve(node, bench.old)
        bench.bring(node, bench.new)
        change = bench.change(node, bench.new, bench.old)
        bench.site.apply(change)
        bench.settle(node, serves(bench.new))
        bench.site.apply(change.undo(next(bench.epochs)))
        assert bench.settle(node, serves(bench.old)).ordered == bench.old

    def test_the_way_back_needs_no_hold(self, bench: Bench, node: str) -> None:
        bench.serve(node, bench.old)
        bench.serve(node, bench.new, bench.old)
        bench.site.release_hold(node, bench.old)
        bench.site.apply(bench.change(node, bench.old, bench.new))
        bench.settle(node, serves(bench.old))

    def test_the_undo_of_a_first_release_stops_the_server(self, bench: Bench, node: str) -> None:
        bench.bring(node, bench.old)
        change = bench.change(node, bench.old, None)
        bench.site.apply(change)
        bench.settle(node, serves(bench.old))
        bench.site.apply(change.undo(next(bench.epochs)))
        bench.settle(node, stopped)

    def test_an_undo_in_the_middle_of_a_change_leaves_what_was(
        self, bench: Bench, node: str
    ) -> None:
        bench.serve(node, bench.old)
        bench.bring(node, bench.new)
        change = bench.change(node, bench.new, bench.old)
        bench.site.apply(change)
        bench.site.apply(change.undo(next(bench.epochs)))
        bench.settle(node, serves(bench.old))
        bench.steadily(node, lambda view: view.ordered == bench.old and view.serves(bench.old))

    def test_a_change_to_a_package_that_is_not_held_is_the_nodes_problem(
        self, bench: Bench, node: str
    ) -> None:
        # Not a Conflict: `was` holds. The order stands, and the snapshot says what it waits for.
        bench.serve(node, bench.old)
        with bench.without_images():
            bench.site.apply(bench.change(node, bench.new, bench.old))
            view = bench.settle(node, lambda view: view.problem != "")
        assert view.ordered == bench.new
        assert view.serves(bench.old)

    def test_a_package_that_arrives_after_its_order_serves(self, bench: Bench, node: str) -> None:
        bench.serve(node, bench.old)
        with bench.without_images():
            bench.site.apply(bench.change(node, bench.new, bench.old))
            bench.settle(node, lambda view: view.problem != "")
        bench.bring(node, bench.new)
        assert bench.settle(node, serves(bench.new)).problem == ""

    def test_an_unknown_node_is_refused_by_name(self, bench: Bench) -> None:
        for order in (
            lambda: bench.site.hold("nobody", bench.new),
            lambda: bench.site.release_hold("nobody", bench.new),
            lambda: bench.site.apply(bench.change("nobody", bench.new, None)),
            lambda: bench.site.unplug("nobody", 5),
            lambda: bench.site.shadow(bench.workload, {"nobody": ShadowOrder(against="self")}),
        ):
            with pytest.raises(Refused, match="nobody"):
                order()

    def test_a_shadow_order_is_taken_and_changes_no_answer(self, bench: Bench, node: str) -> None:
        bench.serve(node, bench.old)
        boot = served_by(bench.serve(node, bench.new, bench.old))
        for order in (
            ShadowOrder(against="self", rate=0.5),
            ShadowOrder(against="previous", rate=0.5),
            ShadowOrder(against="previous", rate=0.5),
            ShadowOrder(against="none"),
        ):
            bench.site.shadow(bench.workload, {node: order})
        bench.steadily(node, lambda view: view.serves(bench.new) and served_by(view) == boot)

    def test_a_cut_off_node_is_seen_offline_and_serves_again_when_it_is_back(
        self, bench: Bench, node: str
    ) -> None:
        if bench.cut is None or bench.mend is None:
            pytest.skip("this site's nodes cannot be cut off by a test")
        boot = served_by(bench.serve(node, bench.old))
        bench.cut(node)
        assert bench.settle(node, lambda view: not view.online).serving is None
        bench.mend(node)
        assert served_by(bench.settle(node, serves(bench.old))) == boot

    def test_an_order_to_a_cut_off_node_takes_effect_when_it_is_back(
        self, bench: Bench, node: str
    ) -> None:
        if bench.cut is None or bench.mend is None:
            pytest.skip("this site's nodes cannot be cut off by a test")
        bench.serve(node, bench.old)
        bench.bring(node, bench.new)
        bench.cut(node)
        bench.settle(node, lambda view: not view.online)
        bench.site.apply(bench.change(node, bench.new, bench.old))
        bench.steadily(node, lambda view: not view.online)
        bench.mend(node)
        bench.settle(node, serves(bench.new))

    def test_an_unplugged_node_is_away_and_comes_back_by_itself(
        self, bench: Bench, node: str
    ) -> None:
        boot = served_by(bench.serve(node, bench.old))
        if not bench.unplugs:
            with pytest.raises(Refused, match=node):
                bench.site.unplug(node, 5)
            return
        assert bench.site.delays.away_s <= bench.cut_s
        bench.site.unplug(node, bench.cut_s)
        assert bench.settle(node, lambda view: not view.online).serving is None
        assert served_by(bench.settle(node, serves(bench.old))) == boot

    def test_an_unplugged_node_is_restored_at_once_when_asked(
        self, bench: Bench, node: str
    ) -> None:
        if not bench.unplugs:
            return
        boot = served_by(bench.serve(node, bench.old))
        bench.bring(node, bench.new)
        bench.site.unplug(node, 3000)
        bench.settle(node, lambda view: not view.online)
        bench.site.apply(bench.change(node, bench.new, bench.old))
        bench.steadily(node, lambda view: not view.online)
        bench.site.unplug(node, 0)
        assert served_by(bench.settle(node, serves(bench.new))) != boot
        bench.site.unplug(node, 0)

    def test_nobody_is_unplugged_for_longer_than_an_hour(self, bench: Bench, node: str) -> None:
        for seconds in (-1, 3601):
            with pytest.raises(Refused, match=node):
                bench.site.unplug(node, seconds)
        bench.steadily(node, lambda view: view.online, looks=3)


def served_by(view: NodeView) -> str:
    """Return which server process answered."""
    assert view.serving is not None, view
    return view.serving.boot
