"""SOAKING: judge a window, write the verdict down, decide.

Each look is stored with the state of its gate, so a driver that comes after a killed one goes on
with the same share of the error budget spent.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from edgefleet.edge.contract import ShadowOrder
from edgefleet.fleet.design import Design, design_of
from edgefleet.fleet.finding import Outcome, Verdict
from edgefleet.fleet.floors import judge_first
from edgefleet.fleet.gate import GateState, judge, open_gate
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.release import Phase, Signal
from edgefleet.fleet.ruling import Ruling, most_windows
from edgefleet.fleet.sheets import Sheet
from edgefleet.fleet.slices import slices_of
from edgefleet.spec import Gates
from edgefleet.wiring import world
from flows.looks import begun_sheets, current_window, next_look
from tasks.records import Drive, approved_plan, champion_of, released_at
from tasks.sites import order_shadows, take_inventory

Against = Literal["none", "self", "previous"]

_SETTLED: Final = 2
"""Windows after the champion's release that are left out: its last nodes were still warming up."""
_LEAST_PAST: Final = 5
"""Windows of a past that is worth comparing with."""

_DECIDED: Final = {Outcome.PASS: Signal.PASSED, Outcome.FAIL: Signal.FAILED}
_ASKED: Final = {"required": Signal.PASSED, "on_inconclusive": Signal.UNSURE}
"""What a person is asked about before the fleet follows, by the spec's `approval.before_fleet`."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look as the ledger keeps it."""

    number: int
    window: int
    state: GateState | None
    """None: a first release is judged by floors, which spend nothing."""
    verdict: Verdict


@flow(name="soak", flow_run_name="soak {release_id}", retries=0)
def soak(release_id: str, epoch: int) -> None:
    """Look after every window until the canary is shown to be good, or bad, or time is up."""
    drive = Drive(release_id, epoch)
    made, gates = approved_plan(release_id), drive.spec.gates
    design = drive.recall("design", 0, Design) or _begun(drive, made, gates)
    begin_shadows(drive, made, gates)
    last = drive.latest("look", Look)
    granted = drive.recall_all("ruling", Ruling)
    pre = design.pre[0] if design.pre else design.first_window
    sheets = begun_sheets(drive, design, pre - 1)
    # A look that decided may be there already: its driver was killed before it could act on it.
    signal = _DECIDED.get(last.verdict.outcome) if last else None
    while signal is None and not drive.release.abort_asked:
        due = last.window + gates.look_every if last else design.first_window
        window = next_look(drive, made, gates, sheets, due, design.first_window)
        last = _judged(design, gates, sheets.until(window), window, last)
        drive.keep("look", last.number, last)
        get_run_logger().info("%s", last.verdict.text)
        signal = _meaning(last, gates, most_windows(gates.max_windows, granted))
    if signal and signal is _ASKED.get(drive.spec.approval.before_fleet):
        signal = Signal.ASK
    if last and signal:
        drive.keep("slices", 0, slices_of(design, gates, sheets.until(last.window)))
        show_verdict(release_id)
        drive.move(Phase.SOAKING, signal, last.verdict.reason)


def show_verdict(release_id: str) -> None:
    """Publish the verdict as a Prefect artifact, with its numbers and pictures."""
    # Here and not above: drawing takes a second to import, which no other step of a driver needs.
    from edgefleet.report.chapters import judged  # noqa: PLC0415
    from edgefleet.report.gather import gather  # noqa: PLC0415
    from edgefleet.report.markdown import part_markdown  # noqa: PLC0415

    part = judged(gather(world().ledger, release_id))
    if part is not None:
        create_markdown_artifact(
            key=f"verdict-{release_id}".lower(),
            markdown=part_markdown(part),
            description=part.heading,
        )


def _judged(design: Design, gates: Gates, sheet: Sheet, window: int, last: Look | None) -> Look:
    number = last.number + 1 if last else 1
    if design.was is None:
        return Look(number, window, None, judge_first(gates, sheet, window, number))
    state = last.state if last and last.state else open_gate(design, gates)
    state, verdict = judge(state, design, gates, sheet, window)
    return Look(number, window, state, verdict)


def _meaning(found: Look, gates: Gates, most: int) -> Signal | None:
    decided = _DECIDED.get(found.verdict.outcome)
    if decided or found.number * gates.look_every < most:
        return decided
    return Signal.FAILED if gates.when_unsure == "revert" else Signal.UNSURE


def _begun(drive: Drive, made: Plan, gates: Gates) -> Design:
    """Fix who is compared with whom, before the first look."""
    workload = drive.spec.workload
    champion = champion_of(workload)
    changed_from = drive.recall("changed from", 0, int) or current_window(gates)
    design = design_of(
        made,
        take_inventory(workload),
        champion.digest if champion else None,
        first_window=current_window(gates) + 1,
        pre=_before(workload, changed_from, gates) if champion else None,
    )
    drive.keep("design", 0, design)
    return design


def _before(workload: str, changed_from: int, gates: Gates) -> tuple[int, int] | None:
    """Return the windows in which every node served the champion; None: too few to compare with."""
    settled = math.ceil(released_at(workload).timestamp() / gates.window_s) + _SETTLED
    first = max(changed_from - gates.pre_windows, settled)
    last = changed_from - 1
    return (first, last) if last - first + 1 >= _LEAST_PAST else None


def begin_shadows(drive: Drive, made: Plan, gates: Gates) -> None:
    """Let the champion answer a sample again: on the canary as reference, on controls as itself."""
    if made.first:
        return
    canary = {change.node for change in made.waves[0].changes}
    _shadows(drive, made, lambda node: "previous" if node in canary else "self", gates.shadow_rate)


def end_shadows(drive: Drive) -> None:
    """Stop every second inference of this release."""
    made = approved_plan(drive.release_id)
    _shadows(drive, made, lambda _: "none", 0.0)


def _shadows(drive: Drive, made: Plan, against: Callable[[str], Against], rate: float) -> None:
    """Order one kind of second inference on every node of the plan."""
    orders: dict[str, dict[str, ShadowOrder]] = defaultdict(dict)
    for change in (change for wave in made.waves for change in wave.changes):
        orders[change.factory][change.node] = ShadowOrder(against=against(change.node), rate=rate)
    order_shadows(drive.spec.workload, orders)
