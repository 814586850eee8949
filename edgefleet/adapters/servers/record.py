"""What is remembered of a started program: one small file, enough to find it and end it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from edgefleet.adapters.servers import kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A program that was started."""

    name: str
    pid: int
    started: int
    boot: str
    mark: str
    fingerprint: str
    port: int
    ready_urls: tuple[str, ...]
    endpoints: Mapping[str, str]
    stop_s: float

    @property
    def leader(self) -> kernel.Proc | None:
        """The process that was started, None if it has ended."""
        if self.boot != kernel.boot_id():
            return None
        process = kernel.Proc(self.pid, self.started)
        return process if process.alive else None

    def end(self) -> None:
        """End it and all that descend from it."""
        kernel.end(self.leader, self.mark, self.stop_s)

    def write(self, folder: Path) -> None:
        """Store it, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{self.name}.json", asdict(self))


def write_json(file: Path, content: Mapping[str, object]) -> None:
    """Replace a file in one step."""
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
    draft.replace(file)


def read_records(folder: Path) -> dict[str, Record]:
    """Return all records by name, oldest start first; one that cannot be read is no record."""
    records = []
    for file in folder.glob("*.json"):
        try:
            records.append(Record(**json.loads(file.read_text(encoding="utf-8"))))
        except (ValueError, TypeError):
            continue
    return {record.name: record for record in sorted(records, key=lambda one: one.started)}
