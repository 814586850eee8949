"""From a Prometheus's answer to the records that nodes showed: pure, and deaf to nonsense.

All series of one node, slot, digest, boot and warmth with the same time are one scrape, and say one
record. The same record is in many scrapes, and only grows: of all whole ones the fullest is the
newest, whichever clock stamped it and whichever of two servers of a node showed it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgefleet.adapters.prometheus_http import Series
from edgefleet.edge.contract import Evidence
from edgefleet.edge.gauges import BUCKET, LABELS, PREFIX, SECONDS, Part, record_of
from edgefleet.edge.tally import Key, key_of

NODE = "node"
FACTORY = "factory"
_EXACT = 2**53
"""Whole numbers below are whole in a sample."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A record of which every part has arrived."""

    weight: int
    """The sum of its counts: a later state of the same record has more."""
    record: Evidence


@dataclass(slots=True)
class Sighting:
    """What was seen of one node."""

    at: float
    """When it was last scraped, unix seconds."""
    window_s: float
    records: dict[Key, Whole] = field(default_factory=dict)

    def add(self, other: Sighting) -> None:
        """Add what was seen of the same node in another answer."""
        if other.at > self.at:
            self.at, self.window_s = other.at, other.window_s
        keep(self.records, other.records)


def keep(known: dict[Key, Whole], seen: Mapping[Key, Whole]) -> None:
    """Put what was seen into what is known, where it is fuller."""
    for key, whole in seen.items():
        before = known.get(key)
        if before is None or whole.weight > before.weight:
            known[key] = whole


_Scrapes = defaultdict[float, dict[Part, int]]


def sightings(
    answer: Iterable[Series], factories: Mapping[str, str]
) -> tuple[dict[str, Sighting], frozenset[tuple[str, str]]]:
    """Return what an answer shows of the nodes in `factories` (node -> its factory).

    Beside it: nodes, with the name of another factory whose series carry that node's name. They are
    not counted; series without any factory are.
    """
    found: dict[str, Sighting] = {}
    strangers: set[tuple[str, str]] = set()
    scrapes: dict[tuple[tuple[str, str], ...], _Scrapes] = {}
    for series in answer:
        labels = series.metric
        node = labels.get(NODE, "")
        if node not in factories:
            continue
        if labels.get(FACTORY, factories[node]) != factories[node]:
            strangers.add((node, labels[FACTORY]))
        elif labels.get("__name__") == SECONDS:
            _seen(found, node, series)
        elif all(label in labels for label in LABELS):
            _sort_in(scrapes, series)
    for of, by_time in scrapes.items():
        labels = dict(of)
        sighting = found.get(labels[NODE])
        # Without a window's length there is no time to a number: its other part is on the way.
        if sighting is not None:
            for values in by_time.values():
                _keep_whole(sighting.records, labels, values)
    return found, frozenset(strangers)


def _seen(found: dict[str, Sighting], node: str, series: Series) -> None:
    for at, text in series.values:
        window_s = _number(text)
        if window_s:
            found.setdefault(node, Sighting(at, window_s)).add(Sighting(at, window_s))


def _sort_in(scrapes: dict[tuple[tuple[str, str], ...], _Scrapes], series: Series) -> None:
    labels = series.metric
    bucket = labels.get(BUCKET, "")
    part = Part(labels.get("__name__", "").removeprefix(PREFIX), bucket)
    of = tuple(sorted(pair for pair in labels.items() if pair[0] not in {"__name__", BUCKET}))
    by_time = scrapes.setdefault(of, defaultdict(dict))
    for at, text in series.values:
        value = _number(text)
        if value is not None and value.is_integer():
            by_time[at][part] = int(value)


def _keep_whole(
    records: dict[Key, Whole], labels: Mapping[str, str], values: Mapping[Part, int]
) -> None:
    record = record_of(labels, values)
    if record is not None:
        keep(records, {key_of(record): Whole(sum(values.values()), record)})


def _number(text: str) -> float | None:
    """Return a sample's value; None: it is none that a node could have shown."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < _EXACT else None
