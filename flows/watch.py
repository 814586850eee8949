"""Every minute, and at each registration's event: which new versions become releases.

The look at the registry is the truth, events only make it come sooner. So nothing that can get lost
on the way, an event, a webhook or this flow's own process, loses a registration: the next run finds
it. A registry that does not answer makes a failed run, which is seen; the run after it tries again.
"""

from __future__ import annotations

from itertools import groupby

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from edgefleet.errors import EdgefleetError
from edgefleet.fleet.release import Release
from edgefleet.fleet.trigger import Decided
from edgefleet.spec import Spec
from edgefleet.wiring import world
from tasks.drivers import start_missing
from tasks.registrations import (
    Written,
    answer_registry,
    ask_registry,
    give_way,
    past_of,
    settle,
    written_specs,
)


@flow(name="watch", retries=0, persist_result=False)
def watch() -> State[None]:
    """Look until nothing new is found.

    An event that comes while a run is at work starts no second one: the last look finds it.
    """
    told: list[str] = []
    while True:
        said, troubles, admitted = look()
        told += said
        start_missing()
        if troubles:
            return Failed(message="; ".join((*troubles, *told)))
        if not admitted:
            return Completed(message="; ".join(told) or "nothing new")


def look() -> tuple[list[str], list[str], int]:
    """Look once; return what was decided, what went wrong, and how many were admitted.

    One spec, or one model, that is in trouble stops no other.
    """
    specs, broken = written_specs()
    told, troubles, admitted = [], list(broken), 0
    for _, group in groupby(sorted(specs, key=_question), key=_question):
        try:
            said, number = look_at(tuple(group), all_read=not broken)
        except EdgefleetError as error:
            troubles.append(str(error))
            continue
        told += said
        admitted += number
    return told, troubles, admitted


def look_at(group: tuple[Written, ...], *, all_read: bool) -> tuple[list[str], int]:
    """Ask the registry once for workloads that share a question, decide, admit, and answer."""
    spec = group[0].spec
    asking = ask_registry(spec.model, spec.on, past_of(spec))
    told: list[str] = []
    admitted, waiting = 0, set[int]()
    releases: dict[int, list[Release]] = {int(version.version): [] for version in asking}
    for written in group:
        decided, known = settle(written, asking)
        waiting.update(decided.waiting)
        admitted += len(decided.admit)
        for version in releases.keys() & known.keys():
            releases[version].append(known[version])
        told += _told(written.spec, decided)
        if written.spec.newer == "supersede":
            told += [f"{old} gives way" for old in give_way(written.spec.workload)]
    # While a spec cannot be read, nobody knows whether it wants these versions too.
    if spec.on == "tag" and all_read:
        for asked in asking:
            if int(asked.version) not in waiting:
                answer_registry(asked, releases[int(asked.version)])
    return told, admitted


def _question(written: Written) -> tuple[str, str, str]:
    """Return what the registry is asked, once for all who ask the same."""
    spec = written.spec
    return spec.model, spec.on, spec.workload if spec.on == "any" else ""


def _told(spec: Spec, decided: Decided) -> list[str]:
    frozen = spec.frozen(world().clock.now().date())
    parts = {
        "admitted": decided.admit,
        "superseded": decided.past,
        f"waiting, {frozen}": decided.waiting,
    }
    return [
        f"{spec.workload}: version {', '.join(map(str, versions))} {what}"
        for what, versions in parts.items()
        if versions
    ]
