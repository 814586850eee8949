"""Nodes that are cut off before, during and after a change: real kubelets, real links.

All the while a client inside each node asks sixty times a second and never twice.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.kubernetes.cluster.factory import Factory
from tests.kubernetes.cluster.remains import wait_for
from tests.kubernetes.hall import RATE_HZ, Hall, open_hall

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def hall(factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    with open_hall(factory, tmp_path_factory.mktemp("shelf"), "cut") as hall:
        yield hall


def test_a_change_ordered_while_a_node_is_away_comes_about_when_it_is_back(hall: Hall) -> None:
    node, _ = hall.nodes
    new = hall.package("away")
    hall.hold(node, new)
    before = hall.alone(node)
    with hall.clients(node) as [client]:
        node.cable.cut()
        hall.wait_offline(node)
        was = hall.order(node, new)
        assert hall.view(node).ordered == new
        assert not hall.view(node).online
        away = client.answers()[-1].at
        wait_for(lambda: len(client.answers(away)) > 100, "the old one goes on serving")
        assert {answer.digest for answer in client.answers()} == {was}
        assert before in hall.lives(node)
        node.cable.mend()
        hall.wait_serving(node, new)
        hall.alone(node)
        hall.wait_answers(client, new)


def test_a_link_cut_while_the_new_server_starts_only_delays_it(hall: Hall) -> None:
    _, node = hall.nodes
    new = hall.package("halfway")
    hall.hold(node, new)
    old = hall.alone(node)
    with hall.clients(node) as [client]:
        hall.order(node, new)
        wait_for(lambda: len(hall.lives(node)) == 2, "the new pod is on the node")
        node.cable.cut()
        view = hall.wait_offline(node)
        assert view.serving is None  # nobody can say what serves there
        assert old in hall.lives(node)
        node.cable.mend()
        hall.wait_serving(node, new)
        hall.alone(node)
        hall.wait_answers(client, new)


def test_a_link_cut_as_soon_as_the_new_one_serves_leaves_it_serving(hall: Hall) -> None:
    node, _ = hall.nodes
    new = hall.package("just-now")
    hall.hold(node, new)
    with hall.clients(node) as [client]:
        hall.order(node, new)
        hall.wait_serving(node, new)
        node.cable.cut()  # the old one has just been told to end, or is about to be
        hall.wait_offline(node)
        node.cable.mend()
        hall.wait_serving(node, new)
        life = hall.alone(node)
        assert life.restarts == 0
        hall.wait_answers(client, new)


def test_a_proxy_that_does_not_know_yet_who_serves_still_finds_the_old_one(hall: Hall) -> None:
    """As after a cut: the kubelet is back within seconds, and the node's proxy a minute later."""
    node, _ = hall.nodes
    new = hall.package("behind")
    hall.hold(node, new)
    hall.alone(node)
    with hall.clients(node) as [client]:
        node.proxy.popen.send_signal(signal.SIGSTOP)
        try:
            was = hall.order(node, new)
            hall.wait_serving(node, new)
            serving = time.time()
            # The time in which a pod goes whose clients have all gone elsewhere.
            wait_for(lambda: len(client.answers(serving)) > 8 * RATE_HZ, "the old one still serves")
            assert {answer.digest for answer in client.answers(serving)} == {was}
        finally:
            node.proxy.popen.send_signal(signal.SIGCONT)
        hall.wait_answers(client, new)
        hall.alone(node)


def test_daemons_killed_on_a_cut_off_node_take_nothing_with_them(hall: Hall) -> None:
    _, node = hall.nodes
    before = hall.alone(node)
    ordered = hall.view(node).ordered
    assert ordered is not None
    with hall.clients(node) as [client]:
        node.cable.cut()
        node.kubelet.kill()
        node.containerd.kill()
        hall.wait_offline(node)
        killed = client.answers()[-1].at
        wait_for(lambda: len(client.answers(killed)) > 100, "it goes on serving")
        node.cable.mend()
        node.restart_daemons()
        hall.wait_serving(node, ordered)
        assert hall.alone(node) == before
        back = time.time()
        wait_for(lambda: len(client.answers(back)) > 100, "it still serves")
        assert hall.lives(node) == {before}


def test_all_nodes_silent_at_once_are_offline_and_nothing_is_done_to_them(hall: Hall) -> None:
    before = {node.name: hall.alone(node) for node in hall.nodes}
    ordered = {node.name: hall.view(node).ordered for node in hall.nodes}
    with hall.clients(*hall.nodes):
        for node in hall.nodes:
            node.cable.cut()
        for node in hall.nodes:
            view = hall.wait_offline(node)
            assert (view.serving, view.ordered) == (None, ordered[node.name])
            assert view.problem == ""
        # Longer than a pod is left alone that does not say otherwise.
        until = time.monotonic() + 25
        wait_for(lambda: time.monotonic() > until, "25 s pass")
        for node in hall.nodes:
            assert hall.lives(node) == {before[node.name]}
            node.cable.mend()
        for node in hall.nodes:
            digest = ordered[node.name]
            assert digest is not None
            hall.wait_serving(node, digest)
            assert hall.alone(node) == before[node.name]
