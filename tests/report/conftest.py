"""Two releases in a real ledger, one rolled back after a full soak, one refused; and a plant."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from edgefleet.adapters.ledger import SqlLedger
from edgefleet.edge.contract import Digest, Evidence, Needs
from edgefleet.fleet.approval import Decision
from edgefleet.fleet.book import Reading
from edgefleet.fleet.finding import MetricVerdict, Outcome, Verdict, reason_of
from edgefleet.fleet.inventory import Inventory, NodeView, Serving
from edgefleet.fleet.needs import Package
from edgefleet.fleet.plan import Plan, make_plan, plan_hash
from edgefleet.fleet.preflight import preflight
from edgefleet.fleet.release import Admission, Phase, Release, Signal
from edgefleet.fleet.slices import Slice
from edgefleet.fleet.stage import Fate, NodeReport, StageReport
from edgefleet.model.evaluate import Drop, Race
from edgefleet.model.qualify import Qualification
from edgefleet.model.search import Suspect, Try
from edgefleet.model.yardstick import Comparison, Timed
from edgefleet.plant.record import Bucket, Cutover, PlantRecord, log_path, read
from edgefleet.ports import Image, Layer
from edgefleet.report.gather import gather
from edgefleet.report.page import Check, Report, StoryResult
from edgefleet.spec import Spec, parse_spec

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
OLD, NEW = Digest("sha256:" + "0" * 64), Digest("sha256:" + "a" * 64)
SPEC = """
workload: defect-detection
model: defect-classifier
selector: {line: camera}
gates: {window_s: 2, min_windows: 5}
"""
FIRST_WINDOW, LOOKS = 100, 12


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def fleet(nodes: int = 42, factories: int = 6) -> Inventory:
    views = []
    for number in range(nodes):
        serving = Serving(OLD, ready=True, self_check_passed=True, boot="b", url="http://x")
        views.append(
            NodeView(
                node=f"n{number:02}",
                factory=f"factory-{number % factories + 1}",
                labels={"line": "camera"},
                online=number != 7,
                serving=serving if number != 7 else None,
                ordered=OLD,
                disk_free_mb=900,
            )
        )
    return Inventory(tuple(views))


def tried(excluded: tuple[str, ...], drop_pt: float, ratio: float | None = None) -> Try:
    outcome = "within the limit" if ratio else "above the limit"
    upper = drop_pt + 0.4
    return Try(excluded, "minmax", 0.95, drop_pt, upper, ratio, 210_000, 1.5, outcome)


def qualified() -> Qualification:
    guilty = ("conv2", "conv3")
    return Qualification(
        model="defect-classifier",
        version="3",
        precision="mixed",
        reason="speed-up x2.31 against FP32 reaches 1.1",
        accuracy_fp32=0.962,
        accuracy=0.959,
        drop=Drop(0.3, 0.7, 2000, 4, 10),
        speedup=Race(2.31, 2.2, 2.4, 0.924, 0.4, 200),
        size_fp32_bytes=812_345,
        size_bytes=231_111,
        excluded=guilty,
        vnni=True,
        trace=(tried((), 14.2), tried(("conv3",), 3.1), tried(guilty, 0.3, 2.31)),
        ranking=(Suspect(("conv3",), 9.25), Suspect(("conv2",), 2.5), Suspect(("conv1",), 0.1)),
        cut="no",
        package="package",
        against=Comparison("defect-classifier 2", 0.957, Drop(-0.2, 0.4, 2000, 9, 5)),
        beside=Timed("defect-classifier 1", Race(1.3, 1.21, 1.38, 0.52, 0.4, 200)),
    )


def metric(name: str, look: int, *, worse: bool) -> MetricVerdict:
    over = worse and look == LOOKS
    return MetricVerdict(
        name=name,
        outcome=Outcome.FAIL
        if over
        else Outcome.PASS
        if look > 4 and not worse
        else (Outcome.INCONCLUSIVE),
        effect=-6.25 if worse else 0.11,
        low=-8.5,
        high=-4.1,
        unit="pt",
        n=91 * look,
        nodes=5,
        margin=3.0,
        canary=88.31,
        control=94.56,
        evidence=0.2 * look if worse else 0.05,
        boundary=2.3,
        text=f"{name} of {91 * look} <labels>: worse by 6.25 pt, margin 3 pt",
        pass_evidence=0.01 if worse else 0.3 * look,
        pass_boundary=1.3,
    )


def verdict(look: int) -> Verdict:
    metrics = (metric("accuracy", look, worse=True), metric("errors", look, worse=False))
    outcome = Outcome.FAIL if look == LOOKS else Outcome.INCONCLUSIVE
    text = "\n".join(one.text for one in metrics)
    reason = reason_of(metrics, outcome, look, "")
    return Verdict(FIRST_WINDOW + look - 1, look, outcome, metrics, ("n03", "n21"), text, reason)


def reading(plan: Plan, window: int) -> Reading:
    """Two windows at a time: the newer half of the last reading is read again."""
    canary = {change.node for change in plan.waves[0].changes}
    records = {}
    for node in plan.eligible:
        new = node in canary
        records[node] = tuple(
            Evidence(
                window=seen,
                digest=NEW if new else OLD,
                boot="b",
                ok=40,
                latency=((16, 30), (18, 9), (21, 1)) if new else ((17, 30), (19, 9), (22, 1)),
                paired=20,
                gains=1,
                losses=3 if new else 1,
            )
            for seen in (window - 1, window)
        )
    return Reading(window - 2, records)


def stage(plan: Plan, wave: int, name: str) -> tuple[StageReport, ...]:
    return tuple(
        StageReport(
            change.factory,
            name,
            (NodeReport(change.node, change.factory, Fate.DONE, "", 231_111, 1.5, "wan"),),
            wan_bytes=231_111,
        )
        for change in plan.waves[wave].changes
    )


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlLedger]:
    made = SqlLedger(f"sqlite:///{tmp_path_factory.mktemp('ledger')}/ledger.db")
    yield made
    made.close()


@pytest.fixture(scope="session")
def spec() -> Spec:
    return parse_spec(SPEC, "test")


SLICES = tuple(
    Slice("factory", name, metric, 2, effect, unit, n)
    for name, effects in (("aachen", (-9.4, 1.2)), ("brno", (-2.1, 0.3)))
    for metric, unit, n, effect in zip(
        ("accuracy", "p50"), ("pt", "%"), (160, 4100), effects, strict=True
    )
)


@pytest.fixture(scope="session")
def rolled_back(ledger: SqlLedger, spec: Spec) -> Release:
    """A release with every document that the flows keep."""
    asked = Admission("defect-detection", "local", "defect-classifier", "3", "demo", SPEC)
    release, _ = ledger.admit(asked, NOW)
    name = release.release_id
    epoch = ledger.acquire(release.workload, "test", NOW, 1e6)
    plan = make_plan(spec, release, fleet(), Package(NEW, 231_111, Needs()), OLD, at(30))

    def keep(kind: str, number: int, document: object) -> None:
        ledger.put(name, kind, number, msgspec.json.encode(document), epoch)

    keep("qualification", 0, qualified())
    keep("package", 0, Image(NEW, (Layer(NEW, 231_111, "model"),)))
    keep("plan", 1, plan)
    keep("preflight", 1, preflight(spec.gates, 5, 4.0))
    keep("decision", 1, Decision("approve", "Ada", "go <on>", plan_hash(plan), at(33)))
    keep("pulls", 0, stage(plan, 0, "prepull"))
    keep("changed", 0, stage(plan, 0, "change"))
    keep("reverted", 0, stage(plan, 0, "change"))
    for look in range(1, LOOKS + 1):
        window = FIRST_WINDOW + look - 1
        keep("reading", window, reading(plan, window))
        kept = {"number": look, "window": window, "state": None, "verdict": verdict(look)}
        keep("look", look, kept)
    keep("slices", 0, SLICES)
    steps = (
        (Phase.QUALIFYING, Signal.DONE, 30, "ships mixed"),
        (Phase.PLANNED, Signal.DONE, 31, "plan made"),
        (Phase.AWAITING, Signal.DONE, 33, "approved by Ada"),
        (Phase.PREPULLING, Signal.DONE, 42, "5 nodes: 5 done"),
        (Phase.CANARY, Signal.DONE, 47, "canary: 5 nodes: 5 done"),
        (Phase.SOAKING, Signal.FAILED, 71, verdict(LOOKS).reason),
        (Phase.REVERTING, Signal.DONE, 75, "back on what they had: 5 done"),
    )
    for phase, signal, seconds, reason in steps:
        ledger.move(name, phase, signal, reason, epoch, at(seconds))
    ledger.leave(release.workload, "test", epoch)
    return ledger.release(name)


@pytest.fixture(scope="session")
def refused(ledger: SqlLedger, rolled_back: Release) -> Release:
    """A release that nothing is known of but its journal."""
    asked = Admission(rolled_back.workload, "local", "defect-classifier", "4", "demo", SPEC)
    release, _ = ledger.admit(asked, at(80))
    epoch = ledger.acquire(release.workload, "test", at(80), 1e6)
    reason = "defect-classifier: the drop could not be repaired: best 12.40 pt"
    ledger.move(release.release_id, Phase.QUALIFYING, Signal.REFUSED, reason, epoch, at(101))
    ledger.leave(release.workload, "test", epoch)
    return ledger.release(release.release_id)


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> PlantRecord:
    """Three nodes that were cut over once each; the second lost one request."""
    root = tmp_path_factory.mktemp("plant")
    begun = at(40).timestamp()
    events = []
    for number in range(3):
        ready = begun + 4 + number
        node = f"n0{number}"
        path = log_path(root, "defect-detection", "factory-1", node)
        path.parent.mkdir(parents=True, exist_ok=True)
        buckets = [
            Bucket(t=begun + i / 10, ok=5 + number, failed=int(number == 1 and i == 51))
            for i in range(120)
        ]
        path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in buckets))
        cut = Cutover(
            factory="factory-1",
            node=node,
            workload="defect-detection",
            old=OLD,
            new=NEW,
            ready=ready,
            drained=ready + 0.5,
        )
        events.append({"kind": "cutover"} | msgspec.to_builtins(cut))
    lines = b"".join(msgspec.json.encode(event) + b"\n" for event in events)
    (root / "events.jsonl").write_bytes(lines)
    return read(root)


@pytest.fixture(scope="session")
def report(ledger: SqlLedger, rolled_back: Release, refused: Release, plant: PlantRecord) -> Report:
    return Report(
        title="Three stories on 42 nodes",
        started=NOW,
        ended=at(131),
        machine="2 cores, VNNI",
        window_s=2,
        stories=(
            StoryResult(
                "2. Worse in the field",
                "rolled back by the canary",
                "rolled back",
                ok=True,
                story=gather(ledger, rolled_back.release_id),
            ),
            StoryResult(
                "3. Ruined by INT8",
                "refused",
                "refused",
                ok=True,
                story=gather(ledger, refused.release_id),
            ),
        ),
        plant=plant,
        checks=(Check("no request failed", ok=False, text="1 of 2,161 failed"),),
    )
