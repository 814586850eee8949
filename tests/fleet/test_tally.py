"""Evidence as arrays: what counts, in which window, and quantiles of the merged histograms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgefleet.edge.contract import BOUNDS_S, BUCKETS, Digest, Evidence, bucket_of
from edgefleet.edge.tally import quantile
from edgefleet.fleet.cells import Span, tally
from edgefleet.fleet.tally import log_quantiles, slower_than

ONE = Digest("sha256:" + "1" * 64)
TWO = Digest("sha256:" + "2" * 64)
COUNTS = st.lists(st.integers(0, 30), min_size=BUCKETS, max_size=BUCKETS).map(
    lambda counts: np.array([*counts, 0], np.float64)
)


def quantile_s(row: NDArray[np.float64], q: float) -> float:
    return float(np.exp(log_quantiles(row.cumsum()[np.newaxis], q)[0]))


def in_bucket(bucket: int, count: int) -> NDArray[np.float64]:
    return np.bincount([bucket] * count, minlength=BUCKETS + 1).astype(np.float64)


@pytest.mark.parametrize("sd", [0.5, 1.0])
@pytest.mark.parametrize("q", [0.5, 0.95, 0.99])
def test_quantiles_of_a_histogram_are_within_five_percent_of_those_of_the_samples(
    sd: float, q: float
) -> None:
    seconds = np.exp(np.random.default_rng(1).normal(np.log(3e-3), sd, 50_000))
    counts = np.bincount([bucket_of(s) for s in seconds], minlength=BUCKETS + 1)
    assert np.quantile(seconds, q) == pytest.approx(quantile_s(counts.astype(float), q), rel=0.05)


@given(COUNTS, st.floats(0.01, 1))
def test_a_node_and_the_centre_take_the_same_quantile_from_the_same_counts(
    counts: NDArray[np.float64], q: float
) -> None:
    of_node = quantile([(i, int(count)) for i, count in enumerate(counts) if count], q)
    found, none = log_quantiles(np.array([counts, np.zeros(BUCKETS + 1)]).cumsum(1), q)
    assert (0 if of_node is None else np.log(of_node)) == pytest.approx(found)
    assert none == 0


@given(COUNTS.filter(np.any))
def test_one_in_a_hundred_is_slower_than_the_p99(counts: NDArray[np.float64]) -> None:
    (slower,) = slower_than(counts[np.newaxis], quantile_s(counts, 0.99))
    assert 0.01 * counts.sum() == pytest.approx(slower, abs=1e-6)


def test_of_nothing_nothing_is_slower() -> None:
    assert slower_than(np.zeros((1, BUCKETS + 1)), 1.0).tolist() == [0]


def test_a_quantile_lies_in_its_bucket() -> None:
    assert BOUNDS_S[9] < quantile_s(in_bucket(10, 5), 0.5) < BOUNDS_S[10]
    assert BOUNDS_S[10] == pytest.approx(quantile_s(in_bucket(10, 5), 1.0))


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
    found = tally(records, [Span("n1", ONE, 5), Span("n2", ONE, 5)], 7)
    assert found.requests.tolist() == [[10, 0, 4], [0, 0, 0]]
    assert found.counts["labelled"][0].tolist() == [4, 0, 0]
    assert 10 == found.histograms[0, 7] == found.histograms.sum()
    assert found.seen[0].tolist() == [True, False, True]


def test_of_a_node_that_ought_to_serve_nothing_nothing_counts_but_that_it_is_there() -> None:
    records = {"n1": [Evidence(window=5, digest=ONE, boot="a", ok=10, latency=((7, 10),))]}
    found = tally(records, [Span("n1", None, 5)], 5)
    assert 0 == found.requests.sum() == found.histograms.sum()
    assert found.seen.all()
