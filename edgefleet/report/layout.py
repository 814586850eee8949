"""What a story's chapter consists of: headed tables of text, and pictures. No HTML here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; `right` names the columns of numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A heading with what is below it; `note` comes first, lines keep their breaks."""

    heading: str
    note: str = ""
    tables: tuple[Table, ...] = ()
    pictures: tuple[str, ...] = ()
    folded: bool = False
    """Shown when it is opened: the journal, where there is more to see."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """One story."""

    anchor: str
    title: str
    expected: str
    ended: str
    ok: bool
    subject: str
    why: str
    """Of its phase; empty: the ledger does not say."""
    parts: tuple[Part, ...]


def drawn(*pictures: str) -> tuple[str, ...]:
    """Return the pictures that there was something to draw for."""
    return tuple(picture for picture in pictures if picture)
