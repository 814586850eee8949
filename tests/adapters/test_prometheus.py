"""An answer of Prometheus is evidence only where it is whole, and where it is of the node asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.adapters.prometheus import MARGIN_S, questions
from edgefleet.adapters.prometheus_http import PrometheusHttp, Series
from edgefleet.adapters.prometheus_samples import sightings
from edgefleet.edge.contract import Evidence
from edgefleet.edge.gauges import BUCKET, PREFIX, SECONDS, labels_of, parts_of
from edgefleet.edge.tally import merge
from edgefleet.errors import Refused, Unreachable
from tests.edge.test_gauges import records

GRAZ = {"n1": "graz"}


def series(shown: tuple[Evidence, ...], at: float, **target: str) -> list[Series]:
    """What one scrape adds to an answer."""
    who = {"node": "n1", "factory": "graz", **target}
    found = [Series({"__name__": SECONDS, **who}, values=((at, "60"),))]
    for record in shown:
        for part, value in parts_of(record).items():
            labels = {"__name__": PREFIX + part.field, **labels_of(record), **who}
            if part.bucket:
                labels[BUCKET] = part.bucket
            found.append(Series(labels, values=((at, str(value)),)))
    return found


@given(st.lists(records, max_size=6), st.lists(records, max_size=3))
def test_of_several_scrapes_by_two_servers_the_fullest_records_are_found(
    first: list[Evidence], late: list[Evidence]
) -> None:
    before, after = merge(first), merge([*first, *late])
    answer = series(after, 70.0, instance="a") + series(before, 60.0, instance="b")
    found, strangers = sightings(answer, GRAZ)
    kept = found["n1"].records
    assert tuple(kept[key].record for key in sorted(kept)) == after
    assert (found["n1"].at, strangers) == (70.0, frozenset())


def test_a_last_question_about_less_than_a_millisecond_is_about_one() -> None:
    asked, window_s = {"n1": 999}, 60.0
    begin = 1000 * window_s - MARGIN_S
    now = begin + 1800.0001 - MARGIN_S
    spans = [one.query.rpartition("[")[2] for one in questions("w", asked, window_s, now)]
    assert spans == ["1800000ms]", "1ms]"]


def test_another_factory_s_series_are_named_and_not_counted() -> None:
    answer = series((), 60.0, factory="linz") + series((), 60.0, node="n2")
    assert sightings(answer, GRAZ) == ({}, frozenset({("n1", "linz")}))


def test_a_prometheus_that_is_away_is_unreachable() -> None:
    with pytest.raises(Unreachable, match=r"prometheus 127\.0\.0\.1:9 gave no evidence"):
        PrometheusHttp("http://127.0.0.1:9").ask("up", 0.0)


@pytest.mark.parametrize("url", ["prometheus:9090", "http://", "http://me:secret@host:9090"])
def test_an_address_that_is_none_is_refused_without_a_password(url: str) -> None:
    with pytest.raises(Refused, match="EDGEFLEET_PROMETHEUS_URL") as refused:
        PrometheusHttp(url)
    assert "secret" not in str(refused.value)


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="EDGEFLEET_PROMETHEUS_CA"):
        PrometheusHttp("https://host", ca=tmp_path / "none.pem")
