from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgefleet.edge.contract import BOUNDS_S, BUCKETS, Digest, Evidence, bucket_of
from edgefleet.fleet.observation import Board, merge, quantile, share_above
from edgefleet.fleet.tally import Span, log_quantiles, tally

ONE = Digest("sha256:" + "1" * 64)
TWO = Digest("sha256:" + "2" * 64)

RECORDS = st.builds(
    Evidence,
    window=st.integers(0, 9),
    digest=st.just(ONE),
    boot=st.sampled_from(["a", "b"]),
    warm=st.booleans(),
    ok=st.integers(0, 99),
    server_errors=st.integers(0, 9),
    gains=st.integers(0, 9),
    latency=st.dictionaries(st.integers(0, BUCKETS), st.integers(1, 9), max_size=4).map(
        lambda counts: tuple(sorted(counts.items()))
    ),
    queue_peak=st.integers(0, 9),
)


@given(st.lists(RECORDS, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_evidence_adds_up_in_any_order_and_any_grouping(
    records: list[Evidence], chance: object
) -> None:
    whole = merge(records)
    shuffled = list(records)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert whole == merge(shuffled)
    for cut in range(len(records) + 1):
        parts = (merge(records[:cut]), merge(records[cut:]))
        assert whole == merge(part for part in parts if part)


def test_nothing_adds_up_to_nothing_and_two_digests_do_not_add_up() -> None:
    assert merge([]) is None
    with pytest.raises(ValueError, match="cannot be added up"):
        merge([Evidence(window=1, digest=d, boot="a") for d in (ONE, TWO)])


@pytest.mark.parametrize("sd", [0.5, 1.0])
@pytest.mark.parametrize("q", [0.5, 0.95, 0.99])
def test_quantiles_of_a_histogram_are_within_five_percent_of_those_of_the_samples(
    sd: float, q: float
) -> None:
    seconds = np.exp(np.random.default_rng(1).normal(np.log(3e-3), sd, 50_000))
    counts = np.bincount([bucket_of(s) for s in seconds], minlength=BUCKETS + 1)
    assert np.quantile(seconds, q) == pytest.approx(quantile(_pairs(counts), q), rel=0.05)


@given(st.lists(st.integers(0, 30), min_size=BUCKETS + 1, max_size=BUCKETS + 1), st.floats(0.01, 1))
def test_quantiles_of_many_nodes_at_once_are_those_of_each(counts: list[int], q: float) -> None:
    rows = np.array([counts, np.zeros(BUCKETS + 1)])
    one, none = log_quantiles(rows, q)
    expected = quantile(_pairs(rows[0]), q)
    assert (0 if expected is None else np.log(expected)) == pytest.approx(one)
    assert none == 0


def _pairs(counts: NDArray[Any]) -> list[tuple[int, int]]:
    return [(bucket, int(count)) for bucket, count in enumerate(counts) if count]


def test_a_histogram_of_nothing_has_no_quantile() -> None:
    assert quantile([], 0.5) is None
    assert share_above([], 1.0) is None


@given(st.dictionaries(st.integers(0, BUCKETS), st.integers(1, 50), min_size=1))
def test_one_in_a_hundred_is_slower_than_the_p99(counts: dict[int, int]) -> None:
    pairs = sorted(counts.items())
    slowest = quantile(pairs, 0.99)
    assert slowest is not None
    assert share_above(pairs, slowest) == pytest.approx(0.01, abs=1e-9)


def test_a_quantile_lies_in_its_bucket() -> None:
    assert BOUNDS_S[9] < (quantile([(10, 5)], 0.5) or 0) < BOUNDS_S[10]
    assert BOUNDS_S[10] == pytest.approx(quantile([(10, 5)], 1.0))


def test_a_board_finds_warm_records_of_one_digest_with_their_late_labels() -> None:
    early = Evidence(window=3, digest=ONE, boot="a", ok=10)
    late = Evidence(window=3, digest=ONE, boot="a", labelled=2, correct=1)
    cold = Evidence(window=4, digest=TWO, boot="b", warm=False, ok=5)
    board = Board({"n1": [late, cold, early], "n2": []})
    assert board.nodes == ("n1",)
    assert {early, late} == set(board.at("n1", 3, digest=ONE))
    assert board.at("n1", 4) == ()
    assert (cold,) == board.at("n1", 4, warm=False)
    assert merge([early, late]) == board.total("n1", 0, 9, digest=ONE)
    assert board.total("n2", 0, 9, digest=ONE) is None
    assert board.first_warm("n1", TWO, 0) is None
    assert frozenset({"n1"}) == board.reported(4, ["n1", "n2"])


def test_only_the_expected_digest_is_counted_and_a_late_label_in_its_own_window() -> None:
    records = {
        "n1": [
            Evidence(window=5, digest=ONE, boot="a", ok=10, latency=((7, 10),)),
            Evidence(window=5, digest=TWO, boot="a", ok=99),
            Evidence(window=6, digest=ONE, boot="a", warm=False, ok=99),
            Evidence(window=7, digest=ONE, boot="a", ok=3, refused=1),
            Evidence(window=5, digest=ONE, boot="a", labelled=4, correct=3),
        ]
    }
    found = tally(records, [Span("n1", ONE, 5, 7), Span("n2", ONE, 5, 7), Span("n1", None, 5, 7)])
    assert found.requests.tolist() == [[10, 0, 4], [0, 0, 0], [0, 0, 0]]
    assert found.counts["labelled"][0].tolist() == [4, 0, 0]
    assert 10 == found.histograms[0, 7] == found.histograms.sum()
    assert found.seen[0].tolist() == [True, False, True]
