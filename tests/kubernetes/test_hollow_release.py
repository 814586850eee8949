"""Whole releases over 200 nodes in twelve factories, each with an API server of its own.

Each story goes on from the one before, so they run in this order, once, and are looked at by their
tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from edgefleet.adapters.memory.windows import Quality
from edgefleet.edge.contract import Digest
from edgefleet.fleet.finding import Outcome
from edgefleet.fleet.manifest_names import MANAGER, NODE, digest_in
from edgefleet.fleet.release import Phase
from edgefleet.report.gather import ReleaseStory
from tests.kubernetes.cluster.hollow import NAMESPACE, layout
from tests.kubernetes.cluster.remains import wait_for
from tests.kubernetes.cluster.watched import skip_without
from tests.kubernetes.hollow_release import Stage, staged

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(900)]

FACTORIES, NODES = 12, 120
AWAY = ("node-007", "node-060", "node-120")
MOST_CALLS = 6
"""To API servers, for one node and one release."""


@dataclass(frozen=True)
class Told:
    """A release, and what it asked of the API servers."""

    story: ReleaseStory
    calls: Counter[str]

    @property
    def digest(self) -> Digest:
        assert self.story.package is not None
        return self.story.package.digest


def told(stage: Stage, release_id: str) -> Told:
    before = stage.calls()
    story = stage.release(release_id)
    return Told(story, stage.calls() - before)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    skip_without("kwok", "addresses of pods")
    with staged(tmp_path_factory.mktemp("release"), layout(FACTORIES, NODES)) as stage:
        yield stage


@pytest.fixture(scope="module")
def first(stage: Stage) -> Told:
    """Given three nodes that are off, a first release, and then they are back."""
    stage.fleet.switch_off(*AWAY)
    wait_for(lambda: offline(stage) == {*AWAY}, "three nodes are missed", 30)
    found = told(stage, stage.first(1))
    stage.fleet.switch_on(*AWAY)
    wait_for(lambda: not offline(stage), "three nodes are back", 30)
    return found


@pytest.fixture(scope="module")
def good(stage: Stage, first: Told) -> Told:
    assert first.story.release.phase is Phase.RELEASED, stage.how(first.story.release.release_id)
    return told(stage, stage.submit(2))


@pytest.fixture(scope="module")
def bad(stage: Stage, good: Told) -> Told:
    assert good.story.release.phase is Phase.RELEASED, stage.how(good.story.release.release_id)
    return told(stage, stage.submit(3, Quality(accuracy=0.8)))


def offline(stage: Stage) -> set[str]:
    return {view.node for view in stage.views() if not view.online}


def test_nodes_that_are_off_are_deferred_and_named(first: Told) -> None:
    story = first.story
    assert story.plan is not None
    assert {(out.node, out.kind, out.reason) for out in story.plan.left_out} == {
        (node, "deferred", "offline") for node in AWAY
    }
    assert story.release.phase is Phase.RELEASED
    assert f"3 later: {', '.join(AWAY)}" in story.release.reason


def test_a_good_release_is_served_by_every_node_by_its_own_word(stage: Stage, good: Told) -> None:
    story = good.story
    assert story.release.phase is Phase.RELEASED, stage.how(story.release.release_id)
    assert story.verdict is not None
    assert story.verdict.outcome is Outcome.PASS
    assert story.plan is not None
    names = ["canary", "wave-1", "wave-2", "holdback"]
    assert [wave.name for wave in story.plan.waves] == names
    views = stage.views()
    assert len(views) == NODES
    assert [view.node for view in views if not view.serves(good.digest)] == []


def test_a_release_asks_at_most_six_things_of_api_servers_for_each_node(good: Told) -> None:
    print(f"{good.calls.total() / NODES:.2f} calls a node: {dict(good.calls)}")  # noqa: T201
    assert good.calls.total() <= MOST_CALLS * NODES


def test_what_was_held_for_a_release_is_given_back(stage: Stage, good: Told) -> None:
    assert good.story.pulls

    def held() -> list[str]:
        return [view.node for view in stage.views() if view.pull_of(good.digest)]

    wait_for(lambda: not held(), "holds are given back", 30)


def test_a_release_that_is_worth_less_in_the_field_goes_back(
    stage: Stage, good: Told, bad: Told
) -> None:
    story = bad.story
    assert story.release.phase is Phase.ROLLED_BACK, stage.how(story.release.release_id)
    assert story.verdict is not None
    failed = {m.name for m in story.verdict.metrics if m.outcome is Outcome.FAIL}
    assert "accuracy" in failed
    assert [view.node for view in stage.views() if not view.serves(good.digest)] == []


def test_it_was_on_canary_nodes_alone_and_never_on_another(stage: Stage, bad: Told) -> None:
    assert bad.story.plan is not None
    canary = {change.node for change in bad.story.plan.waves[0].changes}
    assert had(stage, bad.digest) == canary


def had(stage: Stage, digest: Digest) -> set[str]:
    """Return the nodes on which a package ever was to serve: Deployments keep what they were."""
    ours = f"labelSelector=app.kubernetes.io/managed-by%3D{MANAGER}"
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/replicasets?{ours}"
    found = [
        kept for admin in stage.fleet.admins.values() for kept in admin.ask("GET", path)["items"]
    ]
    return {
        kept["metadata"]["labels"][NODE]
        for kept in found
        if digest_in(kept["spec"]["template"]["spec"]["containers"][0]["image"]) == digest
    }
