"""A rollback: some nodes are pinned to an earlier package, or a release takes it to all of them.

The one function for whoever asks: the command line, a run of the flow in Prefect's pages, or a
guard. It writes into the ledger and moves no node: drivers do, and reconcile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgefleet.errors import Refused
from edgefleet.fleet.attempts import back_attempt
from edgefleet.fleet.release import Admission, Release
from edgefleet.fleet.rollback import before_champion, named, refuse_unclear
from edgefleet.settings import Settings
from edgefleet.spec import Spec, load_spec
from edgefleet.wiring import world
from edgefleet.written import written
from tasks.pins import ASKED_BY_CHARS, nodes_of, pin_to, refuse_unexplained, shipped


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What was set going."""

    workload: str
    to: str
    """The earlier release whose package comes back."""
    release_id: str
    """The release that takes it to the fleet; empty: nodes were pinned."""
    pinned: tuple[str, ...]


def roll_back(
    workload: str,
    reason: str,
    asked_by: str,
    *,
    to: str = "",
    factories: Sequence[str] = (),
    nodes: Sequence[str] = (),
) -> RolledBack:
    """Go back to the package of `to`; empty: of the release before the champion's package.

    With factories or nodes these are pinned to it, and the next reconcile brings them there. With
    neither a new release carries it to the fleet; it needs a driver, which `start_missing` or the
    next reconcile starts. Asked again, it is the same one. With `to` it takes the place of whatever
    is live.

    Raises:
        Refused: there is no reason, nothing to go back to, or a name is none of the workload's; or
            a release is live that could be meant too.
        Unreachable: a named factory is silent.
    """
    refuse_unexplained(workload, reason)
    spec = load_spec(Settings().spec_file(workload))
    releases = world().ledger.releases(workload)
    if not (to or factories or nodes):
        refuse_unclear(releases)
    packages = shipped(releases)
    champion = named(workload, releases, packages, "")
    goal = (
        named(workload, releases, packages, to)
        if to
        else before_champion(workload, releases, packages)
    )
    if factories or nodes:
        names = nodes_of(spec, nodes, factories)
        pinned = pin_to(goal, names, reason, asked_by)
        return RolledBack(workload, goal.release_id, "", pinned.nodes)
    if packages[goal.release_id] == packages[champion.release_id]:
        problem = f"ships {packages[goal.release_id][:19]}, as the champion {champion.release_id}"
        remedy = "Nodes that differ are brought along by `edgefleet reconcile`"
        raise Refused(goal.release_id, problem, remedy)
    attempt = back_attempt(goal.release_id, champion.release_id, releases)
    made = _admitted(spec, goal, attempt, f"{asked_by}, rollback: {reason}")
    return RolledBack(workload, goal.release_id, made.release_id, ())


def _admitted(spec: Spec, goal: Release, attempt: str, asked_by: str) -> Release:
    """Admit the release, whoever asked has said yes to it; ask an abort for those before it."""
    here = world()
    now = here.clock.now()
    hurried = spec.going_back()
    admission = Admission(
        spec.workload,
        spec.fleet,
        goal.model,
        goal.version,
        asked_by[:ASKED_BY_CHARS],
        written(hurried),
        attempt,
    )
    made, new = here.ledger.admit(admission, now)
    if new:
        fewer, usual = hurried.gates.min_windows, spec.gates.min_windows
        note = f"{asked_by}; judged after {fewer} windows instead of {usual}"
        here.ledger.note(made.release_id, note, now)
    for other in here.ledger.releases(spec.workload):
        if other.live and other.generation < made.generation:
            here.ledger.ask_abort(other.release_id, f"{made.release_id} goes back instead", now)
    return made


def in_words(found: RolledBack) -> str:
    """Return what was set going, and what comes of it by itself."""
    if found.release_id:
        return f"{found.release_id} takes the package of {found.to} to the fleet"
    names = ", ".join(found.pinned)
    return (
        f"{len(found.pinned)} nodes pinned to {found.to}: {names}. Reconcile brings them there "
        "within five minutes, `edgefleet reconcile` at once; `edgefleet unpin` lets them go"
    )
