"""Which earlier release a rollback goes to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgefleet.edge.contract import Digest
from edgefleet.errors import Refused
from edgefleet.fleet.attempts import goes_back_to
from edgefleet.fleet.release import Phase, Release


def ended_well(releases: Iterable[Release], packages: Mapping[str, Digest]) -> dict[str, Release]:
    """Return the releases by id that ended RELEASED with a package, in their order."""
    return {
        release.release_id: release
        for release in releases
        if release.phase is Phase.RELEASED and release.release_id in packages
    }


def refuse_unclear(releases: Iterable[Release]) -> None:
    """Refuse to guess what is meant while a release with a package of its own is under way.

    Raises:
        Refused: one is.
    """
    moving = next((one for one in releases if one.live and not goes_back_to(one)), None)
    if moving:
        remedy = f"`edgefleet abort {moving.release_id}` takes it back; to go further, name --to"
        raise Refused(moving.release_id, f"is {moving.phase}, not yet the champion", remedy)


def named(
    workload: str, releases: Iterable[Release], packages: Mapping[str, Digest], to: str
) -> Release:
    """Return the release whose package is meant by `to`; empty: the champion's.

    `releases` are the workload's, newest first; `packages` what they shipped, by release.

    Raises:
        Refused: it is none of the workload's that ended RELEASED.
    """
    known = ended_well(releases, packages)
    if not known:
        raise Refused(workload, "no release of it has ended as released yet", "Release a version")
    if not to:
        return next(iter(known.values()))
    if to not in known:
        problem = f"is no release of {workload} that ended as released"
        raise Refused(to, problem, f"Name one of {', '.join(known)}")
    return known[to]


def before_champion(
    workload: str, releases: Iterable[Release], packages: Mapping[str, Digest]
) -> Release:
    """Return the newest release that ended RELEASED before the champion's package first did.

    So after a rollback the way does not lead forward again, to what was rolled back from.

    Raises:
        Refused: there is none, or the workload has no champion.
    """
    known = ended_well(releases, packages)
    champion = packages[named(workload, known.values(), packages, "").release_id]
    ids = list(known)
    first = max(place for place, one in enumerate(ids) if packages[one] == champion)
    if first + 1 == len(ids):
        others = [one for one in ids if packages[one] != champion]
        remedy = f"Name one with --to: {', '.join(others)}" if others else "Release another version"
        raise Refused(workload, f"nothing was released before {ids[first]}", remedy)
    return known[ids[first + 1]]
