"""How a gate's error budget is divided between its tests, and how much of it is spent by a look."""

from __future__ import annotations

from edgefleet.fleet.paths import EARLY, EVENLY, spent
from edgefleet.spec import Gates


def has_bets(gates: Gates) -> bool:
    """Return whether both models answer the same requests: half of a FAIL's budget is for that."""
    source = gates.accuracy.source
    return source == "agreement" or (source == "labels" and gates.shadow_rate > 0)


def share_of_budget(gates: Gates, metric: str, look: int) -> tuple[float, float]:
    """Return what the re-randomisation test may have spent on a FAIL, and on a metric's PASS."""
    worse = gates.alpha_fail / (2 if has_bets(gates) else 1)
    fine = gates.alpha_pass / (2 if metric == "errors" else 1)  # the other half is a bet's
    windows = gates.max_windows
    return spent(worse, look, windows, EARLY), spent(fine, look, windows, EVENLY)
