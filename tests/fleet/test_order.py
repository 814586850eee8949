"""Orders on their way: what is deferred when nobody takes them, and how long they may take."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from edgefleet.documents import decode
from edgefleet.edge.contract import Digest, ShadowOrder, parse_digest
from edgefleet.fleet.inventory import Change, NodeView
from edgefleet.fleet.order import (
    Answer,
    BringPackage,
    ChangeNodes,
    CutLinks,
    Errand,
    Found,
    LetGo,
    Look,
    Order,
    OrderShadows,
    longest_s,
    undelivered,
    workload_of,
)
from edgefleet.fleet.stage import Fate, NodeReport, StageReport

OLD, NEW = (parse_digest(f"sha256:{64 * letter}") for letter in "ab")
AT = datetime(2026, 3, 2, 10, tzinfo=UTC)


def change(node: str, want: Digest | None = NEW) -> Change:
    return Change("detect", node, "linz", want, OLD, 7)


BRING = BringPackage("detect", ("a", "b"), NEW, 2, 30.0, 900.0)
CHANGE = ChangeNodes((change("a"), change("b"), change("c", None)), 2, 120.0)
ORDERS: tuple[Order, ...] = (
    Look("detect"),
    BRING,
    CHANGE,
    LetGo(("a",), NEW),
    OrderShadows("detect", {"a": ShadowOrder(against="previous", rate=0.5)}),
    CutLinks("detect", ("a",), 60.0),
)


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_arrives_as_it_was_sent(order: Order) -> None:
    errand = Errand("linz", order, AT)
    assert decode(msgspec.json.encode(errand), Errand) == errand


def test_an_answer_arrives_as_it_was_sent() -> None:
    report = StageReport("linz", "change", (NodeReport("a", "linz", Fate.DONE),))
    view = NodeView("a", "linz", {"line": "camera"}, True, None, NEW)
    for answer in (Answer(Found(report, (view,))), Answer(None, "too late")):
        assert decode(msgspec.json.encode(answer), Answer) == answer


def test_nobody_takes_an_order_and_every_node_of_it_is_deferred_with_the_reason() -> None:
    for order, nodes in ((BRING, "ab"), (CHANGE, "abc")):
        report = undelivered("linz", order, "no worker").report
        assert report is not None
        assert "".join(node.node for node in report.nodes) == nodes
        assert {(node.fate, node.reason) for node in report.nodes} == {(Fate.DEFERRED, "no worker")}
    assert undelivered("linz", LetGo(("a",), NEW), "no worker") == Found()


def test_three_nodes_two_at_a_time_take_two_rounds() -> None:
    assert [longest_s(order) for order in ORDERS] == [0, 900, 240, 0, 0, 60]


def test_an_order_says_whose_nodes_it_shows_afterwards() -> None:
    assert [workload_of(order) for order in ORDERS] == [
        "detect",
        "detect",
        "detect",
        None,
        "detect",
        "detect",
    ]
