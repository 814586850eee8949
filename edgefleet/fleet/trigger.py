"""Which registered versions become releases by themselves: pure, one workload at a time.

Versions are the registry's numbers, oldest first. Nothing is lost when whoever carries a decision
out dies in the middle: decided again, from what then holds, it names what is left to do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from edgefleet.fleet.release import UNTOUCHED, Release
from edgefleet.spec import Newer, On

RELEASE_TAG: Final = "edgefleet.release"
"""Of a registered version: `REQUESTED` asks for a release, anything else is the answer."""
REQUESTED: Final = "requested"
ADMITTED: Final = "admitted"
SUPERSEDED: Final = "superseded"
CANDIDATE: Final = "candidate"
"""The alias that asks for a release of the version it points at."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What becomes of the versions that ask: each that has no release yet is in one of these."""

    admit: tuple[int, ...]
    """To be admitted, in this order."""
    past: tuple[int, ...]
    """Never released by themselves: a newer one took their place, or they are older than the
    watch."""
    waiting: tuple[int, ...]
    """For the end of a freeze."""


def first_look(on: On, asking: Sequence[int], answered: Collection[int]) -> int:
    """Return the version up to which all are past, when a workload is watched for the first time.

    A tag asks for one version, so whatever came after the newest release is wanted. With `any`
    nobody asked for what was there before the watch: the newest shows the workload what is current.
    An alias points at one version, and the same way at its first look as at any other.
    """
    if on == "any":
        return max(asking, default=0) - 1
    return max(answered, default=0) if on == "tag" else 0


def decide(
    on: On,
    newer: Newer,
    asking: Sequence[int],
    answered: Collection[int],
    past: int,
    *,
    frozen: bool,
) -> Decided:
    """Return what becomes of the versions that ask.

    `answered`: those with a release of this workload, however it was asked for; `past`: up to it no
    version is released by itself.
    """
    if on == "alias":
        past = 0  # whoever moves it to an older version means that version
    elif newer == "supersede":
        past = max(past, max(answered, default=0))
    new = sorted(set(asking) - set(answered))
    gone = tuple(version for version in new if version <= past)
    wanted = tuple(version for version in new if version > past)
    if frozen:
        return Decided((), gone, wanted)
    if newer == "supersede":
        return Decided(wanted[-1:], gone + wanted[:-1], ())
    return Decided(wanted, gone, ())


def displaced(releases: Iterable[Release]) -> tuple[str, ...]:
    """Return a workload's live releases whose place a later one takes, under `supersede`.

    One that moves nodes, or has moved some, is let finish: to stop in the middle would bring all of
    them back, and out again with the newer version: two changes instead of one, and no verdict
    about either.
    """
    live = [release for release in releases if release.live]
    newest = max((release.generation for release in live), default=0)
    return tuple(
        release.release_id
        for release in live
        if release.generation < newest and release.phase in UNTOUCHED and not release.abort_asked
    )
