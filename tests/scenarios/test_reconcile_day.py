"""Given a fleet of which a third flaps, when a day goes by, then every node is accounted for."""

from pathlib import Path

import pytest

from edgefleet.fleet.release import Phase
from tests.bench.reconcile import ORDERS, lived


@pytest.mark.timeout(900)
def test_after_a_day_every_node_serves_the_champion_or_has_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFLEET_SPECS", "")  # put back afterwards
    day = lived(tmp_path, nodes=100, factories=6, hours=24, every_s=1800)
    assert day.phases == (Phase.RELEASED,) * 3
    assert day.unexplained == ()
    assert day.twice == ()
    assert day.champion + len(day.behind) >= day.nodes
    assert day.brought >= day.made_anew > 0
    assert day.by_hand > 0
    assert {item.reason for item in day.behind} <= {"offline"}
    per_node_and_hour = sum(day.calls[name] for name in ORDERS) / (day.nodes * day.hours)
    print(f"{per_node_and_hour:.3f} calls per node and hour")  # noqa: T201 - shown by -s
    assert per_node_and_hour < 20
