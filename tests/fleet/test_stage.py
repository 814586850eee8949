"""A node's end of a change is read from what the node itself shows, and told in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgefleet.edge.contract import Digest
from edgefleet.fleet.inventory import Change, NodeView
from edgefleet.fleet.stage import (
    Fate,
    StageReport,
    change_report,
    none_tried,
    takes_back,
    too_late,
    too_many_failed,
)
from tests.fleet.fleets import WANT, WAS, offline, view

OTHER = Digest("sha256:" + "c" * 64)
CHANGE = Change("inspect", "n7", "graz", WANT, WAS, epoch=3)


def shown(digest: Digest | None, **serving: object) -> NodeView:
    """Return a node that was ordered `WANT` and serves `digest`."""
    found = replace(view("n7", "graz", digest), ordered=WANT)
    if found.serving is None:
        return found
    return replace(found, serving=replace(found.serving, **serving))


@pytest.mark.parametrize(
    ("seen", "fate", "reason"),
    [
        pytest.param(shown(WANT), Fate.DONE, "", id="it serves what was ordered"),
        pytest.param(shown(WAS), None, "", id="it still serves the old one"),
        pytest.param(shown(OTHER), None, "", id="it reports another digest"),
        pytest.param(shown(WANT, ready=False), None, "", id="it is not ready"),
        pytest.param(shown(WANT, self_check_passed=False), None, "", id="its self-check failed"),
        pytest.param(
            replace(shown(WAS), problem="card.json: signed was sha256:1, found is sha256:2"),
            Fate.FAILED,
            "card.json: signed was sha256:1, found is sha256:2",
            id="its package was changed",
        ),
        pytest.param(offline(view("n7", "graz")), Fate.DEFERRED, "offline", id="offline"),
        pytest.param(None, Fate.DEFERRED, "its factory did not answer", id="silent"),
    ],
)
def test_a_change_is_done_when_the_node_itself_shows_it(
    seen: NodeView | None, fate: Fate | None, reason: str
) -> None:
    report = change_report(seen, CHANGE, 5.0)
    assert (fate, reason) == ((report.fate, report.reason) if report else (None, ""))


@pytest.mark.parametrize(
    ("seen", "shows"),
    [
        (shown(OTHER), "sha256:cccccccccccc, ready"),
        (shown(WANT, ready=False, problem="loading"), "sha256:bbbbbbbbbbbb, loading"),
        (shown(None), "nothing"),
        (None, "nothing"),
    ],
)
def test_a_node_that_shows_something_else_in_the_end_has_failed_with_both_digests(
    seen: NodeView | None, shows: str
) -> None:
    report = too_late(seen, CHANGE, 30.2)
    assert (report.node, report.fate) == ("n7", Fate.FAILED)
    assert report.reason == (
        f"serves {shows} after 30 s, expected sha256:bbbbbbbbbbbb: not counted as updated"
    )


def test_a_stage_in_which_nobody_could_be_reached_has_not_failed() -> None:
    away = change_report(offline(view("n7", "graz")), CHANGE, 5.0)
    assert away is not None
    reports = [StageReport("graz", "change", (away,))]
    assert too_many_failed(reports, 0.1) == ""
    assert none_tried(reports) == "none of 1 nodes could be reached"
    reports.append(StageReport("linz", "change", (too_late(shown(OTHER), CHANGE, 30),)))
    assert none_tried(reports) == ""


def test_too_many_failed_nodes_are_counted_and_named_with_what_each_shows() -> None:
    reports = [StageReport("graz", "change", (too_late(shown(OTHER), CHANGE, 30),))]
    assert too_many_failed(reports, 1.0) == ""
    problem = too_many_failed(reports, 0.1)
    assert problem.startswith("1 of 1 nodes failed, at most 10% may (n7: serves sha256:cccccc")


@pytest.mark.parametrize(
    ("seen", "taken_back"),
    [
        pytest.param(replace(shown(WAS), ordered=WANT, hold_reason="x"), True, id="it waits"),
        pytest.param(replace(shown(WANT), ordered=WANT, hold_reason="x"), False, id="it came"),
        pytest.param(replace(shown(WAS), ordered=WAS, hold_reason="x"), False, id="none was given"),
        pytest.param(None, False, id="not seen"),
    ],
)
def test_an_order_that_has_not_come_about_is_taken_back_where_that_moves_nothing(
    seen: NodeView | None, *, taken_back: bool
) -> None:
    undo = Change("job", "n", "graz", want=WAS, was=WANT, epoch=1)
    assert takes_back(seen, undo) is taken_back
