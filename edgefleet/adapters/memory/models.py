"""A model registry in this process, with the tags and the rules of the real one."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgefleet.adapters.memory.clock import MemoryClock
from edgefleet.adapters.mlflow import CONTENT_TAG
from edgefleet.adapters.mlflow_submission import content, digests, read_card
from edgefleet.errors import Refused
from edgefleet.fleet.trigger import CANDIDATE, RELEASE_TAG, REQUESTED
from edgefleet.ports import Clock, ModelVersion
from edgefleet.spec import On


@dataclass(slots=True)
class _Shelf:
    """One model: versions with their files, and where aliases point."""

    versions: dict[str, ModelVersion] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)


class MemoryModels:
    """Implements `ports.Models`; safe for threads."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or MemoryClock()
        self._shelves: dict[str, _Shelf] = {}
        self._lock = threading.RLock()

    def versions(self, model: str) -> tuple[ModelVersion, ...]:
        """Return all versions of a model, newest first; an unknown model has none."""
        with self._lock:
            shelf = self._shelves.get(model, _Shelf())
            found = sorted(shelf.versions, key=int, reverse=True)
            return tuple(_seen(shelf, version) for version in found)

    def asking(self, model: str, on: On, after: int | None) -> tuple[ModelVersion, ...]:
        """Return the versions that ask for a release in that way, oldest first."""
        all_of_them = self.versions(model)
        match on:
            case "tag":
                found = [v for v in all_of_them if v.tags.get(RELEASE_TAG) == REQUESTED]
            case "alias":
                found = [v for v in all_of_them if CANDIDATE in v.aliases]
            case "any" if after is None:
                found = list(all_of_them[:1])
            case "any":
                found = [v for v in all_of_them if int(v.version) > after]
        return tuple(replace(version, aliases=()) for version in reversed(found))

    def register(self, folder: Path, metrics: Mapping[str, float]) -> ModelVersion:
        """Register a submission folder; the same content again is the version it has.

        Raises:
            Refused: the folder lacks the model or its card.
        """
        card = read_card(folder)
        found = digests(folder)
        identity = content(found)
        files = {name: (folder / name).read_bytes() for name in found}
        with self._lock:
            shelf = self._shelves.setdefault(card.model, _Shelf())
            for version, known in shelf.versions.items():
                if known.tags[CONTENT_TAG] == identity:
                    return _seen(shelf, version)
            version = str(len(shelf.versions) + 1)
            shelf.files[version] = files
            shelf.metrics[version] = dict(metrics)
            tags = {CONTENT_TAG: identity, RELEASE_TAG: REQUESTED}
            now = self._clock.now()
            shelf.versions[version] = ModelVersion(card.model, version, now, tags)
            return _seen(shelf, version)

    def metrics(self, model: str, version: str) -> Mapping[str, float]:
        """Return what a version was registered with; Refused when there is no such version."""
        with self._lock:
            return dict(self._shelf(model, version).metrics[version])

    def fetch(self, model: str, version: str, folder: Path) -> None:
        """Write a submission folder; Refused when there is no such version."""
        with self._lock:
            files = self._shelf(model, version).files[version]
        for name, body in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(body)

    def record(self, model: str, version: str, tags: Mapping[str, str]) -> None:
        """Write what became of a version; Refused when there is no such version."""
        with self._lock:
            shelf = self._shelf(model, version)
            known = shelf.versions[version]
            shelf.versions[version] = replace(known, tags={**known.tags, **tags})

    def alias(self, model: str, alias: str, version: str) -> None:
        """Point an alias at a version; Refused when there is no such version."""
        with self._lock:
            self._shelf(model, version).aliases[alias] = version

    def _shelf(self, model: str, version: str) -> _Shelf:
        shelf = self._shelves.get(model)
        if shelf is None or version not in shelf.versions:
            known = ", ".join(shelf.versions) if shelf else "none"
            subject = f"model {model} version {version}"
            raise Refused(subject, f"is not registered (known: {known})", "Register it")
        return shelf


def _seen(shelf: _Shelf, version: str) -> ModelVersion:
    aliases = (alias for alias, target in shelf.aliases.items() if target == version)
    return replace(shelf.versions[version], aliases=tuple(sorted(aliases)))
