"""Evidence folded reading by reading: the same as all of it at once, however it came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet.edge.contract import BUCKETS, Digest, Evidence
from edgefleet.fleet.book import Reading, begun, entered
from edgefleet.fleet.cells import _AT_ONCE, FIELDS, Span, tally
from edgefleet.fleet.cohorts import Member
from edgefleet.fleet.design import Design
from edgefleet.fleet.sheets import Sheet, Sheets, sheet_of
from edgefleet.fleet.tally import Tally

WAS, WANT, OTHER = (Digest("sha256:" + letter * 64) for letter in "abc")
NAMES = ("n1", "n2", "n3", "n4")
DESIGN = Design(
    nodes=tuple(Member(name, "f") for name in NAMES),
    canary=("n3", "n1"),
    want=WANT,
    was=WAS,
    salt="s",
    first_window=10,
    pre=(4, 8),
    since={"n3": 12},
)
COUNT = st.sampled_from([0, 1, 100, 127, 128, 40_000, 3_000_000_000])


@st.composite
def record(draw: st.DrawFn, after: int) -> Evidence:
    told = {name: draw(COUNT) for name in draw(st.sets(st.sampled_from(FIELDS), max_size=3))}
    return Evidence(
        window=draw(st.integers(after + 1, 18)),
        digest=draw(st.sampled_from([WAS, WANT, OTHER])),
        boot="b",
        warm=draw(st.integers(0, 3)) > 0,
        latency=tuple(draw(st.dictionaries(st.integers(0, BUCKETS), COUNT, max_size=3)).items()),
        **told,
    )


@st.composite
def reading(draw: st.DrawFn) -> Reading:
    after = draw(st.integers(0, 17))
    some = st.lists(record(after), max_size=6).map(tuple)
    return Reading(after, draw(st.dictionaries(st.sampled_from((*NAMES, "stranger")), some)))


READINGS = st.lists(reading(), max_size=6)


def book_of(readings: Sequence[Reading]) -> Mapping[str, tuple[Evidence, ...]]:
    book: Mapping[str, tuple[Evidence, ...]] = {}
    for one in readings:
        book = entered(book, one)
    return book


def counted(book: Mapping[str, tuple[Evidence, ...]], span: Span, last: int) -> list[list[float]]:
    """Return the fields by window, whether there was a word, and the latencies: by plain loops."""
    known = [r for r in book.get(span.node, ()) if r.warm and span.first <= r.window <= last]
    mine = [r for r in known if r.digest == span.digest]
    windows = range(min(span.first, 10), last + 1)
    rows = [
        [float(sum(getattr(r, name) for r in mine if r.window == w)) for w in windows]
        for name in FIELDS
    ]
    rows.append([float(any(r.window == w for r in known)) for w in windows])
    pairs = [pair for r in mine for pair in r.latency]
    rows.append([float(sum(n for at, n in pairs if at == b)) for b in range(BUCKETS + 1)])
    return rows


def shown(found: Tally, row: int) -> list[list[float]]:
    counts = [found.counts[name][row].tolist() for name in FIELDS]
    return [*counts, found.seen[row].astype(float).tolist(), found.histograms[row].tolist()]


def same(one: Sheet, other: Sheet) -> bool:
    sides = ((one.before, other.before), (one.after, other.after))
    return all(
        np.array_equal(a.seen, b.seen)
        and np.array_equal(a.cumulated, b.cumulated)
        and np.array_equal(a.capped_errors, b.capped_errors)
        and all(np.array_equal(a.counts[name], b.counts[name]) for name in FIELDS)
        for a, b in sides
    )


@settings(max_examples=40)
@given(READINGS, st.integers(10, 18))
def test_readings_folded_one_by_one_give_what_all_of_them_give_at_once(
    readings: list[Reading], window: int
) -> None:
    sheets = Sheets(DESIGN)
    for one in readings:
        sheets.enter(one.records, one.after)
        looked = sheets.until(window)  # to look between changes nothing
        assert same(looked, looked)
    assert same(sheet_of(DESIGN, book_of(readings), window), sheets.until(window))


@settings(max_examples=40)
@given(READINGS)
def test_a_reading_that_comes_twice_counts_once(readings: list[Reading]) -> None:
    once, twice = Sheets(DESIGN), Sheets(DESIGN)
    for one in readings:
        once.enter(one.records, one.after)
        twice.enter(one.records, one.after)
        twice.enter(one.records, one.after)
    assert same(once.until(18), twice.until(18))


@settings(max_examples=40)
@given(READINGS, st.randoms(use_true_random=False))
def test_in_which_order_nodes_answer_does_not_matter(readings: list[Reading], toss: object) -> None:
    together, apart = Sheets(DESIGN), Sheets(DESIGN)
    for one in readings:
        together.enter(one.records, one.after)
        nodes = list(one.records)
        toss.shuffle(nodes)  # type: ignore[attr-defined]
        for node in nodes:
            apart.enter({node: one.records[node][::-1]}, one.after)
    assert same(together.until(15), apart.until(15))


@settings(max_examples=40)
@given(READINGS, st.integers(10, 18))
def test_folded_counts_are_those_of_the_records(readings: list[Reading], window: int) -> None:
    book = book_of(readings)
    sheet = sheet_of(DESIGN, book, window)
    for row, name in enumerate(NAMES):
        first = DESIGN.since.get(name, 10)
        digest = WANT if name in DESIGN.canary else WAS
        assert counted(book, Span(name, digest, first), window) == shown(sheet.after, row)
        assert counted(book, Span(name, WAS, 4), 8) == shown(sheet.before, row)


@pytest.mark.parametrize("count", [127, 128, 32_768, 2**31, 2**40])
def test_a_count_that_small_integers_do_not_hold_is_kept_whole(count: int) -> None:
    one = Evidence(window=5, digest=WAS, boot="b", ok=count, latency=((40, count),))
    found = tally({"n1": [one, one, replace_window(one, 6)]}, [Span("n1", WAS, 5)], 6)
    assert found.counts["ok"].tolist() == [[2 * count, count]]
    assert 3 * count == found.histograms[0, 40] == found.histograms.sum()


def test_a_count_beyond_sixty_four_bits_is_refused() -> None:
    with pytest.raises(OverflowError):
        tally({"n1": [Evidence(window=5, digest=WAS, boot="b", ok=2**63)]}, [], 5)


def test_windows_that_no_clock_has_begun_are_left_out_and_their_node_stays() -> None:
    ahead = Evidence(window=10**9, digest=WAS, boot="b", ok=1)
    now = replace_window(ahead, 12)
    assert begun({"n1": (now, ahead), "n2": (ahead,)}, 12) == {"n1": (now,), "n2": ()}


def test_more_records_than_are_folded_at_one_time_are_all_counted() -> None:
    spans = [Span(f"n{number}", WAS, 1) for number in range(5)]
    half = _AT_ONCE // 2
    records = {
        span.node: [
            Evidence(window=1 + at % 7, digest=WAS, boot="b", ok=1, latency=((at % 3, 1),))
            for at in range(half)
        ]
        for span in spans
    }
    found = tally(records, spans, 7)
    assert 5 * half == found.counts["ok"].sum() == found.histograms.sum()


def test_a_design_without_a_past_has_windows_of_the_soak_only() -> None:
    sheet = sheet_of(replace(DESIGN, pre=None), {}, 12)
    assert sheet.before.seen.shape == (4, 0)
    assert sheet.after.seen.shape == (4, 3)


def replace_window(one: Evidence, window: int) -> Evidence:
    return Evidence(window=window, digest=one.digest, boot="b", ok=one.ok, latency=one.latency)
