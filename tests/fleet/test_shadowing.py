"""Which nodes let the model before answer again, and when they no longer do."""

from __future__ import annotations

from dataclasses import replace

from edgefleet.edge.contract import Digest, ShadowOrder
from edgefleet.fleet.inventory import Inventory, NodeView, Serving
from edgefleet.fleet.shadowing import Orders, Shadowing, shadow_ends, shadow_orders
from edgefleet.spec import Spec

WANT = Digest("sha256:" + "b" * 64)
SPEC = Spec(workload="sorting", model="sorter", selector={"line": "camera"})
AGAIN = ShadowOrder(against="previous", rate=0.02)
ENDED = ShadowOrder(against="none", rate=0.0)


def view(node: str, boot: str = "b1", *, online: bool = True, line: str = "camera") -> NodeView:
    serving = Serving(WANT, ready=True, self_check_passed=True, boot=boot, url="")
    return NodeView(node, "north", {"line": line}, online, serving, WANT)


def ordered(
    known: Shadowing, *views: NodeView, champion: str = "sorting-2", moved: str = "sorting-2"
) -> tuple[Shadowing, Orders]:
    return shadow_orders(known, SPEC, Inventory(views), WANT, champion, moved)


def test_each_node_that_serves_the_champion_is_told_once() -> None:
    other = replace(view("n3"), serving=None)
    known, orders = ordered(
        Shadowing(), view("n1"), view("n2", online=False), other, view("n4", line="press")
    )
    assert orders == {"north": {"n1": AGAIN}}
    known, orders = ordered(known, view("n1"), view("n2"))
    assert orders == {"north": {"n2": AGAIN}}
    assert ordered(known, view("n1", boot="b2"), view("n2")) == (known, {})


def test_after_a_release_that_went_back_only_untouched_nodes_are_told_again() -> None:
    known, _ = ordered(Shadowing(), view("n1"), view("n2"))
    now = (view("n1", boot="b9"), view("n2"), view("n3"))
    known, orders = ordered(known, *now, moved="sorting-3")
    assert orders == {"north": {"n2": AGAIN}}, "n1 went there and back, n3 was never told"
    assert ordered(known, *now, moved="sorting-3") == (known, {})


def test_a_shadow_ends_on_a_node_that_was_away_when_it_is_back() -> None:
    known, _ = ordered(Shadowing(), view("n1"), view("n2"))
    known, orders = shadow_ends(known, Inventory((view("n1"), view("n2", online=False))))
    assert orders == {"north": {"n1": ENDED}}
    known, orders = shadow_ends(known, Inventory((view("n1"), view("n2"))))
    assert orders == {"north": {"n2": ENDED}}
    assert shadow_ends(known, Inventory((view("n1"), view("n2")))) == (known, {})
