"""What a person reads above the approval form, in markdown. Pure.

Prefect shows it in a column of some 60 characters and hides what is wider: so tables have few and
narrow columns, and everything longer is a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from edgefleet.fleet.attempts import goes_back_to, rebases
from edgefleet.fleet.finding import Outcome, Verdict
from edgefleet.fleet.forecast import Forecast
from edgefleet.fleet.plan import Plan, plan_hash
from edgefleet.fleet.plan_text import plan_table
from edgefleet.fleet.preflight import Preflight
from edgefleet.fleet.release import Release
from edgefleet.model.qualify import Qualification
from edgefleet.model.yardstick import Timed
from edgefleet.report.words import NONE, duration, percent, size

_EARLIER: Final = 5
"""Releases of the workload that are shown."""
_SHIPS: Final = {"fp32": "FP32", "int8": "INT8", "mixed": "mixed"}


def approval_form(
    release: Release,
    found: Qualification,
    made: Plan,
    outlook: Preflight,
    bringing: Forecast,
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
            _lab(release, found),
            plan_table(made),
            _brought(bringing),
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


def _brought(bringing: Forecast) -> str:
    pace, factories = bringing.pace, bringing.factories
    known: dict[str, list[str]] = {}
    for one in factories:
        known.setdefault(one.measured_in, []).append(one.factory)
    only = len(known) == 1
    unknown = known.pop("", [])
    lines = [
        "### How long the pull takes",
        "",
        "| factory | nodes | over the WAN | last begins |",
        "|---|---:|---:|---:|",
        *(
            f"| {one.factory} | {one.nodes} | "
            f"{NONE if one.wan_s is None else duration(one.wan_s)} | {duration(one.last_s)} |"
            for one in factories
        ),
        "",
        (
            "The last node begins so late at the earliest: in a factory there are at most "
            f"{pace.starts_per_min:g} starts a minute and {pace.nodes_at_once} pulls at once, the "
            "first of them alone, over its WAN."
        ),
    ]
    if known:
        as_in = [f"`{name}`" + _of(where, only=only) for name, where in known.items()]
        lines += ["", f"Each factory taken to be as quick as in {', '.join(as_in)}."]
    if unknown:
        over = f"Over the WAN{_of(unknown, only=only)}"
        lines += ["", f"{over}: not known until a first pull, and not counted."]
    if bringing.late:
        where = ", ".join(bringing.late)
        lines += [
            "",
            (
                f"**Not all of {where} within {duration(pace.timeout_s)} (prepull.timeout_s): "
                "nodes without the package by then keep what they serve.**"
            ),
        ]
    return "\n".join(lines)


def _of(factories: Sequence[str], *, only: bool) -> str:
    """Return of which factories something is said; nothing where it is said of all."""
    return "" if only else f" ({', '.join(factories)})"


def _before(earlier: Sequence[Release]) -> str:
    rows = [
        f"| {release.version} | {release.phase} | {release.changed_at:%d %b %Y, %H:%M} |"
        for release in earlier[:_EARLIER]
    ]
    head = ["### Earlier releases", "", "| version | end | UTC |", "|---|---|---|"]
    return "\n".join([*head, *rows])


def _lab(release: Release, found: Qualification) -> str:
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
    if found.beside is not None:
        lines += ["", _beside(release, found.beside)]
    if found.excluded:
        lines += ["", f"Left in float: {', '.join(found.excluded)}."]
    if found.cut != "no":
        lines += ["", f"The search was cut short by its budget of {found.cut}."]
    if not found.vnni:
        lines += ["", "Measured on a CPU without VNNI: weights use 7 bits."]
    return "\n".join(lines)


def _beside(release: Release, timed: Timed) -> str:
    # A package that is shipped again was measured beside the champion of its own day.
    again = goes_back_to(release) or rebases(release)
    whose = "The champion of its day" if again else "Today's champion"
    race = timed.race
    if race is None:
        return f"{whose}, {timed.champion}, could not be timed here: {timed.problem}."
    return (
        f"{whose}, {timed.champion}, takes {race.a_ms:.2f} ms an image here, this one "
        f"{race.b_ms:.2f} ms: {race.in_words}."
    )
