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


def test_too_many_failed_nodes_are_counted_and_named_with_what_each_shows() -> None:
    reports = [StageReport("graz", "change", (too_late(shown(OTHER), CHANGE, 30),))]
    assert too_many_failed(reports, 1.0) == ""
    problem = too_many_failed(reports, 0.1)
    assert problem.startswith("1 of 1 nodes failed, at most 10% may (n7: serves sha256:cccccc")
