"""What the centre may drop: how long that is kept which no release goes back to. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from edgefleet.fleet.release import Release


def spent(releases: Iterable[Release], now: datetime, keep: timedelta) -> frozenset[str]:
    """Return the ids of releases that ended longer than `keep` ago."""
    return frozenset(
        release.release_id
        for release in releases
        if not release.live and now - release.changed_at > keep
    )
