"""A rehearsal needs a champion: when none comes about, its user reads why."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefleet.cli.rehearsal import release_first
from edgefleet.errors import Refused
from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage, stage
from edgefleet.spec import parse_spec
from edgefleet.wiring import installed
from tests.scenarios.conftest import SPEC

FLOORS = "floors: {accuracy: 0.6, p99_ms: 1000}"
TOO_FAST = "floors: {accuracy: 0.6, p99_ms: 0.001}"


def staged(folder: Path, spec: str) -> Stage:
    assert FLOORS in SPEC
    return stage(parse_spec(spec, "test"), folder, nodes=40, factories=4)


def test_a_spec_that_lets_no_first_release_through_is_refused_with_that_releases_reason(
    tmp_path: Path,
) -> None:
    made = staged(tmp_path, SPEC.replace(FLOORS, TOO_FAST))
    with installed(made.world), pytest.raises(Refused) as refused:
        release_first(made)
    said = str(refused.value)
    assert said.startswith("defect-detection: its first release, on a fleet without faults, is ")
    assert "p99" in said
    assert "Correct the spec" in said


def test_a_spec_that_can_be_met_gets_its_champion(tmp_path: Path) -> None:
    made = staged(tmp_path, SPEC)
    with installed(made.world):
        release_first(made)
    (first,) = made.world.ledger.releases("defect-detection")
    assert first.phase is Phase.RELEASED
