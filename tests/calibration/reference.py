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


def _of(outcome: Outcome, source: str, *rows: tuple[str, float, int]) -> dict[str, Reference]:
    return {
        f"{model} {source}, margin {margin} pt": Reference(outcome, percent, window)
        for said, percent, window in rows
        for model, _, margin in [said.rpartition(" @ ")]
    }


REFERENCE: Final = {
    **_of(
        Outcome.FAIL,
        "pairs",
        ("-5 pt, 10 nodes x 5 @ 2", 100, 14),
        ("-5 pt, 5 nodes x 5 @ 2", 93, 26),
        ("-5 pt, 10 nodes x 20 @ 2", 100, 4),
        ("-5 pt, 50 nodes x 1 @ 2", 100, 14),
        ("-5 pt, 10 nodes x 1 @ 2", 42, 42),
        ("-10 pt, 10 nodes x 5 @ 2", 100, 6),
        ("-10 pt, 5 nodes x 5 @ 2", 100, 11),
        ("-10 pt, 2 nodes x 5 @ 2", 96, 24),
        ("-2 pt, 10 nodes x 5 @ 1", 50, 38),
        ("-2 pt, 10 nodes x 20 @ 1", 99, 17),
        ("-2 pt, 50 nodes x 5 @ 1", 100, 12),
    ),
    **_of(
        Outcome.PASS,
        "pairs",
        ("as good, 10 nodes x 20 @ 2", 99.8, 10),
        ("as good, 10 nodes x 5 @ 1", 22, 34),
        ("as good, 10 nodes x 20 @ 1", 72, 26),
        ("as good, 50 nodes x 5 @ 1", 91, 19),
    ),
    **_of(
        Outcome.FAIL,
        "labels",
        ("-5 pt, 10 nodes x 5 @ 2", 99.9, 15),
        ("-5 pt, 5 nodes x 5 @ 2", 91, 22),
        ("-5 pt, 2 nodes x 5 @ 2", 19, 49),
        ("-5 pt, 10 nodes x 1 @ 2", 55, 30),
        ("-5 pt, 10 nodes x 20 @ 2", 100, 3),
        ("-10 pt, 10 nodes x 5 @ 2", 100, 4),
        ("-10 pt, 5 nodes x 5 @ 2", 100, 10),
        ("-10 pt, 2 nodes x 5 @ 2", 84, 39),
        ("-2 pt, 10 nodes x 5 @ 1", 45, 39),
        ("-2 pt, 10 nodes x 20 @ 1", 94, 22),
    ),
}
"""By the cell's name without `ALONE`."""
