"""What a person reads above the approval form, in markdown. Pure.

Prefect shows it in a column of some 60 characters and hides what is wider: so tables have few and
narrow columns, and everything longer is a sentence.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from edgefleet.fleet.plan import Plan, plan_hash
from edgefleet.fleet.plan_text import plan_table
from edgefleet.fleet.preflight import Preflight
from edgefleet.fleet.release import Release
from edgefleet.model.qualify import Qualification
from edgefleet.report.words import percent, size

_SHIPS: Final = {"fp32": "FP32", "int8": "INT8", "mixed": "mixed"}


def approval_form(
    release: Release,
    found: Qualification,
    made: Plan,
    outlook: Preflight,
    deadline: datetime,
) -> str:
    """Return what is asked, what the lab found, who gets it when, and what will judge it."""
    return "\n\n".join(
        (
            f"## {release.model} version {release.version} to {release.workload}",
            (
                f"`{release.release_id}`, plan `{plan_hash(made)[:12]}`. "
                f"No answer by {deadline:%d %b %Y, %H:%M} UTC means no."
            ),
            _lab(found),
            plan_table(made),
            outlook.text,
        )
    )


def _lab(found: Qualification) -> str:
    ships = _SHIPS[found.precision]
    rows = [
        ("accuracy", percent(found.accuracy_fp32), percent(found.accuracy)),
        ("model file", size(found.size_fp32_bytes), size(found.size_bytes)),
    ]
    race = found.speedup
    if race is not None and found.precision != "fp32":
        rows.append(("one image", f"{race.a_ms:.2f} ms", f"{race.b_ms:.2f} ms"))
    lines = [
        "### In the lab",
        "",
        f"| {found.drop.n} samples | FP32 | ships: {ships} |",
        "|---|---:|---:|",
        *(f"| {name} | {before} | {after} |" for name, before, after in rows),
        "",
        f"Why {ships}: {found.reason}.",
    ]
    if found.against is not None:
        best = found.against
        said = f"Champion {best.champion} has {percent(best.accuracy)} on the same samples"
        lines += ["", f"{said}: drop {best.drop}."]
    if found.excluded:
        lines += ["", f"Left in float: {', '.join(found.excluded)}."]
    if found.cut != "no":
        lines += ["", f"The search was cut short by its budget of {found.cut}."]
    if not found.vnni:
        lines += ["", "Measured on a CPU without VNNI: weights use 7 bits."]
    return "\n".join(lines)
