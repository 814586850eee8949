"""The local site changes what serves without a gap, whoever dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.local_fleet import Fleet, Shelf, alive, fleet, load, passed
from tests.edge.tiny import wait_for


@pytest.fixture
def local(tmp_path: Path, shelf: Shelf) -> Iterator[Fleet]:
    """Given one node that serves the old package."""
    with fleet(tmp_path / "fleet", shelf) as running:
        running.serve("n1", shelf.old)
        yield running


def test_no_request_fails_while_a_node_changes_under_load_and_back(
    local: Fleet, shelf: Shelf
) -> None:
    local.bring("n1", shelf.new)
    with load(local.cameras("n1")) as sent:
        local.serve("n1", shelf.new, shelf.old)
        local.serve("n1", shelf.old, shelf.new)
        wait_for(lambda: len(local.server_pids()) == 1, "the replaced servers have ended")
        passed(0.3)
    assert sent.failed == []
    assert sent.digests == {shelf.old, shelf.new}
    cutovers = [event for event in local.events() if event["kind"] == "cutover"]
    assert [(shelf.old, shelf.new), (shelf.new, shelf.old)] == [
        (event["old"], event["new"]) for event in cutovers
    ]
    assert all(event["ready"] <= event["drained"] for event in cutovers)


def test_a_package_that_fails_its_self_check_leaves_the_old_one_serving(
    local: Fleet, shelf: Shelf
) -> None:
    local.bring("n1", shelf.wrong)
    before = local.serving("n1")
    with load(local.cameras("n1"), clients=1) as sent:
        local.change("n1", shelf.wrong, shelf.old)
        wait_for(lambda: local.view("n1").problem, "a reason")
    after = local.view("n1")
    assert (before, shelf.wrong) == (after.serving, after.ordered)
    assert "golden" in after.problem
    assert sent.failed == []
    assert sent.digests == {shelf.old}
    local.change("n1", shelf.old, shelf.wrong)
    wait_for(lambda: local.view("n1").problem == "", "the problem is gone with its order")


def test_a_package_tampered_with_on_the_node_does_not_serve(local: Fleet, shelf: Shelf) -> None:
    local.bring("n1", shelf.new)
    card = local.folder("n1") / "images" / shelf.new.removeprefix("sha256:") / "card.json"
    card.write_bytes(card.read_bytes() + b" ")
    local.change("n1", shelf.new, shelf.old)
    wait_for(lambda: local.view("n1").problem, "a reason")
    assert "signed was" in local.view("n1").problem
    assert local.view("n1").serves(shelf.old)


def test_servers_outlive_a_killed_supervisor_and_the_next_one_changes_them_without_a_gap(
    local: Fleet, shelf: Shelf
) -> None:
    local.bring("n1", shelf.new)
    serving = local.serving("n1")
    url = local.url
    pids = local.server_pids()
    with load(local.cameras("n1")) as sent:
        local.kill()
        assert all(alive(pid) for pid in pids)
        local.start()
        assert url == local.url
        wait_for(lambda: local.view("n1").serving == serving, "the same process, adopted")
        local.change("n1", shelf.new, shelf.old)
        wait_for(lambda: local.view("n1").serves(shelf.new), "the change")
        wait_for(lambda: len(local.server_pids()) == 1, "the adopted server has ended")
        passed(0.3)
    assert sent.failed == []
    assert pids != local.server_pids()


def test_a_change_cut_short_by_a_kill_is_finished_by_the_next_supervisor(
    local: Fleet, shelf: Shelf
) -> None:
    local.bring("n1", shelf.new)
    with load(local.cameras("n1"), clients=1) as sent:
        local.change("n1", shelf.new, shelf.old)
        wait_for(lambda: len(local.server_pids()) == 2, "the new server is starting")
        local.kill()
        local.start()
        wait_for(lambda: local.view("n1").serves(shelf.new), "converged")
    assert sent.failed == []
    wait_for(lambda: len(local.server_pids()) == 1, "one server is left")


def test_a_server_that_dies_is_started_again_on_the_same_address(
    local: Fleet, shelf: Shelf
) -> None:
    before = local.serving("n1")
    os.kill(local.server_pids()[0], signal.SIGKILL)
    wait_for(lambda: local.view("n1").serving is None, "it is gone")
    wait_for(lambda: local.view("n1").serves(shelf.old), "it is back")
    after = local.serving("n1")
    assert before.boot != after.boot
    assert before.url == after.url


def test_sigterm_ends_every_server_and_the_next_start_brings_the_orders_about(
    local: Fleet, shelf: Shelf
) -> None:
    pids = local.server_pids()
    assert local.stop() == 0
    assert not any(alive(pid) for pid in pids)
    local.start()
    wait_for(lambda: local.view("n1").serves(shelf.old), "served again")


def test_stop_serving_is_an_order_too(local: Fleet, shelf: Shelf) -> None:
    local.change("n1", None, shelf.old)
    wait_for(lambda: local.view("n1").serving is None, "nothing serves")
    wait_for(lambda: local.server_pids() == [], "the server has ended")
    assert local.view("n1").problem == ""
