"""One release's story, read back from the ledger. What was never written is None or empty.

A refused release has a journal and little more: nothing here takes a document for granted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from edgefleet.documents import decode
from edgefleet.edge.contract import Digest, Evidence
from edgefleet.fleet.approval import Decision
from edgefleet.fleet.book import Reading, entered
from edgefleet.fleet.finding import Verdict
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.preflight import Preflight
from edgefleet.fleet.release import Release
from edgefleet.fleet.slices import Slice
from edgefleet.fleet.stage import StageReport
from edgefleet.model.qualify import Qualification
from edgefleet.ports import Entry, Image, Ledger
from edgefleet.spec import Spec, parse_spec

T = TypeVar("T")
Records = Mapping[str, tuple[Evidence, ...]]


class Seen(msgspec.Struct, frozen=True):
    """A stored look, without its gate's state."""

    window: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ReleaseStory:
    """All that the ledger holds about one release."""

    release: Release
    spec: Spec
    journal: tuple[Entry, ...]
    qualification: Qualification | None = None
    package: Image | None = None
    plan: Plan | None = None
    """The last one, which is the one that was carried out."""
    preflight: Preflight | None = None
    decisions: tuple[Decision, ...] = ()
    pulls: tuple[StageReport, ...] = ()
    changed: Mapping[int, tuple[StageReport, ...]] = field(default_factory=dict)
    """By the wave's index in the plan."""
    reverted: Mapping[int, tuple[StageReport, ...]] = field(default_factory=dict)
    """By the try, from 0."""
    looks: tuple[Seen, ...] = ()
    slices: tuple[Slice, ...] = ()
    """Of the last look, if it decided."""
    evidence: Records = field(default_factory=dict)
    """By node; what was read again later is there once, as it was read last."""

    @property
    def verdict(self) -> Verdict | None:
        """The last look's."""
        return self.looks[-1].verdict if self.looks else None


def gather(ledger: Ledger, release_id: str) -> ReleaseStory:
    """Return what the ledger holds.

    Raises:
        Refused: it knows no such release.
    """
    plans = _all(ledger, release_id, "plan", Plan)
    preflights = _all(ledger, release_id, "preflight", Preflight)
    return ReleaseStory(
        release=ledger.release(release_id),
        spec=parse_spec(ledger.spec(release_id), f"spec of {release_id}"),
        journal=ledger.journal(release_id),
        qualification=_all(ledger, release_id, "qualification", Qualification).get(0),
        package=_all(ledger, release_id, "package", Image).get(0),
        plan=_last(plans),
        preflight=_last(preflights),
        decisions=tuple(_all(ledger, release_id, "decision", Decision).values()),
        pulls=_all(ledger, release_id, "pulls", tuple[StageReport, ...]).get(0, ()),
        changed=_all(ledger, release_id, "changed", tuple[StageReport, ...]),
        reverted=_all(ledger, release_id, "reverted", tuple[StageReport, ...]),
        looks=tuple(_all(ledger, release_id, "look", Seen).values()),
        slices=_all(ledger, release_id, "slices", tuple[Slice, ...]).get(0, ()),
        evidence=_evidence(ledger, release_id),
    )


def _all(ledger: Ledger, release_id: str, kind: str, form: type[T]) -> dict[int, T]:
    return {
        number: decode(body, form) for number, body in sorted(ledger.all(release_id, kind).items())
    }


def _last(numbered: Mapping[int, T]) -> T | None:
    return numbered[max(numbered)] if numbered else None


def _evidence(ledger: Ledger, release_id: str) -> Records:
    """Return every node's records; a later reading replaces the windows that it covers."""
    book: Records = {}
    for reading in _all(ledger, release_id, "reading", Reading).values():
        book = entered(book, reading)
    return book


def package_names(ledger: Ledger) -> Mapping[Digest, str]:
    """Return what to call each package: the model and the version that it was first made from."""
    names: dict[Digest, str] = {}
    for release in reversed(ledger.releases()):
        body = ledger.get(release.release_id, "package", 0)
        if body is not None:
            packed = decode(body, Image).digest
            names.setdefault(packed, f"{release.model} {release.version}")
    return names
