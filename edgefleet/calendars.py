"""When something may happen: maintenance windows of factories, and days without releases."""

from __future__ import annotations

from datetime import date, time
from typing import Annotated, Final, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ConfigDict, Field, field_validator, model_validator

from edgefleet.written import Part

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: Final[tuple[Day, ...]] = get_args(Day)


class MaintenanceWindow(Part):
    """When nodes of some factories may be changed; where none is given, and back: always."""

    factories: tuple[str, ...] = ()
    """Names of the factories; empty: all."""
    days: tuple[Day, ...] = DAYS
    """On which it begins."""
    opens: time
    """By the clock on the factory's wall, `"22:00"`."""
    closes: time
    """The same; not after `opens`: on the next day."""
    timezone: str = "UTC"
    """Whose clock that is, as `Europe/Berlin`."""

    @field_validator("opens", "closes", mode="before")
    @classmethod
    def _of_a_day(cls, value: object) -> object:
        """Undo YAML's own reading: without quotes 22:00 is the number 22 * 60 + 0."""
        if not isinstance(value, int):
            return value
        hours, minutes = divmod(value, 60)
        if not 1 <= hours < 24:  # noqa: PLR2004 - a plain number gives no whole hour
            message = 'is no time of a day, write "22:00"'
            raise ValueError(message)
        return time(hours, minutes)

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            message = "no time zone of this name is known here"
            raise ValueError(message) from error
        return value


class Freeze(Part):
    """Days on which no release starts, but by hand with `edgefleet release --urgent`."""

    model_config = ConfigDict(serialize_by_alias=True)

    first: Annotated[date, Field(alias="from")]
    """The first day, in UTC."""
    last: Annotated[date, Field(alias="to")]
    """The last day, which belongs to it."""
    reason: Annotated[str, Field(min_length=1)]
    """Why; whoever waits is told."""

    @model_validator(mode="after")
    def _ordered(self) -> Freeze:
        if self.last < self.first:
            raise ValueError(f"it ends on {self.last}, before it begins on {self.first}")
        return self

    def __str__(self) -> str:
        return f"frozen from {self.first} to {self.last} ({self.reason})"
