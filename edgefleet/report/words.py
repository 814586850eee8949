"""Numbers as the report writes them, each with its unit."""

from __future__ import annotations

from datetime import datetime

NONE = "-"


def percent(share: float | None) -> str:
    """Return a share 0..1 in per cent."""
    return NONE if share is None else f"{100 * share:.1f} %"


def size(count: float) -> str:
    """Return bytes in the unit that suits them, decimal."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.2f} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """Return a length of time."""
    minute, hour = 60, 3600
    if seconds < minute:
        return f"{seconds:.1f} s"
    if seconds < hour:
        return f"{int(seconds // minute)} min {int(seconds % minute)} s"
    return f"{int(seconds // hour)} h {int(seconds % hour // minute)} min"


def clock(at: datetime) -> str:
    """Return the time of day."""
    return f"{at:%H:%M:%S}"


def whole(count: float) -> str:
    """Return a whole number with its thousands apart."""
    return f"{count:,.0f}"


def signed(value: float | None, unit: str) -> str:
    """Return a difference with its sign."""
    return NONE if value is None else f"{value:+.2f} {unit}"


def short(digest: str | None) -> str:
    """Return the first twelve digits of a digest."""
    return "nothing" if digest is None else digest[:19]
