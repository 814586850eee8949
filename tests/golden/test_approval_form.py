"""What an approver reads, kept as a file; how it looks on Prefect's page is seen in tests/e2e."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from edgefleet.edge.contract import Needs
from edgefleet.fleet.balance import Balance
from edgefleet.fleet.finding import Outcome
from edgefleet.fleet.needs import Package
from edgefleet.fleet.plan import make_plan
from edgefleet.fleet.preflight import preflight
from edgefleet.fleet.release import Phase, Release
from edgefleet.fleet.replay import Detectable
from edgefleet.report.form import approval_form, confirmation_form
from edgefleet.spec import parse_spec
from tests.golden.files import same_as_golden
from tests.report.conftest import LOOKS, NEW, NOW, OLD, SPEC, fleet, qualified, verdict

WIDEST = 55
"""Characters of a table's row that Prefect's form shows; what is beyond them it hides."""


REPLAYED = (
    Detectable("p50", "%", 15.0, ((5, 24.0), (10, 18.1), (15, 16.2), (30, 15.0)), 10),
    Detectable("p99", "%", 15.0, ((5, 61.3), (10, 44.0), (15, 40.8), (30, 33.1)), None),
    Detectable("errors", "pt", 0.3, ((5, 0.82), (10, 0.44), (15, 0.4), (30, 0.31)), 15),
    Detectable("presence", "pt", 40.0, ((5, 48.0), (10, 41.0), (15, 38.2), (30, 29.5)), 15),
)
BALANCE = (
    Balance("p50", 5.12, 5.31, "ms", 0.621),
    Balance("errors", 0.104, 0.098, "%", 0.8),
)


EARLIER = [
    Release(
        f"defect-detection-{number}",
        "defect-detection",
        "local",
        number,
        "defect-classifier",
        str(number),
        end,
        NOW - timedelta(days=10 - number),
        NOW - timedelta(days=10 - number),
        "test",
    )
    for number, end in ((2, Phase.ROLLED_BACK), (1, Phase.RELEASED))
]


def form(factories: int = 6, earlier: Sequence[Release] = EARLIER) -> str:
    spec = parse_spec(SPEC, "test")
    asked = Release(
        "defect-detection-3",
        "defect-detection",
        "local",
        3,
        "defect-classifier",
        "3",
        Phase.AWAITING,
        NOW,
        NOW,
        "test",
    )
    made = make_plan(spec, asked, fleet(42, factories), Package(NEW, 231_111, Needs()), OLD, NOW)
    outlook = preflight(spec.gates, len(made.waves[0].changes), 4.0, REPLAYED, BALANCE)
    deadline = NOW + timedelta(days=3)
    return approval_form(asked, qualified(), made, outlook, spec.prepull, earlier, deadline)


def test_the_approval_form_is_kept_to_the_letter() -> None:
    same_as_golden(form(), "approval-form.md")


@pytest.mark.parametrize(
    ("outcome", "file"),
    [(Outcome.PASS, "confirmation-form.md"), (Outcome.INCONCLUSIVE, "confirmation-form-unsure.md")],
)
def test_the_form_before_the_fleet_is_kept_to_the_letter(outcome: Outcome, file: str) -> None:
    spec = parse_spec(SPEC, "test")
    asked = replace(EARLIER[0], phase=Phase.CONFIRMING)
    made = make_plan(spec, asked, fleet(42, 6), Package(NEW, 231_111, Needs()), OLD, NOW)
    found = replace(verdict(LOOKS - 1), outcome=outcome)
    text = confirmation_form(asked, made, found, NOW + timedelta(days=3))
    same_as_golden(text, file)


def test_its_tables_fit_prefect_s_narrow_form_however_many_factories_there_are() -> None:
    rows = [line for line in form(factories=20).splitlines() if line.startswith("|")]
    cells = [re.sub(r"\s*\|\s*", "  ", row).strip() for row in rows if "--" not in row]
    assert [row for row in cells if len(row) > WIDEST] == []


def test_of_many_earlier_releases_the_newest_are_shown() -> None:
    many = [replace(EARLIER[1], version=str(number)) for number in range(20, 0, -1)]
    shown = form(earlier=many).partition("### Earlier releases")[2]
    assert re.findall(r"^\| (\d+) ", shown, re.MULTILINE) == ["20", "19", "18", "17", "16"]
