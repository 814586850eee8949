"""What the lab found, as a part of the page."""

from __future__ import annotations

from edgefleet.model.evaluate import Drop, Race
from edgefleet.model.qualify import Qualification
from edgefleet.report.drawings import draw_trace
from edgefleet.report.gather import ReleaseStory
from edgefleet.report.layout import Part, Table, drawn
from edgefleet.report.words import NONE, percent, size, whole


def qualification(story: ReleaseStory) -> Part | None:
    """Return what the lab found."""
    found = story.qualification
    if found is None:
        return None
    return Part(
        "In the lab",
        f"Ships as {found.precision}: {found.reason}.",
        (_measured(found), _trace(found)),
        drawn(draw_trace(story)),
    )


def _measured(found: Qualification) -> Table:
    rows = [
        ("accuracy", percent(found.accuracy_fp32), percent(found.accuracy), _drop(found.drop)),
        ("model file", size(found.size_fp32_bytes), size(found.size_bytes), _times(found)),
    ]
    if found.speedup is not None:
        race = found.speedup
        what = "time per image" if found.precision != "fp32" else "time per image, INT8 not shipped"
        rows.append((what, f"{race.a_ms:.3f} ms", f"{race.b_ms:.3f} ms", _race(race)))
    if found.against is not None:
        best = found.against
        name = f"best champion {best.champion}"
        rows.append((name, percent(best.accuracy), percent(found.accuracy), _drop(best.drop)))
    if found.beside is not None and found.beside.race is not None:
        race = found.beside.race
        name = f"time per image, champion {found.beside.champion}"
        words = f"{race.in_words}, {race.rounds} rounds"
        rows.append((name, f"{race.a_ms:.3f} ms", f"{race.b_ms:.3f} ms", words))
    return Table(("", "before", "ships", "difference"), tuple(rows), (1, 2))


def _times(found: Qualification) -> str:
    return f"{found.size_fp32_bytes / max(found.size_bytes, 1):.1f} times smaller"


def _drop(drop: Drop) -> str:
    pairs = f"{drop.gains} gained, {drop.losses} lost of {whole(drop.n)}"
    return f"{-drop.points:+.2f} pt (at worst {-drop.upper_points:+.2f} pt; {pairs})"


def _race(race: Race) -> str:
    return f"{race.ratio:.2f} times quicker [{race.low:.2f}, {race.high:.2f}], {race.rounds} rounds"


def _trace(found: Qualification) -> Table:
    rows = tuple(
        (
            str(number),
            ", ".join(tried.excluded) or "none",
            tried.method,
            percent(tried.accuracy),
            f"{tried.drop_pt:.2f} pt",
            NONE if tried.ratio is None else f"{tried.ratio:.2f}",
            size(tried.size_bytes),
            tried.outcome,
        )
        for number, tried in enumerate(found.trace, 1)
    )
    columns = (
        "try",
        "left in float",
        "calibration",
        "accuracy",
        "drop",
        "times quicker",
        "size",
        "outcome",
    )
    return Table(columns, rows, (3, 4, 5, 6))
