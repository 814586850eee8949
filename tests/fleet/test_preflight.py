from __future__ import annotations

import math

import msgspec
import pytest

from edgefleet.fleet.book import Usual
from edgefleet.fleet.impossible import told_by
from edgefleet.fleet.preflight import Preflight, preflight
from edgefleet.fleet.stats import log_bet_on_share_above, log_bet_on_share_below
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


@pytest.mark.parametrize(
    ("shadow_rate", "usual", "told"),
    [
        (0.2, Usual(10, 100, wanted=10), 10),  # every labelled request is shadowed too
        (0.2, Usual(50, 100, wanted=50), 20),
        (0.2, Usual(20, 100, wanted=40), 10),  # half of the labels never come
        (0.2, Usual(7, 0), 7),
        (0.0, Usual(50, 100, wanted=50), 50),  # without pairs all labels are compared
    ],
)
def test_labels_make_pairs_where_the_request_is_shadowed_too(
    shadow_rate: float, usual: Usual, told: float
) -> None:
    assert told == pytest.approx(told_by(Gates(shadow_rate=shadow_rate), usual))


def test_a_plant_without_labels_is_told_when_agreement_will_be_known() -> None:
    gates = Gates(accuracy=AccuracyGate(source="agreement", min_agreement=0.9))
    answers = told_by(gates, Usual(0, 30))
    assert answers == pytest.approx(6)
    found = preflight(gates, 5, answers)
    assert "6.0 shadowed answers a node and window; accuracy by agreement" in found.text
    assert "| in agreement on 95 %, at least 90 % asked | " in found.text
    assert "| in agreement on 80 % | " in found.text
    assert "never: no shadowed answers" in preflight(gates, 5, 0).text
    ((_, to_fail),) = found.to_fail
    passing, failing = 30 * found.to_pass, 30 * to_fail
    fine = log_bet_on_share_below(passing, 0.05 * passing, 0.1, 1.2)
    worse = log_bet_on_share_above(failing, 0.2 * failing, 0.1, 1.2)
    assert fine == pytest.approx(-math.log(gates.alpha_pass), rel=0.4)
    assert worse == pytest.approx(-math.log(gates.alpha_fail / 2), rel=0.4)
    few = Gates(accuracy=AccuracyGate(source="agreement", min_agreement=0.99))
    assert any("may not show 99 % agreement" in one for one in preflight(few, 1, 5).warnings)
