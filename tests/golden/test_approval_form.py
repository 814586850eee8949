"""What an approver reads, kept as a file; how it looks on Prefect's page is seen in tests/e2e."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from edgefleet.edge.contract import Needs
from edgefleet.fleet.balance import Balance
from edgefleet.fleet.finding import Outcome
from edgefleet.fleet.forecast import Speed, forecast
from edgefleet.fleet.needs import Package
from edgefleet.fleet.plan import make_plan
from edgefleet.fleet.preflight import preflight
from edgefleet.fleet.release import Phase, Release
from edgefleet.fleet.replay import Detectable
from edgefleet.model.evaluate import Race
from edgefleet.model.qualify import Qualification
from edgefleet.model.yardstick import Timed
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
ASKED = Release(
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
SPEEDS = {
    **{f"factory-{n}": Speed("defect-detection-2", 20_000 / n, 100_000) for n in range(1, 5)},
    "factory-5": Speed("defect-detection-1", 200, None),
}


def form(
    factories: int = 6,
    asked: Release = ASKED,
    found: Qualification | None = None,
    speeds: Mapping[str, Speed] = SPEEDS,
    earlier: Sequence[Release] = EARLIER,
) -> str:
    spec = parse_spec(SPEC, "test")
    made = make_plan(spec, asked, fleet(42, factories), Package(NEW, 231_111, Needs()), OLD, NOW)
    outlook = preflight(spec.gates, len(made.waves[0].changes), 4.0, REPLAYED, BALANCE)
    deadline = NOW + timedelta(days=3)
    bringing = forecast(made, spec.prepull, speeds)
    return approval_form(asked, found or qualified(), made, outlook, bringing, earlier, deadline)


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


def test_a_factory_s_wan_is_not_known_before_a_first_pull() -> None:
    text = form(speeds={})
    assert "| factory-1 | 7 | - | 12.0 s |" in text
    assert "Over the WAN: not known until a first pull, and not counted." in text
    assert "as quick as" not in text
    assert "timeout_s" not in text


def test_where_one_release_says_it_of_all_factories_they_are_not_listed() -> None:
    same = {f"factory-{n}": Speed("defect-detection-2", 20_000, None) for n in range(1, 7)}
    assert "as quick as in `defect-detection-2`." in form(speeds=same)


@pytest.mark.parametrize(
    ("race", "said"),
    [
        (Race(1.3, 1.21, 1.38, 0.52, 0.4, 200), "this one 0.40 ms: 1.30x as fast [1.21, 1.38]."),
        (Race(0.8, 0.75, 0.9, 0.32, 0.4, 200), "this one 0.40 ms: 0.80x as fast [0.75, 0.90]."),
        (Race(1.02, 0.97, 1.1, 0.41, 0.4, 200), "this one 0.40 ms: as fast [0.97, 1.10]."),
        (Race(1.004, 1.003, 1.004, 0.4, 0.4, 200), "this one 0.40 ms: as fast [1.00, 1.00]."),
    ],
)
def test_a_time_beside_the_champion_s_is_told_without_a_claim_that_it_does_not_bear_out(
    race: Race, said: str
) -> None:
    assert said in form(found=replace(qualified(), beside=Timed("sorter 1", race)))


def test_a_champion_that_cannot_be_timed_is_left_out_in_words() -> None:
    text = form(found=replace(qualified(), beside=Timed("sorter 1", None, "one input is missing")))
    assert "Today's champion, sorter 1, could not be timed here: one input is missing." in text


def test_a_package_that_is_shipped_again_was_timed_beside_another_day_s_champion() -> None:
    back = replace(ASKED, attempt="back to defect-detection-1 from defect-detection-2, 1")
    assert "Today's" not in form(asked=back)
    assert "The champion of its day, defect-classifier 1, takes 0.52 ms" in form(asked=back)


def test_of_many_earlier_releases_the_newest_are_shown() -> None:
    many = [replace(EARLIER[1], version=str(number)) for number in range(20, 0, -1)]
    shown = form(earlier=many).partition("### Earlier releases")[2]
    assert re.findall(r"^\| (\d+) ", shown, re.MULTILINE) == ["20", "19", "18", "17", "16"]
