"""Which records of a node can be true: the part of what was counted in one step is not the greater.

A label is counted together with what it says of the answer, a second answer together with whether
it differs: in one record, however late it came. More of the part than of the whole is a fault of
the node, and a bet on such counts would win or lose by answers that nobody gave. The record is no
evidence, and the log says so; the node's other records are taken.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from edgefleet.edge.contract import Evidence

logger = logging.getLogger(__name__)


def credible(records: Sequence[Evidence], node: str) -> tuple[Evidence, ...]:
    """Return the records of a node that can be true."""
    kept, wrong = [], []
    for record in records:
        problem = contradiction(record)
        if problem:
            wrong.append(f"window {record.window}: {problem}")
        else:
            kept.append(record)
    if wrong:
        logger.warning(
            "%s: %d of %d records contradict themselves and are not counted, as %s",
            node,
            len(wrong),
            len(records),
            wrong[0],
        )
    return tuple(kept)


def contradiction(record: Evidence) -> str:
    """Say which counts cannot be of the same requests; nothing where all can.

    Labels come later than answers, and a record may have the one without the other: only what is
    counted in one step is compared.
    """
    r = record
    told = (
        ("correct", r.correct, "labelled", r.labelled),
        ("paired", r.paired, "labelled", r.labelled),
        ("gains and losses", r.gains + r.losses, "paired", r.paired),
        ("disagreed", r.disagreed, "shadowed", r.shadowed),
        (
            "shadow gains and losses",
            r.shadow_gains + r.shadow_losses,
            "disagreed_labelled",
            r.disagreed_labelled,
        ),
        ("latencies", sum([count for _, count in r.latency]), "ok", r.ok),
    )
    for part, n, whole, most in told:
        if n > most:
            return f"{n} {part} of {most} {whole}"
    return ""
