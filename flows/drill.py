"""The unplug test: a node is taken off its network, and must have served all the time.

Under the workload's lease, so that no release moves nodes meanwhile. The other side restores
the link, whatever becomes of this process; whoever stops the drill restores it at once. What is
said of a node is read from its own windows, which arrive when it is back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, cast

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import Field

from edgefleet.edge.contract import Evidence
from edgefleet.errors import Conflict, Refused, Unreachable
from edgefleet.fleet.drill import (
    LONGEST_S,
    SHORTEST_S,
    Drill,
    Nodes,
    courses,
    drawn,
    length_of,
    named,
    rounds,
)
from edgefleet.fleet.drilled import judged
from edgefleet.fleet.finding import Outcome
from edgefleet.fleet.inventory import NodeView
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.reconcile import in_the_way
from edgefleet.fleet.release import Release
from edgefleet.fleet.unplugged import Cut, Drilled, arrived
from edgefleet.ports import Image
from edgefleet.settings import Settings
from edgefleet.spec import Spec, load_spec
from edgefleet.unplug import BACK_S
from edgefleet.wiring import world
from tasks.drivers import start_missing
from tasks.events import tell_drill_failed
from tasks.policy import FACTORIES_AT_ONCE, TICK_S
from tasks.records import DRILL, Drive, crowned, drills_of, holding, latest, needed
from tasks.sites import look_around, plug_in, take_inventory, unplug_in
from tasks.telemetry import collect_evidence

PAST_WINDOWS: Final = 30
"""Windows before a cut that say what is usual on a node."""
TREND: Final = 20
"""Drills in the trend."""

_RUNNER: Final = cast(
    "TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner[Any](max_workers=FACTORIES_AT_ONCE)
)

Windows = Mapping[str, tuple[Evidence, ...]]
"""By node."""


@dataclass(slots=True)
class _Round:
    """Nodes that are cut off together: one of each factory."""

    spec: Spec
    nodes: Nodes
    seconds: int
    read_at: datetime
    cut_at: datetime
    away: set[str] = field(default_factory=set)
    back_s: float = BACK_S
    """So long after its time a node may be shown as away: by the slowest of the sites."""
    back: dict[str, tuple[datetime, NodeView]] = field(default_factory=dict)
    """When each was seen online again, and what it showed once it served."""

    @property
    def factories(self) -> dict[str, str]:
        """The node of each factory."""
        return {view.factory: view.node for view in self.nodes}

    @property
    def whole(self) -> bool:
        """Whether every node is back and serves."""
        return all(n.node in self.back and self.back[n.node][1].serving for n in self.nodes)


@flow(
    name="drill",
    flow_run_name="drill {workload}",
    retries=0,
    persist_result=False,
    task_runner=_RUNNER,
)
def drill(
    workload: str,
    nodes: tuple[str, ...] = (),
    seconds: Annotated[int, Field(ge=SHORTEST_S, le=LONGEST_S)] | None = None,
    seed: int | None = None,
    consent: str = "",
) -> Drill:
    """Take nodes off their network for a while, and prove from their own counters that they served.

    Without `nodes` one of each factory is picked, by a seed that is the drill's number if none is
    given; that needs the name of who agreed to it.
    """
    if not nodes and not consent.strip():
        problem = "nodes were to be picked, and nobody agreed to that"
        raise Refused(f"drill of {workload}", problem, "Say who did (consent), or name nodes")
    spec = load_spec(Settings().spec_file(workload))
    length = length_of(seconds, spec.gates.window_s)
    with holding(workload) as epoch:
        drive = Drive(_undisturbed(workload).release_id, epoch)
        number = max((one.number for one in drills_of(world().ledger, workload)), default=0) + 1
        chosen = None if nodes else (number if seed is None else seed)
        asked = Drill(number, workload, world().clock.now(), length, chosen, consent.strip(), ())
        found = replace(asked, nodes=_held(spec, drive, asked, nodes))
        drive.keep(DRILL, number, found)
        drive.note(found.in_words)
    start_missing()  # a release may have found its workload held by us
    _publish(found)
    return found


def _undisturbed(workload: str) -> Release:
    """Return the champion's release.

    Raises:
        Conflict: a release, of this workload or of another one, moves nodes.
        Refused: there is no champion.
    """
    releases = world().ledger.releases()
    for other in sorted({release.workload for release in releases}):
        busy = in_the_way(release for release in releases if release.workload == other)
        if busy:
            raise Conflict(f"no drill of {workload} now: {busy}")
    found = crowned(release for release in releases if release.workload == workload)
    if found is None:
        problem = "no release of it has ended as released yet"
        raise Refused(workload, problem, "Drill it when it has a champion")
    return found


def _held(spec: Spec, drive: Drive, asked: Drill, names: tuple[str, ...]) -> tuple[Drilled, ...]:
    """Hold the drill, round by round; return what became of each node."""
    champion = needed(drive.release_id, "package", 0, Image).digest
    inventory = take_inventory(spec.workload)
    views = [view for view in inventory.nodes if spec.selector.items() <= view.labels.items()]
    if asked.seed is None:
        chosen = named(names, views, champion, _canaries())
    else:
        chosen = drawn(views, champion, _canaries(), asked.seed)
    listed = ", ".join(f"{view.factory}/{view.node}" for view in chosen)
    drive.note(f"drill {asked.number} begins, {asked.seconds} s off the network: {listed}")
    found = tuple(_drilled(spec, turn, asked.seconds) for turn in rounds(chosen))
    return tuple(node for turn in found for node in turn)


def _canaries() -> dict[str, str]:
    """Return the nodes of the first wave of each live release that has a plan."""
    live = [release.release_id for release in world().ledger.releases() if release.live]
    plans = [found[1] for one in live if (found := latest(one, "plan", Plan))]
    return {
        change.node: plan.release_id
        for plan in plans
        for wave in plan.waves[:1]
        for change in wave.changes
    }


def _drilled(spec: Spec, nodes: Nodes, seconds: int) -> tuple[Drilled, ...]:
    """Cut nodes off, see them away and back, wait for their windows, and judge."""
    clock, names = world().clock, frozenset(view.node for view in nodes)
    now = clock.now()
    after = math.floor(now.timestamp() / spec.gates.window_s) - PAST_WINDOWS - 1
    past = collect_evidence(spec.workload, spec.gates.window_s, after, names)
    turn = _Round(spec, nodes, seconds, now, clock.now())
    try:
        _cut(turn)
        _see_back(turn)
    finally:
        _restore(turn)
    cuts = [_cut_of(turn, view) for view in nodes]
    later = _late_windows(spec, cuts, past, after)
    window_s = spec.gates.window_s
    return tuple(
        judged(cut, past.get(cut.node, ()), later.get(cut.node, ()), window_s) for cut in cuts
    )


def _cut(turn: _Round) -> None:
    until = turn.cut_at + timedelta(seconds=turn.seconds)
    for future in [
        unplug_in.submit(factory, turn.spec.workload, (node,), float(turn.seconds))
        for factory, node in turn.factories.items()
    ]:
        try:
            away, back_s = future.result()
        except Unreachable as error:  # then its node is not seen to be away
            get_run_logger().warning("%s", error)
        else:
            turn.away |= away
            turn.back_s = max(turn.back_s, back_s)
    names = ", ".join(sorted(turn.away)) or "nobody"
    get_run_logger().info("off the network until %s: %s", f"{until:%H:%M:%S} UTC", names)


def _see_back(turn: _Round) -> None:
    """Look until every node is back, by itself or because somebody plugged it in early."""
    clock = world().clock
    due = turn.cut_at + timedelta(seconds=turn.seconds)
    while not turn.whole and clock.now() <= due + timedelta(seconds=turn.back_s):
        names = set(turn.factories.values())
        for view in look_around(turn.spec.workload, turn.factories.keys()).nodes:
            if view.node in names and view.online:
                first = turn.back[view.node][0] if view.node in turn.back else clock.now()
                turn.back[view.node] = (first, view)
        clock.sleep(TICK_S)
    get_run_logger().info("back: %s", ", ".join(sorted(turn.back)) or "nobody")


def _restore(turn: _Round) -> None:
    """Restore whoever was not seen back: the drill was stopped, or its own side failed.

    And who was not seen away: it may have been since.
    """
    until = turn.cut_at + timedelta(seconds=turn.seconds)
    for factory, node in turn.factories.items():
        if node not in turn.back or node not in turn.away:
            failed = plug_in(factory, turn.spec.workload, (node,))
            told = f"it comes back by itself at {until:%H:%M:%S} UTC ({failed})" if failed else ""
            get_run_logger().warning("%s: %s", node, told or "its link was restored from here")


def _cut_of(turn: _Round, view: NodeView) -> Cut:
    back = turn.back.get(view.node)
    due = turn.cut_at + timedelta(seconds=turn.seconds)
    return Cut(
        view.node,
        view.factory,
        turn.seconds,
        turn.read_at,
        turn.cut_at,
        view.node in turn.away,
        back[0] if back else None,
        (world().clock.now() - due).total_seconds(),
        view.serving,
        back[1].serving if back else None,
    )


def _late_windows(spec: Spec, cuts: list[Cut], past: Windows, after: int) -> Windows:
    """Return the windows of nodes that are back, once all have arrived or are too late."""
    clock, window_s = world().clock, spec.gates.window_s
    until = clock.now() + timedelta(seconds=4 * window_s + BACK_S)
    names = frozenset(cut.node for cut in cuts if cut.back_at)
    later: Windows = {}
    while names:
        later = collect_evidence(spec.workload, window_s, after, names)
        ready = (arrived(c, past.get(c.node, ()), later.get(c.node, ()), window_s) for c in cuts)
        if all(ready) or clock.now() > until:
            break
        clock.sleep(max(window_s / 4, TICK_S))
    return later


def _publish(found: Drill) -> None:
    """Publish every node, and the trend of each factory, in Prefect; tell of a failure."""
    create_table_artifact(
        key=f"drill-{found.workload}".lower(),
        table=[{**asdict(node), "verdict": str(node.verdict)} for node in found.nodes],
        description=found.in_words,
    )
    known = drills_of(world().ledger, found.workload)[-TREND:]
    create_table_artifact(
        key=f"drill-trend-{found.workload}".lower(),
        table=[
            {**asdict(course), "at": f"{course.at:%Y-%m-%d %H:%M}"}
            for one in reversed(known)
            for course in courses(one)
        ],
        description=f"The last {len(known)} drills of {found.workload}, newest first",
    )
    get_run_logger().info("%s", found.in_words)
    if found.verdict is Outcome.FAIL:
        lost = tell_drill_failed(found.workload, found.in_words)
        if lost:
            get_run_logger().warning("nobody was told: %s", lost)
