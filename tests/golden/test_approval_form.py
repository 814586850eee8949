"""What an approver reads, kept as a file; how it looks on Prefect's page is seen in tests/e2e."""

from __future__ import annotations

import re
from datetime import timedelta

from edgefleet.fleet.plan import make_plan
from edgefleet.fleet.preflight import preflight
from edgefleet.fleet.release import Phase, Release
from edgefleet.report.form import approval_form
from edgefleet.spec import parse_spec
from tests.golden.files import same_as_golden
from tests.report.conftest import NEW, NOW, OLD, SPEC, fleet, qualified

WIDEST = 55
"""Characters of a table's row that Prefect's form shows; what is beyond them it hides."""


def form(factories: int = 6) -> str:
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
    made = make_plan(spec, asked, fleet(42, factories), NEW, OLD, 231_111, NOW)
    outlook = preflight(spec.gates, len(made.waves[0].changes), 4.0)
    return approval_form(asked, qualified(), made, outlook, NOW + timedelta(days=3))


def test_the_approval_form_is_kept_to_the_letter() -> None:
    same_as_golden(form(), "approval-form.md")


def test_its_tables_fit_prefect_s_narrow_form_however_many_factories_there_are() -> None:
    rows = [line for line in form(factories=20).splitlines() if line.startswith("|")]
    cells = [re.sub(r"\s*\|\s*", "  ", row).strip() for row in rows if "--" not in row]
    assert [row for row in cells if len(row) > WIDEST] == []
