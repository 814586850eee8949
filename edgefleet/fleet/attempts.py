"""What a release ships that is no registration: its attempt says it, where the ledger admits it.

The ledger lets each attempt at a version be one release. So whoever asks for the same again gets
the same, until it has ended; then it is a further attempt. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from edgefleet.fleet.release import Release

_BACK: Final = re.compile(r"back to (\S+) from \S+, \d+")
_BASE: Final = re.compile(r"new base for (\S+), \d+")


def back_attempt(goal: str, champion: str, releases: Iterable[Release]) -> str:
    """Return the attempt of a rollback to a release's package; `releases` are the workload's."""
    return _numbered(f"back to {goal} from {champion}", releases)


def base_attempt(champion: str, releases: Iterable[Release]) -> str:
    """Return the attempt of a release that brings the champion's model on a new base."""
    return _numbered(f"new base for {champion}", releases)


def goes_back_to(release: Release) -> str:
    """Return the release whose package a release ships as it is; empty: it makes its own."""
    found = _BACK.fullmatch(release.attempt)
    return found.group(1) if found else ""


def rebases(release: Release) -> str:
    """Return the release whose model a release ships on a new base; empty: it does not."""
    found = _BASE.fullmatch(release.attempt)
    return found.group(1) if found else ""


def _numbered(what: str, releases: Iterable[Release]) -> str:
    ended = sum(not one.live and one.attempt.rpartition(", ")[0] == what for one in releases)
    return f"{what}, {ended + 1}"
