from __future__ import annotations

import msgspec
import pytest

from edgefleet.fleet.preflight import Preflight, preflight
from edgefleet.spec import AccuracyGate, Gates


@pytest.mark.parametrize(
    ("nodes", "labels", "drop", "simulated"),
    [(10, 5, 5, 14), (5, 5, 5, 26), (10, 20, 2, 17), (50, 5, 2, 12), (10, 5, 10, 6)],
)
def test_windows_to_find_a_drop_are_near_the_simulated_medians(
    nodes: int, labels: float, drop: float, simulated: float
) -> None:
    # The simulated fleet had a fifth of its nodes offline: four fifths of the labels came.
    found = dict(preflight(Gates(), nodes, 0.8 * labels).to_fail)
    assert simulated == pytest.approx(found[drop], rel=0.25)


def test_windows_to_pass_an_equal_model_are_near_the_simulated_medians() -> None:
    for nodes, labels, margin, simulated in ((10, 5, 2, 28), (10, 20, 1, 26), (50, 5, 1, 19)):
        gates = Gates(accuracy=AccuracyGate(margin_pt=margin))
        found = preflight(gates, nodes, 0.8 * labels).to_pass
        assert simulated == pytest.approx(found, rel=0.25)


def test_a_canary_that_cannot_show_its_margin_is_warned_of_before_anybody_approves() -> None:
    gates = Gates(accuracy=AccuracyGate(margin_pt=0.5))
    found = preflight(gates, 1, 2)
    assert any("cannot show a margin of 0.5 pt in 60 windows" in w for w in found.warnings)
    assert all(warning in found.text for warning in found.warnings)
    assert not preflight(Gates(), 10, 20).warnings


def test_without_labels_no_window_is_promised_and_it_survives_json() -> None:
    found = preflight(Gates(), 5, 0)
    assert "never: no labels" in found.text
    assert found == msgspec.json.decode(msgspec.json.encode(found), type=Preflight)
