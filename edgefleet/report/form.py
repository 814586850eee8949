"""What a person reads above the approval form, in markdown. Pure.

Prefect shows it in a column of some 60 characters and hides what is wider: so tables have few and
narrow columns, and everything longer is a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from edgefleet.fleet.finding import Outcome, Verdict
from edgefleet.fleet.plan import Plan, plan_hash
from edgefleet.fleet.plan_text import plan_table
from edgefleet.fleet.preflight import Preflight
from edgefleet.fleet.release import Release
from edgefleet.model.qualify import Qualification
from edgefleet.report.words import duration, percent, size
from edgefleet.spec import Prepull

_EARLIER: Final = 5
"""Releases of the workload that are shown."""
_SHIPS: Final = {"fp32": "FP32", "int8": "INT8", "mixed": "mixed"}


def approval_form(
    release: Release,
    found: Qualification,
    made: Plan,
    outlook: Preflight,
    pace: Prepull,
    earlier: Sequence[Release],
    deadline: datetime,
) -> str:
    """Return what is asked, what the lab found, who gets it when, and what will judge it.

    `earlier`: the workload's ended releases, newest first.
    """
    return "\n\n".join(
        (
            f"## {release.model} version {release.version} to {release.workload}",
            (
                f"`{release.release_id}`, asked for by {release.asked_by}; "
                f"plan `{plan_hash(made)[:12]}`. "
                f"No answer by {deadline:%d %b %Y, %H:%M} UTC means no."
            ),
            _lab(found),
            plan_table(made),
            _paced(made, pace),
            outlook.text,
            *([_before(earlier)] if earlier else []),
        )
    )


def confirmation_form(release: Release, made: Plan, verdict: Verdict, deadline: datetime) -> str:
    """Return what the canary has shown, and what a yes will do."""
    rest = sum(len(wave.changes) for wave in made.waves[1:])
    canary = len(made.waves[0].changes)
    passed = verdict.outcome is Outcome.PASS
    how = "has passed" if passed else "has neither passed nor failed, and its time is up"
    return "\n\n".join(
        (
            f"## {release.model} version {release.version} to {rest} more nodes",
            (
                f"`{release.release_id}`: its canary of {canary} nodes {how}. Approve: the "
                f"other {rest} nodes follow, wave by wave. Reject, or no answer by "
                f"{deadline:%d %b %Y, %H:%M} UTC: the canary goes back."
            ),
            f"### Verdict after {verdict.look} windows",
            "\n".join(f"- {line}" for line in verdict.text.splitlines()),
            f"Its pictures: artifact `verdict-{release.release_id}`.",
        )
    )


def _paced(made: Plan, pace: Prepull) -> str:
    factory, nodes = max(made.nodes_of.items(), key=lambda one: len(one[1]))
    last = duration(60 * (len(nodes) - 1) / pace.starts_per_min)
    return (
        f"At {pace.starts_per_min:g} a minute and {pace.nodes_at_once} at once in a factory, the "
        f"last of the {len(nodes)} nodes in {factory} begins after {last} at the earliest."
    )


def _before(earlier: Sequence[Release]) -> str:
    rows = [
        f"| {release.version} | {release.phase} | {release.changed_at:%d %b %Y, %H:%M} |"
        for release in earlier[:_EARLIER]
    ]
    head = ["### Earlier releases", "", "| version | end | UTC |", "|---|---|---|"]
    return "\n".join([*head, *rows])


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
        said = f"Best champion {best.champion} has {percent(best.accuracy)} on the same samples"
        lines += ["", f"{said}: drop {best.drop}."]
    if found.excluded:
        lines += ["", f"Left in float: {', '.join(found.excluded)}."]
    if found.cut != "no":
        lines += ["", f"The search was cut short by its budget of {found.cut}."]
    if not found.vnni:
        lines += ["", "Measured on a CPU without VNNI: weights use 7 bits."]
    return "\n".join(lines)
