"""Windows as gauges: every count comes back, and a part is not taken for the whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from edgefleet.edge.contract import BUCKETS, Digest, Evidence
from edgefleet.edge.gauges import (
    BUCKET,
    LABELS,
    NUMBER,
    PARTS,
    PREFIX,
    SECONDS,
    SHOWN,
    Part,
    exposition,
    labels_of,
    parts_of,
    record_of,
)
from edgefleet.edge.tally import SUMS, merge

DIGESTS = tuple(Digest("sha256:" + letter * 64) for letter in "ab")
FULL = Evidence(
    window=10**8,
    digest=DIGESTS[0],
    boot="b" * 12,
    latency=tuple((bucket, 10**9) for bucket in range(BUCKETS + 1)),
    queue_peak=7,
    **dict.fromkeys(SUMS, 2**53 - 1),
)

# Up to nine records are merged, and a sample is exact up to 2**53 - 1, which FULL has.
counts = st.integers(0, (2**53 - 1) // 9)
latencies = st.dictionaries(st.integers(0, BUCKETS), st.integers(1, 10**9)).map(
    lambda found: tuple(sorted(found.items()))
)
some_sums = st.dictionaries(st.sampled_from(SUMS), counts)
records = st.builds(
    lambda sums, **fields: Evidence(**fields, **sums),
    some_sums,
    window=st.integers(29_000_000, 29_000_000 + SHOWN - 1),
    digest=st.sampled_from(DIGESTS),
    boot=st.sampled_from(["0123456789ab", "ba9876543210"]),
    warm=st.booleans(),
    latency=latencies,
    queue_peak=counts,
)


def scraped(text: bytes) -> Mapping[tuple[str, ...], Mapping[Part, int]]:
    """What Prometheus's own client reads, by the labels of a record."""
    found: defaultdict[tuple[str, ...], dict[Part, int]] = defaultdict(dict)
    for family in text_string_to_metric_families(text.decode()):
        assert family.type == "gauge"
        for sample in family.samples:
            if sample.name != SECONDS:
                part = Part(sample.name.removeprefix(PREFIX), sample.labels.get(BUCKET, ""))
                of = found[tuple(sample.labels[name] for name in LABELS)]
                assert part not in of
                of[part] = int(sample.value)
    return found


def read(text: bytes) -> list[Evidence | None]:
    return [
        record_of(dict(zip(LABELS, labels, strict=True)), values)
        for labels, values in scraped(text).items()
    ]


@given(st.lists(records, max_size=8))
def test_what_is_shown_of_successive_windows_is_read_back_as_it_was(
    several: list[Evidence],
) -> None:
    shown = merge(several)
    back = read(exposition(shown, 60.0))
    assert set(shown) == set(back)
    assert len(shown) == len(back)


def test_every_count_of_the_contract_is_shown() -> None:
    assert read(exposition([FULL], 60.0)) == [FULL]
    fields = {part.field for part in parts_of(FULL)}
    assert fields - {NUMBER.field, PARTS.field, "latency"} == {*SUMS, "queue_peak"}
    assert not {NUMBER.field, PARTS.field, "seconds"} & set(Evidence.__struct_fields__)


@given(records, st.data())
def test_a_record_of_which_a_part_is_missing_is_none(record: Evidence, data: st.DataObject) -> None:
    values = parts_of(record)
    del values[data.draw(st.sampled_from(list(values)))]
    assert record_of(labels_of(record), values) is None


def test_a_count_that_only_a_newer_node_knows_is_left_out() -> None:
    values = {**parts_of(FULL), Part("tomorrow"): 3, Part("latency"): 1, Part("latency", "x"): 1}
    assert record_of(labels_of(FULL), {**values, PARTS: values[PARTS] + 3}) == FULL


@pytest.mark.parametrize("part", [Part("ok"), Part("latency", str(BUCKETS + 1))])
def test_a_value_that_no_node_counts_makes_no_record(part: Part) -> None:
    values = parts_of(FULL)
    odd = {**values, part: 2**53, PARTS: values[PARTS] + (part not in values)}
    assert record_of(labels_of(FULL), odd) is None


def test_a_window_in_which_nobody_asked_is_two_series() -> None:
    quiet = Evidence(window=29_000_003, digest=DIGESTS[0], boot="b" * 12, warm=False)
    labels = (
        f'{{slot="{quiet.window % SHOWN}",digest="{DIGESTS[0]}",boot="bbbbbbbbbbbb",warm="false"}}'
    )
    expected = [
        "# TYPE edge_window_seconds gauge",
        "edge_window_seconds 60.0",
        "# TYPE edge_window_number gauge",
        f"edge_window_number{labels} 29000003",
        "# TYPE edge_window_parts gauge",
        f"edge_window_parts{labels} 0",
    ]
    assert expected == exposition([quiet], 60.0).decode().splitlines()


@pytest.mark.parametrize("boot", ['"', "\\", "\n", '\\"\n'])
def test_a_spool_that_somebody_wrote_into_does_not_spoil_the_text(boot: str) -> None:
    odd = Evidence(window=1, digest=DIGESTS[0], boot=boot, ok=1)
    assert [odd] == read(exposition([odd], 60.0))


@given(st.lists(st.builds(lambda n: n * SHOWN, st.integers(0, 10**6)), min_size=2, unique=True))
def test_a_window_takes_the_series_of_the_one_before_in_its_slot(windows: Sequence[int]) -> None:
    shown = [Evidence(window=n, digest=DIGESTS[0], boot="a", ok=1) for n in windows]
    assert len({tuple(labels_of(record).items()) for record in shown}) == 1
