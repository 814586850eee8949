"""State on disk: a file is replaced whole, by rename, so a kill at any line leaves the old one."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


def write_whole(path: Path, value: object) -> None:
    """Write a value as JSON, visible to readers all at once."""
    fresh = path.with_name(f".{path.name}.fresh")
    fresh.write_bytes(msgspec.json.encode(value))
    fresh.replace(path)


def read_whole(path: Path, kind: type[T], default: T) -> T:
    """Return the value in a file, `default` if there is no file.

    Raises:
        msgspec.MsgspecError: the file holds something else; guessing would lose orders.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return default
    return msgspec.json.decode(content, type=kind)


def tree_bytes(folder: Path) -> int:
    """Return the sum of the sizes of all files below a folder."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            # Renamed or removed since it was listed: counted next time.
            continue
    return total
