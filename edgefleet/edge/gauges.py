"""The newest closed windows as Prometheus gauges, and a record read back from them.

For a factory that the centre cannot scrape: an agent there scrapes `/metrics` and forwards it. What
is shown are whole records, not counters, so that the centre gets the very values that
`/metrics/windows` gives. A window is in the slot of its number modulo SHOWN and stays for as many
windows, so that a missed scrape costs nothing, and labels that come meanwhile are in a later one.
A record is as many series as it has counts that are not zero; one more says how many these are,
since what is forwarded arrives in parts, and a part must not pass for the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from edgefleet.edge.contract import Evidence
from edgefleet.edge.tally import SUMS

SHOWN: Final = 6
"""Windows: a release reads the newest one and five before it again, for late labels."""
PREFIX: Final = "edge_window_"
SECONDS: Final = "edge_window_seconds"
"""The length of a window; it has no labels."""
LABELS: Final = ("slot", "digest", "boot", "warm")
BUCKET: Final = "bucket"
_COUNTS: Final = frozenset({*SUMS, "queue_peak"})


class Part(NamedTuple):
    """What one series of a record says: its name without the prefix, and a bucket of latency."""

    field: str
    bucket: str = ""


NUMBER: Final = Part("number")
"""The window's number. It also says: the node was there, whether or not anybody asked."""
PARTS: Final = Part("parts")
"""How many counts belong to the record."""


def parts_of(record: Evidence) -> dict[Part, int]:
    """Return the values of a record's series; counts of zero have none."""
    counts = {
        **{Part(name): getattr(record, name) for name in sorted(_COUNTS)},
        **{Part("latency", str(bucket)): count for bucket, count in record.latency},
    }
    counts = {part: count for part, count in counts.items() if count}
    return {NUMBER: record.window, PARTS: len(counts), **counts}


def labels_of(record: Evidence) -> dict[str, str]:
    """Return the labels that all series of a record have."""
    slot, warm = str(record.window % SHOWN), "true" if record.warm else "false"
    return dict(zip(LABELS, (slot, record.digest, record.boot, warm), strict=True))


def record_of(labels: Mapping[str, str], values: Mapping[Part, int]) -> Evidence | None:
    """Return the record of one scrape's series with the same labels.

    None: a part of it has not arrived, or a value is none that a node could have counted. Counts
    that only a newer node knows are left out.
    """
    counts = {part: value for part, value in values.items() if part not in {NUMBER, PARTS}}
    if NUMBER not in values or values.get(PARTS) != len(counts):
        return None
    latency = [
        (int(part.bucket), count)
        for part, count in counts.items()
        if part.field == "latency" and part.bucket.isdecimal()
    ]
    told = {
        "window": values[NUMBER],
        "digest": labels["digest"],
        "boot": labels["boot"],
        "warm": labels["warm"] == "true",
        "latency": sorted(latency),
        **{part.field: value for part, value in counts.items() if part.field in _COUNTS},
    }
    try:
        return msgspec.convert(told, Evidence)
    except msgspec.ValidationError:
        return None


def exposition(records: Iterable[Evidence], window_s: float) -> bytes:
    """Return records, of SHOWN successive windows at most, in Prometheus's text format.

    Written by hand: the client library takes thirty times as long.
    """
    families: dict[str, list[str]] = {}
    for record in records:
        common = ",".join(f'{name}="{_plain(text)}"' for name, text in labels_of(record).items())
        for part, value in parts_of(record).items():
            labels = f'{common},{BUCKET}="{part.bucket}"' if part.bucket else common
            lines = families.setdefault(PREFIX + part.field, [])
            lines.append(f"{PREFIX}{part.field}{{{labels}}} {value}\n")
    lines = [f"# TYPE {SECONDS} gauge\n{SECONDS} {window_s}\n"]
    for name, of in families.items():
        lines += [f"# TYPE {name} gauge\n", *of]
    return "".join(lines).encode()


def _plain(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
