"""Registrations that ask for a release: who asks, who is admitted, and what the registry is told.

The ledger's unique row decides; the registry's tag only says that a version asks no more, so that
the search for those that do stays short. Done again after a kill, each step finds what is left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from prefect import task

from edgefleet.errors import Refused
from edgefleet.fleet.release import Admission, Release
from edgefleet.fleet.trigger import (
    ADMITTED,
    RELEASE_TAG,
    SUPERSEDED,
    Decided,
    decide,
    displaced,
    first_look,
)
from edgefleet.ports import ModelVersion
from edgefleet.settings import Settings
from edgefleet.spec import On, Spec, parse_spec
from edgefleet.wiring import world
from edgefleet.written import read
from tasks.policy import LOOK

ASKED_BY: Final = "watch"


@dataclass(frozen=True, slots=True)
class Written:
    """A spec, and the text that a release freezes."""

    spec: Spec
    text: str


def written_specs() -> tuple[tuple[Written, ...], tuple[str, ...]]:
    """Return every spec of the folder that can be read, and what is wrong with the others."""
    found, troubles = [], []
    for file in Settings().spec_files():
        try:
            text = read(file, "a spec file")
            found.append(Written(parse_spec(text, str(file)), text))
        except Refused as error:
            troubles.append(str(error))
    return tuple(found), tuple(troubles)


@task(name="ask for registrations", **LOOK)
def ask_registry(model: str, on: On, after: int | None) -> tuple[ModelVersion, ...]:
    """Return the versions that ask for a release; see `Models.asking`."""
    return world().models.asking(model, on, after)


def past_of(spec: Spec) -> int | None:
    """Return up to which version none is released by itself; None: the workload is new here."""
    return world().ledger.past(spec.workload, spec.model, spec.on)


def settle(written: Written, asking: Iterable[ModelVersion]) -> tuple[Decided, dict[int, Release]]:
    """Decide about a workload's registrations and admit; return also all releases by version."""
    here, spec = world(), written.spec
    now = here.clock.now()
    numbers = sorted(int(version.version) for version in asking)
    known = {
        int(release.version): release
        for release in reversed(here.ledger.releases(spec.workload))
        if release.model == spec.model
    }
    past = past_of(spec)
    if past is None:
        past = first_look(spec.on, numbers, known)
        here.ledger.set_past(spec.workload, spec.model, spec.on, past)
    frozen = spec.frozen(now.date()) is not None
    decided = decide(spec.on, spec.newer, numbers, known, past, frozen=frozen)
    for version in decided.admit:
        admission = Admission(
            spec.workload, spec.fleet, spec.model, str(version), ASKED_BY, written.text
        )
        known[version] = here.ledger.admit(admission, now)[0]
    if spec.on == "any" and not frozen:
        here.ledger.set_past(spec.workload, spec.model, spec.on, max(numbers, default=past))
    return decided, known


def give_way(workload: str) -> tuple[str, ...]:
    """Ask an abort for every release whose place a later one takes; return their ids."""
    here = world()
    releases = here.ledger.releases(workload)
    ids = displaced(releases)
    for release_id in ids:
        why = f"superseded by {releases[0].release_id}"
        here.ledger.ask_abort(release_id, why, here.clock.now())
    return ids


def answer_registry(version: ModelVersion, releases: Iterable[Release]) -> None:
    """Tell the registry that a version asks no more: some workload released it, or none will."""
    by = sorted(release.release_id for release in releases)
    tags = {RELEASE_TAG: ADMITTED if by else SUPERSEDED}
    if not by:
        tags["edgefleet.state"] = SUPERSEDED
    world().models.record(version.model, version.version, tags)
