"""Counts add up, windows close once, quantiles come from the buckets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.edge.answers import Answer
from edgefleet.edge.bookkeeping import count_label
from edgefleet.edge.contract import BUCKETS, Digest, Evidence, bucket_of
from edgefleet.edge.tally import SUMS, Book, Counts, Term, merge, quantile

DIGEST = Digest("sha256:" + "a" * 64)
OTHER = Digest("sha256:" + "b" * 64)

counts = st.integers(0, 1000)
records = st.builds(
    Evidence,
    window=st.integers(0, 3),
    digest=st.just(DIGEST),
    boot=st.sampled_from(["a", "b"]),
    warm=st.booleans(),
    ok=counts,
    labelled=counts,
    gains=counts,
    queue_peak=counts,
    latency=st.dictionaries(st.integers(0, BUCKETS), st.integers(1, 9)).map(
        lambda found: tuple(sorted(found.items()))
    ),
)


@given(st.lists(records), st.lists(records))
def test_merging_in_any_order_and_grouping_gives_the_same(
    left: list[Evidence], right: list[Evidence]
) -> None:
    whole = merge([*left, *right])
    assert whole == merge([*right, *left])
    assert whole == merge([*merge(left), *merge(right)])
    assert sum(record.ok for record in whole) == sum(record.ok for record in [*left, *right])


def test_every_count_of_the_contract_is_merged() -> None:
    record = Evidence(
        window=1, digest=DIGEST, boot="a", latency=((3, 2),), queue_peak=5, **dict.fromkeys(SUMS, 7)
    )
    (merged,) = merge([record, record])
    doubled = dict.fromkeys(SUMS, 14)
    assert merged == Evidence(
        window=1, digest=DIGEST, boot="a", latency=((3, 4),), queue_peak=5, **doubled
    )


def test_the_partial_first_and_the_warm_up_windows_are_not_warm() -> None:
    book = Book.empty(DIGEST, "a", window_s=10, warmup_windows=2)
    assert not book.term.warm(100)
    book.begin(DIGEST, 1005)
    assert [book.term.warm(window) for window in (100, 101, 102, 103)] == [
        False,
        False,
        False,
        True,
    ]


def test_a_window_without_requests_gives_a_record_of_zeros_while_serving() -> None:
    book = Book.empty(DIGEST, "a", window_s=10, warmup_windows=0)
    assert book.close(100) == ()
    book.begin(DIGEST, 1000)
    assert book.close(101) == (Evidence(window=100, digest=DIGEST, boot="a", warm=False),)


def test_another_digest_begins_with_counts_and_a_warm_up_of_its_own() -> None:
    book = Book.empty(DIGEST, "a", window_s=10, warmup_windows=1)
    book.begin(DIGEST, 1000)
    old = book.term
    book.at(105).sums["ok"] += 3
    closed = book.begin(OTHER, 1057)
    assert [(r.window, r.digest, r.warm, r.ok) for r in closed] == [(105, DIGEST, True, 3)]
    # In the same window: the new one's first answers, and the last one that the old one gives.
    book.at(105).sums["ok"] += 1
    book.of(old.key(105)).sums["ok"] += 1
    book.at(107).sums["ok"] += 2
    assert [(r.window, r.digest, r.warm, r.ok) for r in book.close(108)] == [
        (105, DIGEST, True, 1),
        (105, OTHER, False, 1),
        (107, OTHER, True, 2),
    ]
    total = book.total(1080)
    assert (total.digest, total.ok) == (OTHER, 3)


def test_a_digest_that_returns_begins_anew_and_what_it_counted_before_stays_apart() -> None:
    book = Book.empty(DIGEST, "a", window_s=10, warmup_windows=0)
    book.begin(DIGEST, 1000)
    book.at(101).sums["ok"] += 3
    book.begin(OTHER, 1015)
    book.begin(DIGEST, 1025)
    book.at(102).sums["ok"] += 1
    # A label that comes late for its first term.
    book.of(Term(DIGEST, "a", 0, first=100).key(101)).sums["labelled"] += 1
    total = book.total(1029)
    assert (total.ok, total.labelled) == (1, 0)
    assert sum(record.labelled for record in book.close(103)) == 1


def test_a_late_count_is_one_more_record_and_part_of_the_total_once() -> None:
    book = Book.empty(DIGEST, "a", window_s=10, warmup_windows=0)
    book.begin(DIGEST, 1000)
    book.at(101).sums["ok"] += 3
    first = book.close(102)
    book.at(101).sums["labelled"] += 1
    late = book.close(103)
    assert [(r.window, r.ok, r.labelled) for r in first] == [(101, 3, 0)]
    assert [(r.window, r.ok, r.labelled) for r in late] == [(101, 0, 1), (102, 0, 0)]
    total = book.total(1035)
    assert (total.ok, total.labelled) == (3, 1)


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_quantiles_from_buckets_are_within_five_percent(share: float) -> None:
    seconds = np.random.default_rng(3).lognormal(np.log(0.003), 0.4, 20_000)
    found = Counts()
    for value in seconds:
        found.latency[bucket_of(float(value))] += 1
    latency = tuple((i, n) for i, n in enumerate(found.latency) if n)
    assert quantile(latency, share) == pytest.approx(np.quantile(seconds, share), rel=0.05)


def test_without_answers_there_is_no_quantile() -> None:
    assert quantile((), 0.5) is None


WON = ("disagreed_labelled", "shadow_gains")
LOST = ("disagreed_labelled", "shadow_losses")


@pytest.mark.parametrize(
    ("wanted", "shadow", "label", "expected"),
    [
        (True, None, "ok", {"labelled", "correct"}),
        (True, None, "dent", {"labelled"}),
        (False, None, "ok", {"other_labelled", "other_correct"}),
        (True, "ok", "ok", {"labelled", "correct", "paired"}),
        (True, "dent", "ok", {"labelled", "correct", "paired", "gains", *WON}),
        (True, "dent", "dent", {"labelled", "paired", "losses", *LOST}),
        (True, "dent", "scratch", {"labelled", "paired", "disagreed_labelled"}),
        (False, "dent", "dent", {"other_labelled", *LOST}),
    ],
)
def test_only_labels_that_were_asked_for_enter_accuracy_and_pairs(
    wanted: bool,  # noqa: FBT001 - a column of the table
    shadow: str | None,
    label: str,
    expected: set[str],
) -> None:
    answer = Answer("r", 0.0, 1, DIGEST, "a", True, "ok", shadow, wanted)
    found = Counts()
    count_label(found, answer, label)
    assert expected == {name for name, count in found.sums.items() if count}
