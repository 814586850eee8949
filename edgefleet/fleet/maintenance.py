"""When a factory may be changed: its maintenance windows, by the clock on its wall. Pure.

A factory that no window names is open at all times. A window whose end is not after its beginning
goes over midnight, and belongs to the day on which it begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from edgefleet.calendars import DAYS, MaintenanceWindow

_AHEAD_DAYS: Final = 15
"""A weekly window that lies in the hour which a change to summer time leaves out comes again within
two weeks."""
_HALF_HOUR: Final = timedelta(minutes=30)


def is_open(windows: Sequence[MaintenanceWindow], factory: str, now: datetime) -> bool:
    """Say whether nodes of a factory may be changed at a time (aware)."""
    mine = _of(windows, factory)
    return not mine or any(_within(window, now) for window in mine)


def turns_at(windows: Sequence[MaintenanceWindow], factory: str, now: datetime) -> datetime | None:
    """Return when an open factory closes next, or a closed one opens (UTC); None: it never does."""
    mine = _of(windows, factory)
    if not mine:
        return None
    before = is_open(mine, factory, now)
    for moment in sorted(_moments(mine, now)):
        if moment > now and is_open(mine, factory, moment) != before:
            return moment
    return None


def opens_at(windows: Sequence[MaintenanceWindow], factory: str, now: datetime) -> datetime | None:
    """Return when a closed factory opens next (UTC); None: it is open now."""
    if is_open(windows, factory, now):
        return None
    return turns_at(windows, factory, now) or now + timedelta(days=_AHEAD_DAYS)


def closes_at(windows: Sequence[MaintenanceWindow], factory: str, now: datetime) -> datetime | None:
    """Return when an open factory closes next (UTC); None: it does not, or is closed now."""
    return turns_at(windows, factory, now) if is_open(windows, factory, now) else None


def _of(windows: Sequence[MaintenanceWindow], factory: str) -> list[MaintenanceWindow]:
    return [window for window in windows if not window.factories or factory in window.factories]


def _within(window: MaintenanceWindow, now: datetime) -> bool:
    there = now.astimezone(ZoneInfo(window.timezone))
    at, today = there.time(), there.weekday()
    if window.opens < window.closes:
        return window.opens <= at < window.closes and DAYS[today] in window.days
    begun_today = at >= window.opens and DAYS[today] in window.days
    begun_yesterday = at < window.closes and DAYS[today - 1] in window.days
    return begun_today or begun_yesterday


def _moments(windows: Sequence[MaintenanceWindow], now: datetime) -> set[datetime]:
    """Return every time from now on at which a window may begin or end.

    Clocks are put forward and back at a full or half hour UTC.
    """
    first = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    found = {first + n * _HALF_HOUR for n in range(_AHEAD_DAYS * 48)}
    for window in windows:
        zone = ZoneInfo(window.timezone)
        today = now.astimezone(zone).date()
        for day in range(_AHEAD_DAYS + 1):
            date = today + timedelta(days=day)
            for at in (window.opens, window.closes, time()):
                for fold in (0, 1):
                    local = datetime.combine(date, at.replace(fold=fold), zone)
                    found.add(local.astimezone(UTC))
    return found
