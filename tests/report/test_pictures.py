"""Pictures: well formed, the same for the same numbers, and never in the way when there are few."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest

from edgefleet.edge.contract import BUCKETS
from edgefleet.report.pictures.cutovers import Moment, requests_around
from edgefleet.report.pictures.field import (
    Pairs,
    Track,
    evidence_over_looks,
    latency_distributions,
    paired_answers,
)
from edgefleet.report.pictures.lab import Step, quantization_trace
from edgefleet.report.pictures.moves import Cell, Line, Span, node_map, timeline

NOTHING = [0] * (BUCKETS + 1)
ONE = [0] * 20 + [1] + [0] * (BUCKETS - 20)
LAST = [0] * BUCKETS + [7]
MANY = tuple(Cell(f"n{i:04}", f"f{i % 3}", i % 9) for i in range(300))

PICTURES: dict[str, tuple[Callable[[], str], str]] = {
    "nothing happened": (lambda: timeline([]), "seconds since the start"),
    "phases": (lambda: timeline([Line("a & <b>", [Span("canary", 0, 9)], "aborted")]), "ABORTED"),
    "no nodes": (lambda: node_map([], []), ""),
    "many nodes": (lambda: node_map(MANY, [f"wave {i}" for i in range(9)]), "8  wave 8: 33"),
    "failed": (lambda: node_map([Cell("n", "f", 0, "failed")], ["canary"]), "failed: 1"),
    "a first release": (lambda: latency_distributions(NOTHING, ONE), "canary (new), n=1"),
    "very slow": (lambda: latency_distributions(LAST, LAST), "controls (old), n=7"),
    "no labels": (lambda: paired_answers([], 0), "Sum: +0 of 0 (+0.0 pt)"),
    "pairs": (lambda: paired_answers([Pairs(1, 2, 7)], 50), "Sum: -5 of 50 (-10.0 pt)"),
    "no evidence": (lambda: evidence_over_looks([Track("p99", [None], [None], "fail")]), "FAIL"),
    "evidence": (lambda: evidence_over_looks([Track("p50", [0.5, 1.2], [0, 0], "pass")]), "PASS"),
    "one try": (
        lambda: quantization_trace([Step(0.1, 0.3, 0, "minmax", 2.5)], 0, 0.5, [], shipped=True),
        "kept, x2.50",
    ),
    "beyond repair": (
        lambda: quantization_trace([Step(44, 47, 0, "m")], 0, 0.5, [("a", 0.0)], shipped=False),
        "best, not shipped",
    ),
    "requests": (
        lambda: requests_around([Moment(-0.1, 1200), Moment(0, 5, 3, 1)], [], 9, "n1", 0.1),
        "ok: 1,205",
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_well_formed_and_says_its_numbers_in_text(name: str) -> None:
    draw, expected = PICTURES[name]
    parsed = ET.fromstring(draw())  # noqa: S314 - our own picture
    texts = [node.text for node in parsed.iter() if node.text]
    assert any(expected in text for text in texts)


def test_the_same_numbers_give_the_same_bytes() -> None:
    draw, _ = PICTURES["many nodes"]
    assert draw() == draw()
