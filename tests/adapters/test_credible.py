"""What a node says is taken where it can be true, from its own door or through a Prometheus."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from edgefleet.adapters.credible import contradiction
from edgefleet.adapters.scrape import windows_in
from edgefleet.edge.contract import BUCKETS, Digest, Evidence

DIGEST = Digest("sha256:" + "a" * 64)


def answer(*records: dict[str, Any]) -> bytes:
    told = [{"window": 7, "digest": DIGEST, "boot": "b", **record} for record in records]
    return json.dumps({"now": 0.0, "window_s": 60.0, "records": told}).encode()


@pytest.mark.parametrize(
    "odd",
    [
        {"ok": -1},
        {"server_errors": -1},
        {"ok": 2**53},
        {"ok": 2**70},
        {"window": -1},
        {"latency": [[BUCKETS + 1, 1]]},
        {"latency": [[-1, 1]]},
        {"latency": [[3, -1]]},
    ],
    ids=str,
)
def test_an_answer_with_a_value_that_no_node_counts_is_none(odd: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        windows_in(answer({"ok": 1}, odd), "n1")


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({"labelled": 2, "correct": 3}, "3 correct of 2 labelled"),
        ({"labelled": 2, "paired": 3}, "3 paired of 2 labelled"),
        ({"labelled": 2, "paired": 2, "gains": 2, "losses": 1}, "3 gains and losses of 2 paired"),
        ({"shadowed": 1, "disagreed": 2}, "2 disagreed of 1 shadowed"),
        ({"shadow_gains": 1}, "1 shadow gains and losses of 0 disagreed_labelled"),
        ({"ok": 1, "latency": [[3, 1], [4, 1]]}, "2 latencies of 1 ok"),
    ],
)
def test_a_record_with_more_of_a_part_than_of_the_whole_is_left_out_and_named(
    odd: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = windows_in(answer({"ok": 1}, odd), "n1")
    assert found == (Evidence(window=7, digest=DIGEST, boot="b", ok=1),)
    assert (
        f"n1: 1 of 2 records contradict themselves and are not counted, as window 7: {words}"
        in (caplog.text)
    )


def test_a_late_label_alone_contradicts_nothing() -> None:
    late = Evidence(
        window=7,
        digest=DIGEST,
        boot="b",
        labelled=1,
        correct=1,
        paired=1,
        gains=1,
        disagreed_labelled=1,
        shadow_gains=1,
    )
    assert not contradiction(late)
