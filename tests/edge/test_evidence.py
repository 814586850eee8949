"""What a node counts: per window, across processes, with late labels and a second opinion."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from edgefleet.edge.contract import (
    LABEL_HEADER,
    Evidence,
    ShadowOrder,
    Summary,
    SwapState,
    Windows,
)
from edgefleet.edge.node import SUMMARY_BYTES
from tests.edge.conftest import Shelf
from tests.edge.tiny import BRIGHT, DARK, Running, wait_for


def started(
    shelf: Shelf, state: Path, version: Literal["old", "new"] = "old", **changes: Any
) -> AbstractContextManager[Running]:
    settings: dict[str, Any] = {
        "window_s": 0.5,
        "label_rate": 0.5,
        "drain_s": 1.0,
    }
    return shelf.server(state, version, **{**settings, **changes})


def windows(running: Running, after: int = -1) -> Windows:
    reply = running.public("GET", f"/metrics/windows?after={after}")
    return msgspec.json.decode(reply.body, type=Windows)


def summary(running: Running) -> Summary:
    reply = running.private("GET", "/metrics/summary")
    assert len(reply.body) <= SUMMARY_BYTES
    return msgspec.json.decode(reply.body, type=Summary)


def feedback(running: Running, request_id: str, label: str | int) -> tuple[int, str]:
    body = json.dumps({"id": request_id, "label": label}).encode()
    reply = running.public("POST", "/feedback", body)
    return reply.status, reply.json.get("counted", reply.json.get("error"))


def order(path: Path, against: str, rate: float) -> None:
    draft = path.with_suffix(".draft")
    draft.write_bytes(msgspec.json.encode(ShadowOrder(against=against, rate=rate)))  # type: ignore[arg-type]
    draft.replace(path)


def total(records: tuple[Evidence, ...], name: str) -> int:
    return sum(getattr(record, name) for record in records)


def test_closed_windows_add_up_to_the_summary_and_only_the_first_are_not_warm(
    shelf: Shelf, tmp_path: Path
) -> None:
    with started(shelf, tmp_path / "state", warmup_windows=1) as running:
        running.wait_ready()
        for _ in range(20):
            running.raw()
        running.public("POST", "/v2/models/tiny/raw", b"short")
        wait_for(lambda: len(windows(running).records) >= 4, "four windows")
        found = windows(running)
        said = summary(running)
        records = found.records
        assert 20 == total(records, "ok") == said.total.ok
        assert sum(count for record in records for _, count in record.latency) == 20
        assert total(records, "client_errors") == 1
        assert (total(records, "golden_total"), total(records, "golden_agreed")) == (20, 20)
        warm = [record.warm for record in records]
        assert warm == sorted(warm)
        # The partial first window and one more; loading may have ended in the window before.
        assert warm.count(False) in {2, 3}
        assert said.ready
        assert said.self_check.passed
        assert said.p50_ms is not None
        assert said.p99_ms is not None
        assert 0 < said.p50_ms <= said.p99_ms
        last = records[-2].window
        assert all(record.window > last for record in windows(running, after=last).records)


def test_a_label_finds_the_answer_of_the_process_before_and_counts_in_its_window(
    shelf: Shelf, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    with started(shelf, state) as old:
        old.wait_ready()
        replies = {f"r{i}": old.raw(DARK, f"r{i}") for i in range(20)}
        boot = summary(old).boot
        assert old.drain() == 0
    wanted = [name for name, reply in replies.items() if LABEL_HEADER in reply.headers]
    other = [name for name in replies if name not in wanted]
    with started(shelf, state, "new") as new:
        new.wait_ready()
        assert feedback(new, wanted[0], "ok") == (200, "wanted")
        assert feedback(new, wanted[1], 2) == (200, "wanted")
        assert feedback(new, other[0], "ok") == (200, "other")
        assert feedback(new, wanted[0], "ok")[0] == 409
        assert feedback(new, "never", "ok")[0] == 404
        wait_for(lambda: total(windows(new).records, "labelled") == 2, "labels are spooled")
        own = [record for record in windows(new).records if record.boot == boot]
        assert {shelf.old} == {record.digest for record in own}
        counted = {
            name: total(tuple(own), name)
            for name in ("ok", "wanted", "labelled", "correct", "other_labelled", "other_correct")
        }
        assert {
            "ok": 20,
            "wanted": len(wanted),
            "labelled": 2,
            "correct": 1,
            "other_labelled": 1,
            "other_correct": 1,
        } == counted
        assert total((summary(new).total,), "labelled") == 0


def test_disagreements_with_the_previous_model_are_counted_and_can_be_asked_for(
    shelf: Shelf, tmp_path: Path
) -> None:
    orders = tmp_path / "order.json"
    order(orders, "previous", 1.0)
    with started(
        shelf,
        tmp_path / "state",
        "new",
        shadow_digest=shelf.old,
        shadow_dir=str(shelf.root / "old"),
        shadow_order_file=str(orders),
    ) as running:
        running.wait_ready()
        assert summary(running).shadow == shelf.old
        replies = {}
        for number in range(20):
            image = DARK if number < 10 else BRIGHT
            replies[f"s{number}"] = running.raw(image, f"s{number}")
            wait_for(
                lambda done=number + 1: summary(running).total.shadowed == done,
                "it is shadowed",
            )
        said = summary(running).total
        assert (said.shadowed, said.disagreed) == (20, 10)
        assert said.serving_us > 0
        assert said.shadow_us > 0

        wait_for(
            lambda: len(running.public("GET", "/feedback/wanted").json["ids"]) == 10,
            "disagreements are known",
        )
        asked = running.public("GET", "/feedback/wanted?limit=3").json["ids"]
        assert asked == ["s9", "s8", "s7"]

        wanted = [name for name, reply in replies.items() if LABEL_HEADER in reply.headers]
        dark_wanted = [name for name in wanted if int(name[1:]) < 10]
        dark_other = [f"s{i}" for i in range(10) if f"s{i}" not in wanted]
        for name in dark_wanted[:-1]:
            feedback(running, name, "ok")
        feedback(running, dark_wanted[-1], "scratch")
        feedback(running, dark_other[0], "ok")
        said = summary(running).total
        n = len(dark_wanted)
        assert (n, n, 1) == (said.labelled, said.paired, said.correct)
        assert (1, n - 1) == (said.gains, said.losses)
        assert n + 1 == said.disagreed_labelled


def test_a_new_order_is_followed_and_self_means_that_the_model_answers_twice(
    shelf: Shelf, tmp_path: Path
) -> None:
    orders = tmp_path / "order.json"
    with started(shelf, tmp_path / "state", shadow_order_file=str(orders)) as running:
        running.wait_ready()
        running.raw()
        assert summary(running).shadow is None
        order(orders, "self", 1.0)
        wait_for(lambda: summary(running).shadow == shelf.old, "the order is followed")
        running.raw()
        wait_for(lambda: summary(running).total.shadowed == 1, "it is shadowed")
        assert summary(running).total.disagreed == 0
        order(orders, "previous", 1.0)
        wait_for(lambda: summary(running).shadow is None, "there is no previous model")
        orders.write_text("{")
        running.raw()
        assert summary(running).total.shadowed == 1


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_the_share_of_shadowed_requests_is_the_order_s(
    shelf: Shelf, tmp_path: Path, rate: float
) -> None:
    orders = tmp_path / "order.json"
    order(orders, "self", rate)
    with started(
        shelf, tmp_path / "state", shadow_order_file=str(orders), label_rate=rate
    ) as running:
        running.wait_ready()
        replies = [running.raw(DARK, f"q{i}") for i in range(100)]
        wanted = sum(LABEL_HEADER in reply.headers for reply in replies)
        # At equal rates every request whose label is wanted is shadowed, and no other.
        wait_for(lambda: summary(running).total.shadowed == wanted, "all are shadowed")
        assert rate * 100 == pytest.approx(wanted, abs=15)


def test_the_fullest_summary_has_at_most_4_kb(shelf: Shelf) -> None:
    from edgefleet.edge.contract import BUCKETS, SelfCheck  # noqa: PLC0415 - only here
    from edgefleet.edge.tally import SUMS  # noqa: PLC0415 - only here

    big = 10**12
    fullest = Summary(
        workload="w" * 63,
        digest=shelf.old,
        boot="b" * 12,
        ready=False,
        self_check=SelfCheck(passed=False, agreed=big, total=big, reason="\u00e9" * 600),
        warm=True,
        window_s=60.0,
        uptime_s=1e9,
        p50_ms=1234.5678,
        p95_ms=1234.5678,
        p99_ms=1234.5678,
        queue_depth=big,
        total=Evidence(
            window=big,
            digest=shelf.old,
            boot="b" * 12,
            warm=False,
            latency=tuple((bucket, big) for bucket in range(BUCKETS + 1)),
            queue_peak=big,
            **dict.fromkeys(SUMS, big),
        ),
        utilization=0.123456,
        shadow=shelf.new,
        disk_free_mb=big,
        swap=SwapState(want=shelf.new, epoch=big, reason="\u00e9" * 300, pending=False),
    )
    assert len(msgspec.json.encode(fullest)) <= SUMMARY_BYTES
