"""What is scraped of the spool is its end, as a reader of the whole spool would see it."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from edgefleet.edge.bookkeeping import SPOOL_FILE, Bookkeeper
from edgefleet.edge.contract import Digest, Evidence, ServerSettings
from edgefleet.edge.gauges import SHOWN
from edgefleet.edge.recent import Recent
from edgefleet.edge.spool import Spool

DIGEST = Digest("sha256:" + "a" * 64)
FUTURE = 10**9


def record(window: int, ok: int = 1, boot: str = "a") -> Evidence:
    return Evidence(window=window, digest=DIGEST, boot=boot, ok=ok)


def newest(spool: Spool) -> tuple[Evidence, ...]:
    whole = spool.read(after=-1)
    return tuple(one for one in whole if one.window > whole[-1].window - SHOWN)


several = st.lists(
    st.builds(record, st.integers(0, 30), st.integers(0, 9), st.sampled_from("ab")),
    min_size=1,
    max_size=5,
)


@given(st.lists(st.tuples(several, st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_following_the_spool_shows_what_reading_all_of_it_does(
    steps: list[tuple[list[Evidence], bool, bool]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "windows.jsonl")
        recent = Recent(spool.path)
        seen = None
        for appended, shortened, looked in steps:
            spool.append(appended)
            if shortened:
                spool.shorten()
            if looked or shortened:
                seen = recent.look(FUTURE) or seen
                assert newest(spool) == seen
                assert recent.look(FUTURE) is None


def test_a_label_that_comes_late_is_seen_as_long_as_its_window_is_shown(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "windows.jsonl")
    recent = Recent(spool.path)
    assert recent.look(FUTURE) is None
    spool.append([record(window) for window in range(10)])
    assert [one.window for one in recent.look(FUTURE) or ()] == [4, 5, 6, 7, 8, 9]
    late = Evidence(window=4, digest=DIGEST, boot="a", labelled=1)
    spool.append([late, Evidence(window=3, digest=DIGEST, boot="a", labelled=1)])
    shown = recent.look(FUTURE) or ()
    assert [(one.window, one.ok, one.labelled) for one in shown if one.labelled] == [(4, 1, 1)]


def test_a_line_is_read_when_it_is_whole_and_a_torn_one_costs_itself_only(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "windows.jsonl")
    recent = Recent(spool.path)
    spool.append([record(1)])
    whole = spool.path.read_bytes()
    with spool.path.open("ab") as handle:
        handle.write(whole.replace(b":1,", b":2,", 1)[:20])
        handle.flush()
        assert recent.look(FUTURE) == (record(1),)
        handle.write(whole.replace(b":1,", b":2,", 1)[20:])
    assert recent.look(FUTURE) == (record(1), record(2))
    with spool.path.open("ab") as handle:
        handle.write(b'{"window":3,\n')
    spool.append([record(4)])
    assert recent.look(FUTURE) == (record(1), record(2), record(4))


def test_a_clock_that_was_ahead_does_not_hide_the_windows_of_today(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "windows.jsonl")
    recent = Recent(spool.path)
    spool.append([record(500), record(7), record(8)])
    assert recent.look(9) == (record(7), record(8))


def test_a_scrape_shows_the_windows_of_the_process_before_and_late_labels(tmp_path: Path) -> None:
    async def told() -> bytes:
        given = ServerSettings(
            workload="w",
            node="n",
            digest=DIGEST,
            package_dir="",
            trust_dir="",
            state_dir=str(tmp_path),
            window_s=10.0,
        )
        Spool(tmp_path / SPOOL_FILE).append([record(99, ok=5, boot="before")])
        books = Bookkeeper(given, "now")
        books.begin(DIGEST, 1000)
        books.book.at(100).sums["ok"] += 2
        await books.tick(1012)
        assert b"edge_window_seconds 10.0" in books.gauges
        books.book.of(books.book.term.key(100)).sums["labelled"] += 1
        await books.tick(1022)
        text = books.gauges
        await books.end(1023)
        return text

    found = {
        (sample.name, sample.labels["boot"], sample.labels["slot"]): sample.value
        for family in text_string_to_metric_families(asyncio.run(told()).decode())
        for sample in family.samples
        if sample.labels
    }
    assert found["edge_window_ok", "before", str(99 % SHOWN)] == 5
    assert found["edge_window_ok", "now", str(100 % SHOWN)] == 2
    assert found["edge_window_labelled", "now", str(100 % SHOWN)] == 1
    assert found["edge_window_number", "now", str(101 % SHOWN)] == 101
