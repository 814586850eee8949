from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from edgefleet.edge.contract import Digest
from edgefleet.fleet.inventory import NodeView, Pull, PullState
from edgefleet.fleet.pacing import Bucket, pulls_to_start, take

DIGEST = Digest("sha256:" + "c" * 64)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def node(
    name: str, state: PullState | None = None, *, online: bool = True, hold: str | None = None
) -> NodeView:
    pulls = () if state is None else (Pull(DIGEST, state),)
    return NodeView(name, "f1", {}, online, None, None, hold, pulls)


@given(st.lists(st.floats(0, 30), max_size=60), st.floats(1, 120), st.floats(1, 5))
def test_a_bucket_never_gives_more_starts_than_its_rate_and_its_burst(
    pauses: list[float], per_min: float, burst: float
) -> None:
    bucket, now, taken = Bucket(burst, NOON), NOON, 0
    for pause in pauses:
        now += timedelta(seconds=pause)
        bucket, given_one = take(bucket, per_min, burst, now)
        taken += given_one
    assert taken <= burst + sum(pauses) * per_min / 60 + 1e-3


def test_an_empty_bucket_gives_a_start_again_after_its_interval_and_none_to_a_clock_set_back() -> (
    None
):
    bucket, taken = take(Bucket(1, NOON), 30, 1, NOON)
    assert taken
    bucket, taken = take(bucket, 30, 1, NOON - timedelta(hours=1))
    assert not taken
    bucket, taken = take(bucket, 30, 1, NOON + timedelta(seconds=1.9))
    assert not taken
    assert take(bucket, 30, 1, NOON + timedelta(seconds=2))[1]


def test_the_first_copy_crosses_the_wan_alone() -> None:
    views = [node("n1"), node("n2"), node("n3")]
    assert pulls_to_start(views, ("n1", "n2", "n3"), DIGEST, 2) == (("n1", None),)
    views[0] = node("n1", PullState.PULLING)
    assert pulls_to_start(views, ("n2", "n3"), DIGEST, 2) == ()


def test_the_others_pull_from_the_seeder_a_few_at_once() -> None:
    views = [node("n1", PullState.PRESENT), node("n2", PullState.PULLING), node("n3"), node("n4")]
    assert pulls_to_start(views, ("n1", "n2", "n3", "n4"), DIGEST, 2) == (("n3", "n1"),)


def test_a_seeder_that_failed_or_went_offline_is_followed_by_another() -> None:
    for away in (node("n1", PullState.FAILED), node("n1", PullState.PULLING, online=False)):
        assert pulls_to_start([away, node("n2")], ("n1", "n2"), DIGEST, 2) == (("n2", None),)


def test_offline_and_held_nodes_and_failed_pulls_are_left_alone() -> None:
    views = [
        node("n1", PullState.PRESENT),
        node("n2", online=False),
        node("n3", hold="audit"),
        node("n4", PullState.FAILED),
    ]
    assert pulls_to_start(views, ("n2", "n3", "n4"), DIGEST, 5) == ()
