"""Evidence of a memory world: the same for whoever asks, and as good as the packages are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from edgefleet.adapters.memory.faults import parse_fault
from edgefleet.adapters.memory.site import MemorySite
from edgefleet.adapters.memory.telemetry import MemoryTelemetry, Quality
from edgefleet.adapters.memory.world import MemoryWorld
from edgefleet.edge.contract import BOUNDS_S, BUCKETS, Evidence, ShadowOrder, parse_digest
from edgefleet.fleet.inventory import Change, NodeView

JOB = "defect-detection"
OLD = parse_digest("sha256:" + 64 * "1")
NEW = parse_digest("sha256:" + 64 * "2")


class Plant:
    """One factory that has long served OLD, its site, and its telemetry."""

    def __init__(
        self, *faults: str, nodes: int = 20, new: Quality | None = None, **draw: float
    ) -> None:
        self.world = MemoryWorld(nodes, 1, faults=[parse_fault(text) for text in faults])
        self.world.install(JOB, OLD)
        self.site = MemorySite("factory-01", self.world)
        qualities = {NEW: new} if new else None
        self.telemetry = MemoryTelemetry(self.world, qualities, **draw)  # type: ignore[arg-type]

    @property
    def window(self) -> int:
        return int(self.world.clock.now().timestamp() // self.world.window_s)

    def views(self) -> Sequence[NodeView]:
        return self.site.snapshot(JOB)

    def upgrade(self, nodes: int) -> None:
        for view in self.views()[:nodes]:
            self.site.hold(view.node, NEW)
            self.site.apply(Change(JOB, view.node, "factory-01", NEW, OLD, 1))
        self.world.clock.sleep(20)

    def later(self, windows: int) -> int:
        """Let windows pass; return the window before the first of them."""
        before = self.window
        self.world.clock.sleep(windows * self.world.window_s)
        return before

    def records(self, after: int) -> list[Evidence]:
        answer = self.telemetry.collect(JOB, self.views(), after)
        return [record for records in answer.values() for record in records]


def total(records: Sequence[Evidence], field: str) -> int:
    return sum(getattr(record, field) for record in records)


def share(records: Sequence[Evidence], part: str, whole: str) -> float:
    return total(records, part) / total(records, whole)


def of(digest: object, records: Sequence[Evidence]) -> list[Evidence]:
    return [record for record in records if record.digest == digest and record.warm]


def test_evidence_is_the_same_whenever_and_with_whom_it_is_asked() -> None:
    plant = Plant(nodes=50)
    after = plant.later(3)
    together = plant.telemetry.collect(JOB, plant.views(), after - 1)
    plant.later(5)
    alone = plant.telemetry.collect(JOB, plant.views()[7:8], after - 1)["node-0008"]
    assert alone[:3] == together["node-0008"]
    assert len(set(together.values())) == 50


def test_closed_windows_after_the_one_named_come_oldest_first_and_no_other() -> None:
    plant = Plant(nodes=1)
    plant.later(5)
    (records,) = plant.telemetry.collect(JOB, plant.views(), plant.window - 4).values()
    assert [one.window for one in records] == [plant.window - n for n in (3, 2, 1)]
    (spool,) = plant.telemetry.collect(JOB, plant.views(), 0).values()
    assert len(spool) == 240


def test_the_past_before_the_start_is_there_to_be_compared_with() -> None:
    plant = Plant(nodes=2)
    past = plant.records(plant.window - 61)
    assert len(past) == 120
    assert all(record.warm and record.digest == OLD for record in past)


def test_counts_add_up() -> None:
    plant = Plant(nodes=100, answered=0.8)
    plant.site.shadow(JOB, {v.node: ShadowOrder(against="self", rate=0.5) for v in plant.views()})
    for record in plant.records(plant.later(2)):
        assert record.ok + record.server_errors == 200
        assert sum(count for _, count in record.latency) == record.ok
        assert all(0 <= bucket <= BUCKETS and count > 0 for bucket, count in record.latency)
        assert list(record.latency) == sorted(record.latency)
        assert record.correct <= record.labelled <= record.wanted <= record.ok
        assert record.paired <= min(record.labelled, record.shadowed)
        assert record.gains + record.losses == record.disagreed_labelled <= record.paired


def test_requests_labels_and_answers_come_as_often_as_they_should() -> None:
    plant = Plant(nodes=200)
    records = plant.records(plant.later(10))
    assert share(records, "wanted", "ok") == pytest.approx(0.1, abs=0.002)
    assert share(records, "labelled", "wanted") == 1
    assert share(records, "correct", "labelled") == pytest.approx(0.95, abs=0.005)
    assert share(records, "server_errors", "ok") == pytest.approx(0.001, abs=0.0003)
    assert 0.005 <= quantile(records, 0.5) <= 0.005 * 1.31  # a bucket's upper bound


def test_a_package_is_as_good_as_its_quality_says() -> None:
    plant = Plant(nodes=200, new=Quality(0.90, 2.0, 0.02))
    plant.upgrade(100)
    records = plant.records(plant.later(10) + 1)
    new, old = of(NEW, records), of(OLD, records)
    assert share(old, "correct", "labelled") - share(new, "correct", "labelled") == pytest.approx(
        0.05, abs=0.01
    )
    assert share(new, "server_errors", "ok") == pytest.approx(0.02, abs=0.003)
    assert quantile(new, 0.99) == pytest.approx(2 * quantile(old, 0.99), rel=0.2)


@pytest.mark.parametrize(
    ("fault", "worse"),
    [
        ("worse_accuracy=10:100%", lambda new, old: lost(new) > lost(old) + 0.08),
        ("slower=3:100%", lambda new, old: quantile(new, 0.5) > 2.5 * quantile(old, 0.5)),
        (
            "errors=0.1:100%",
            lambda new, _old: total(new, "server_errors") > 0.08 * total(new, "ok"),
        ),
    ],
)
def test_a_fault_of_a_new_package_leaves_the_champion_as_it_is(
    fault: str, worse: Callable[[Sequence[Evidence], Sequence[Evidence]], bool]
) -> None:
    plant = Plant(fault, nodes=60)
    plant.upgrade(30)
    records = plant.records(plant.later(10) + 1)
    new, old = of(NEW, records), of(OLD, records)
    assert worse(new, old)
    assert lost(old) == pytest.approx(0.05, abs=0.02)
    assert total(old, "server_errors") < 0.005 * total(old, "ok")
    assert quantile(old, 0.5) < 0.007


def lost(records: Sequence[Evidence]) -> float:
    return 1 - share(records, "correct", "labelled")


def quantile(records: Sequence[Evidence], q: float) -> float:
    counts = [0] * (BUCKETS + 1)
    for record in records:
        for bucket, count in record.latency:
            counts[bucket] += count
    rank, seen = q * sum(counts), 0
    for bucket, count in enumerate(counts):
        seen += count
        if seen >= rank:
            return BOUNDS_S[min(bucket, BUCKETS - 1)]
    raise AssertionError(records)


def test_shadows_pair_new_with_old_on_the_canary_and_like_with_like_on_the_controls() -> None:
    plant = Plant(nodes=100, new=Quality(accuracy=0.90))
    plant.upgrade(50)
    names = [view.node for view in plant.views()]
    orders = {
        name: ShadowOrder(against="previous" if number < 50 else "self", rate=0.5)
        for number, name in enumerate(names)
    }
    plant.site.shadow(JOB, orders)
    records = plant.records(plant.later(20) + 1)
    canary, control = of(NEW, records), of(OLD, records)
    assert share(canary, "shadowed", "ok") == pytest.approx(0.5, abs=0.01)
    assert share(control, "shadowed", "ok") == pytest.approx(0.5, abs=0.01)
    assert total(control, "disagreed") == 0
    assert share(canary, "paired", "shadowed") == pytest.approx(0.1, abs=0.01)
    difference = (total(canary, "losses") - total(canary, "gains")) / total(canary, "paired")
    assert difference == pytest.approx(0.05, abs=0.012)


def test_equal_packages_disagree_now_and_then_and_win_as_often_as_they_lose() -> None:
    plant = Plant(nodes=100)
    plant.upgrade(100)
    plant.site.shadow(
        JOB, {view.node: ShadowOrder(against="previous", rate=1.0) for view in plant.views()}
    )
    records = of(NEW, plant.records(plant.later(20) + 1))
    assert share(records, "disagreed", "shadowed") == pytest.approx(0.038, abs=0.005)
    gains, losses, paired = (total(records, name) for name in ("gains", "losses", "paired"))
    assert abs(gains - losses) < 4 * (gains + losses) ** 0.5
    assert paired > 30_000


def test_a_shadow_that_was_ended_gives_no_more_pairs() -> None:
    plant = Plant(nodes=3)
    for order in (ShadowOrder(against="self", rate=1.0), ShadowOrder(against="none")):
        plant.site.shadow(JOB, {view.node: order for view in plant.views()})
        records = plant.records(plant.later(2))
        assert (total(records, "shadowed") > 0) == (order.against == "self")


def test_the_first_windows_after_a_change_are_not_warm() -> None:
    plant = Plant(nodes=1)
    changed = plant.window
    plant.upgrade(1)
    plant.later(4)
    records = plant.records(changed - 2)
    assert [(r.window - changed, r.digest, r.warm) for r in records] == [
        (-1, OLD, True),
        (0, NEW, False),
        (1, NEW, False),
        (2, NEW, True),
        (3, NEW, True),
    ]
    assert [r.golden_total for r in records] == [0, 32, 0, 0, 0]
    assert records[0].boot != records[1].boot == records[4].boot


def test_a_node_that_cannot_be_asked_is_absent_and_its_windows_come_later() -> None:
    plant = Plant("offline:node-0002@0+250", "silent:node-0003", nodes=3)
    plant.site.apply(Change(JOB, "node-0001", "factory-01", None, OLD, 1))
    before = plant.later(4)
    assert plant.telemetry.collect(JOB, plant.views(), before - 1) == {}
    plant.later(1)
    answer = plant.telemetry.collect(JOB, plant.views(), before - 1)
    assert {node: len(records) for node, records in answer.items()} == {"node-0002": 5}


def test_a_workload_that_nobody_runs_has_no_evidence() -> None:
    plant = Plant()
    plant.later(2)
    assert plant.telemetry.collect("fusion", plant.views(), 0) == {}


def test_a_thousand_nodes_give_a_window_in_a_moment() -> None:
    plant = Plant("slow:10%", nodes=1000)
    after = plant.later(1)
    views = plant.views()
    plant.telemetry.collect(JOB, views, after - 1)
    took_s = []
    for _ in range(5):
        start = time.thread_time()
        plant.telemetry.collect(JOB, views, after - 1)
        took_s.append(time.thread_time() - start)
    assert min(took_s) < 0.1, took_s
