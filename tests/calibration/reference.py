"""Times to decide of one test alone, as the method was designed with: what ours must keep up with.

Measured with a numpy reference of the method in the same world, over 400 to 2,000 soaks a row: one
metric, 0.5 % of false alarms for it (5 % of false passes), nothing else beside it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from edgefleet.fleet.finding import Outcome


class Reference(NamedTuple):
    """What became of a new model."""

    outcome: Outcome
    percent: float
    """Of the soaks that ended so."""
    window: int
    """Median of those."""


_FAILED: Final = {
    "-5 pt, 10 nodes x 5 pairs, margin 2 pt": (100, 14),
    "-5 pt, 5 nodes x 5 pairs, margin 2 pt": (93, 26),
    "-5 pt, 10 nodes x 20 pairs, margin 2 pt": (100, 4),
    "-5 pt, 50 nodes x 1 pairs, margin 2 pt": (100, 14),
    "-5 pt, 10 nodes x 1 pairs, margin 2 pt": (42, 42),
    "-10 pt, 10 nodes x 5 pairs, margin 2 pt": (100, 6),
    "-10 pt, 5 nodes x 5 pairs, margin 2 pt": (100, 11),
    "-10 pt, 2 nodes x 5 pairs, margin 2 pt": (96, 24),
    "-2 pt, 10 nodes x 5 pairs, margin 1 pt": (50, 38),
    "-2 pt, 10 nodes x 20 pairs, margin 1 pt": (99, 17),
    "-2 pt, 50 nodes x 5 pairs, margin 1 pt": (100, 12),
    "-5 pt, 10 nodes x 5 labels, margin 2 pt": (99.9, 15),
    "-5 pt, 5 nodes x 5 labels, margin 2 pt": (91, 22),
    "-5 pt, 2 nodes x 5 labels, margin 2 pt": (19, 49),
    "-5 pt, 10 nodes x 1 labels, margin 2 pt": (55, 30),
    "-5 pt, 10 nodes x 20 labels, margin 2 pt": (100, 3),
    "-10 pt, 10 nodes x 5 labels, margin 2 pt": (100, 4),
    "-10 pt, 5 nodes x 5 labels, margin 2 pt": (100, 10),
    "-10 pt, 2 nodes x 5 labels, margin 2 pt": (84, 39),
    "-2 pt, 10 nodes x 5 labels, margin 1 pt": (45, 39),
    "-2 pt, 10 nodes x 20 labels, margin 1 pt": (94, 22),
}
_PASSED: Final = {
    "as good, 10 nodes x 20 pairs, margin 2 pt": (99.8, 10),
    "as good, 10 nodes x 5 pairs, margin 1 pt": (22, 34),
    "as good, 10 nodes x 20 pairs, margin 1 pt": (72, 26),
    "as good, 50 nodes x 5 pairs, margin 1 pt": (91, 19),
}
REFERENCE: Final = {
    **{name: Reference(Outcome.FAIL, *found) for name, found in _FAILED.items()},
    **{name: Reference(Outcome.PASS, *found) for name, found in _PASSED.items()},
}
"""By the cell's name without `ALONE`."""
