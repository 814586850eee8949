"""How long from a registration to its release's first line: with the event, and by the poll alone.

    python -m tests.bench.triggers [registrations]

Real Prefect with a worker and real MLflow, on SQLite, on this machine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from edgefleet.machine import machine
from tasks.events import tell_registered
from tests.e2e.site import wait_for
from tests.triggers.centre import Centre, a_centre

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "benchmarks-triggers.md"
APART_S: Final = 7.0
"""Between registrations that the poll finds: no divisor of its minute."""
EVENT_S: Final = 25.0
POLL_S: Final = 110.0


def measured(centre: Centre, count: int, way: str) -> list[float]:
    """Return seconds from the tag to the start of the release's flow run, of each registration."""
    at: dict[str, datetime] = {}
    for number in range(count):
        workload = centre.spec(f"{way}-{number}")
        centre.mlflow.create_registered_model(workload)
        version = centre.tagged(workload)
        at[workload] = datetime.now(UTC)
        if way == "event":
            silent = tell_registered(workload, version, "bench")
            assert not silent, silent
            centre.begun(workload)
        else:
            time.sleep(APART_S)
    for workload in at:
        centre.begun(workload)
    return [
        (began - at[workload]).total_seconds() for workload, began in started(centre, at).items()
    ]


def started(centre: Centre, at: dict[str, datetime]) -> dict[str, datetime]:
    """Return when the first run of each workload's release began."""

    def found() -> dict[str, datetime]:
        began = {
            str(run.parameters["release_id"]).rsplit("-", 1)[0]: run.start_time
            for run in centre.runs("release")
            if run.start_time
        }
        mine = {workload: began[workload] for workload in at if workload in began}
        return mine if len(mine) == len(at) else {}

    return wait_for(found, lambda: "not every release has begun")


def row(name: str, seconds: Sequence[float], most_s: float) -> str:
    """Return a line of the table."""
    ordered = sorted(seconds)
    middle, p95 = ordered[len(ordered) // 2], ordered[-(-95 * len(ordered) // 100) - 1]
    return (
        f"| {name} | {len(ordered)} | {middle:.1f} | {p95:.1f} | {ordered[-1]:.1f} | {most_s:.0f} |"
    )


def main(count: int) -> None:
    """Measure and write the page."""
    with tempfile.TemporaryDirectory() as folder, a_centre(Path(folder) / "home") as centre:
        event = measured(centre, count, "event")
        poll = measured(centre, count, "poll")
    lines = [
        "# From a registration to its release",
        "",
        "Seconds from the tag that asks for a release to the start of the release's flow run.",
        "`make bench-triggers` writes this page.",
        "",
        f"Measured on {machine()}, with Prefect, its worker and MLflow on SQLite beside it.",
        "",
        "| | registrations | median | p95 | longest | wanted, p95 |",
        "|---|---|---|---|---|---|",
        row("with the event", event, EVENT_S),
        row("by the poll alone", poll, POLL_S),
    ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(lines[-4:]) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
