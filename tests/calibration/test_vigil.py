"""A small calibration of the guard, and what its page says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgefleet.fleet.alarms import Cause
from tests.calibration.plant import Plant
from tests.calibration.vigil import Seen, Vigil, vigils
from tests.calibration.vigil_page import Between, page

SMALL = Plant(nodes=24, factories=4, lighting=0.0, labels=20, labels_first=True)


def test_a_loss_is_found_at_its_place_and_its_cause_is_named() -> None:
    kinds = (
        Vigil(SMALL, "factory", 0.08),
        Vigil(SMALL, "fleet", 0.08),
        Vigil(SMALL, "fleet", 0.08, alike=True),
    )
    factory, fleet, alike = vigils(kinds, 1)
    assert (factory.cause, fleet.cause) == (Cause.MODEL, Cause.MODEL)
    assert alike.cause is Cause.SURROUNDINGS
    assert factory.found is not None
    assert fleet.found is not None
    assert fleet.found <= factory.found <= 60


def test_what_is_stated_is_broken_when_the_mean_is_proven_to_be_shorter() -> None:
    assert not Between(0, 1000).broken(1440)
    assert not Between(3, 2880).broken(1440), "three of two may be chance"
    assert Between(12, 2880).broken(1440)
    low, high = Between(4, 5760).interval()
    assert (low, high) == pytest.approx((562, 5285), abs=1)


def test_the_page_says_what_was_seen_and_what_is_broken() -> None:
    quiet = Vigil(SMALL, false_alarm_days=1.0)
    lost = Vigil(SMALL, "node", 0.05)
    found = {
        ("usual", quiet): [Seen(2880, 12)],
        ("usual", lost): [Seen(2880, 0, at, at, Cause.MODEL) for at in (300, 600)],
        ("usual", replace(lost, alike=True)): [Seen(2880, 0)],
    }
    text = page(found, "a machine")
    assert "**Broken in: usual.**" in text
    assert "| usual | 2,880 | 12 | 240 [" in text
    assert "| the new model | node | usual | 2 | 2 | 300 | 600 | 2 | 0 | 300 |" in text
    assert "| old and new alike | node | usual | 1 | 0 | later | later | 0 | 0 | later |" in text
    assert Path("docs/guard-calibration.md").is_file()
