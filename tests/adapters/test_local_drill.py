"""A node of the local fleet is taken off its network: its cameras notice nothing, the centre does.

Real edge servers under load, a link that is really shut, and the same judgement as in a drill.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from edgefleet.adapters.scrape import Scrape
from edgefleet.edge.contract import Evidence
from edgefleet.errors import Refused
from edgefleet.fleet.drilled import judged
from edgefleet.fleet.finding import Outcome
from edgefleet.fleet.inventory import Serving
from edgefleet.fleet.unplugged import Cut, arrived
from tests.adapters.local_fleet import PAUSE_S, WORKLOAD, Fleet, Shelf, fleet, load
from tests.edge.tiny import wait_for

WINDOW_S = 1.0
SECONDS = 6


@pytest.fixture
def local(tmp_path: Path, shelf: Shelf) -> Iterator[Fleet]:
    """Given one node that serves the old package."""
    with fleet(tmp_path / "fleet", shelf, window_s=WINDOW_S) as running:
        running.serve("n1", shelf.old)
        yield running


def windows(local: Fleet) -> tuple[Evidence, ...]:
    return Scrape(timeout_s=2.0).collect(WORKLOAD, [local.view("n1")], -1).get("n1", ())


def answers(url: str) -> bool:
    """Whether anybody answers at an address."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=2)
    try:
        connection.request("GET", "/metrics/summary")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def cut(local: Fleet, before: Serving, read_at: datetime, cut_at: datetime) -> Cut:
    return Cut(
        node="n1",
        factory="linz",
        seconds=SECONDS,
        read_at=read_at,
        cut_at=cut_at,
        seen_away=True,
        back_at=datetime.now(UTC),
        waited_s=0.0,
        before=before,
        after=local.serving("n1"),
    )


def test_a_cut_node_serves_its_cameras_and_hands_its_windows_in_afterwards(local: Fleet) -> None:
    before = local.serving("n1")
    with load(local.cameras("n1"), pause_s=PAUSE_S) as sent:
        wait_for(lambda: len([r for r in windows(local) if r.warm]) >= 4, "windows to compare with")
        read_at, past = datetime.now(UTC), windows(local)
        cut_at = datetime.now(UTC)
        local.site().unplug("n1", SECONDS)
        assert not local.view("n1").online
        assert not answers(before.url)
        assert windows(local) == ()
        at_the_cut = sent.ok
        wait_for(lambda: local.view("n1").online, "it is restored by itself")
        assert sent.ok > at_the_cut
        assert answers(before.url)
        seen = cut(local, before, read_at, cut_at)
        wait_for(lambda: arrived(seen, past, windows(local), WINDOW_S), "its windows")
        found = judged(seen, past, windows(local), WINDOW_S)
    assert sent.failed == []
    assert found.verdict is Outcome.PASS, found.text
    assert found.served > 0
    assert found.windows_late >= SECONDS - 1
    assert (found.failed, found.gaps, found.restarted, found.recreated) == (0, 0, 0, False)


def test_the_link_is_restored_on_time_after_its_supervisor_was_killed_and_started_again(
    local: Fleet,
) -> None:
    before = local.serving("n1")
    with load(local.cameras("n1"), clients=1) as sent:
        cut_at = datetime.now(UTC)
        local.site().unplug("n1", SECONDS)
        local.kill()
        local.start()
        assert not local.view("n1").online
        assert not answers(before.url)
        wait_for(lambda: local.view("n1").online, "it is restored by itself")
        took_s = (datetime.now(UTC) - cut_at).total_seconds()
        wait_for(lambda: local.view("n1").serving == before, "the same server, at its old address")
        assert answers(before.url)
    assert sent.failed == []
    assert took_s >= SECONDS


def test_a_cut_that_ended_while_its_supervisor_was_dead_is_over(local: Fleet) -> None:
    local.site().unplug("n1", 0.2)
    local.kill()
    local.start()
    wait_for(lambda: local.view("n1").online, "it is back")


def test_who_is_in_the_middle_of_a_talk_is_cut_off_and_orders_wait(
    local: Fleet, shelf: Shelf
) -> None:
    local.bring("n1", shelf.new)
    before = local.serving("n1")
    connection = http.client.HTTPConnection(urlsplit(before.url).netloc, timeout=10)
    connection.request("GET", "/metrics/summary")
    assert connection.getresponse().read()
    local.site().unplug("n1", 600)
    assert connection.sock.recv(1) == b""  # ended by the other side, without a word
    connection.close()
    assert not answers(before.url)
    local.change("n1", shelf.new, shelf.old)
    local.site().unplug("n1", 0)
    wait_for(lambda: local.view("n1").serves(shelf.new), "what was ordered meanwhile")


def test_too_long_a_cut_is_refused(local: Fleet) -> None:
    with pytest.raises(Refused, match="node n1: 3601 s off its network"):
        local.site().unplug("n1", 3601)
    assert local.view("n1").online
