"""A factory's API server is killed: in the middle of a change, and for longer than a moment."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from edgefleet.errors import Unreachable
from tests.kubernetes.cluster.factory import Factory
from tests.kubernetes.cluster.remains import wait_for
from tests.kubernetes.hall import Hall, open_hall

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

WATCHED = ("nodes", "pods", "deployments", "jobs", "configmaps")


@pytest.fixture(scope="module")
def hall(factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    with open_hall(factory, tmp_path_factory.mktemp("shelf"), "api-away") as hall:
        yield hall


def seen(hall: Hall) -> int | None:
    """Return how many nodes the site shows, None while it says that it cannot know."""
    try:
        return len(hall.site.snapshot(hall.workload))
    except Unreachable:
        return None


def listed(hall: Hall) -> int:
    return sum(hall.site.cluster.api.calls[f"list {kind}"] for kind in WATCHED)


def test_an_api_server_killed_in_the_middle_of_a_change_only_delays_it(hall: Hall) -> None:
    node, other = hall.nodes
    new = hall.package("middle")
    hall.hold(node, new)
    plane, before = hall.factory.plane, listed(hall)
    standing = hall.alone(other)
    with hall.clients(node, other) as [client, _]:
        hall.order(node, new)
        plane.programs["kube-apiserver"].kill()
        wait_for(lambda: seen(hall) is None, "the site says that it cannot know", 10)
        plane.start_api_server()
        wait_for(lambda: seen(hall) is not None, "the site knows again", 30)
        hall.wait_serving(node, new)
        hall.alone(node)
        hall.wait_answers(client, new)
    assert hall.alone(other) == standing
    # Each kind that is watched was listed again at most twice: what was known may be too old.
    assert listed(hall) - before <= 2 * len(WATCHED)


def test_while_the_api_server_is_away_nothing_is_known_and_no_order_is_lost(hall: Hall) -> None:
    node, other = hall.nodes
    new = hall.package("long-away")
    hall.hold(node, new)
    server = hall.factory.plane.programs["kube-apiserver"]
    tried = 0
    with hall.clients(node, other) as [client, _]:
        server.kill()
        wait_for(lambda: seen(hall) is None, "the site says that it cannot know", 10)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            assert seen(hall) is None
            with pytest.raises(Unreachable):
                hall.order(node, new)
        hall.factory.remains.restart(server)

        def ordered() -> bool:
            """Try until it is taken; while the server starts it may say nothing but `later`."""
            nonlocal tried
            tried += 1
            nodes = seen(hall)
            assert nodes in {None, len(hall.factory.nodes)}
            try:
                hall.order(node, new)
            except Unreachable:
                return False
            return True

        wait_for(ordered, "the order is taken", 60)
        hall.wait_serving(node, new)
        hall.alone(node)
        hall.wait_answers(client, new)
    print(f"taken at try {tried}; calls: {dict(hall.site.cluster.api.calls)}")  # noqa: T201
