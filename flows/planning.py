"""PLANNED: who gets it when, who does not and why, and what the canary will be able to show."""

from __future__ import annotations

import math

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from edgefleet.edge.contract import Digest
from edgefleet.fleet.approval import ApprovalRequest, request_for
from edgefleet.fleet.balance import balance_of
from edgefleet.fleet.book import usual_of
from edgefleet.fleet.design import design_of
from edgefleet.fleet.impossible import refuse_impossible, told_by
from edgefleet.fleet.inventory import Inventory
from edgefleet.fleet.needs import Package, needs_of
from edgefleet.fleet.plan import Plan, make_plan, plan_hash
from edgefleet.fleet.plan_text import plan_table
from edgefleet.fleet.preflight import Preflight, first_preflight, preflight
from edgefleet.fleet.release import Phase, Signal
from edgefleet.fleet.replay import replayed
from edgefleet.ports import Image
from edgefleet.spec import Spec
from edgefleet.wiring import world
from tasks.records import Drive, champion_of, latest, needed
from tasks.sites import take_patient_inventory
from tasks.telemetry import collect_evidence


@flow(name="plan", flow_run_name="plan {release_id}", retries=0)
def plan(release_id: str, epoch: int) -> None:
    """Look at the fleet, make the plan, and store it with its hash as a request for approval."""
    drive = Drive(release_id, epoch)
    current, spec = drive.release, drive.spec
    image = needed(release_id, "package", 0, Image)
    inventory = take_patient_inventory(current.workload)
    champion = champion_of(current.workload)
    new_bytes = _new_bytes(image, champion)
    now = world().clock.now()
    made = make_plan(
        spec,
        current,
        inventory,
        Package(image.digest, new_bytes, needs_of(image.annotations)),
        champion.digest if champion else None,
        now,
        world().ledger.pins(current.workload),
    )
    size = len(made.waves[0].changes)
    if made.first:
        outlook = first_preflight(spec.gates, size)
    else:
        outlook = _outlook(spec, made, inventory, champion.digest if champion else None)
    before = latest(release_id, "approval", ApprovalRequest)
    number = 1 if before is None else before[0] + 1
    drive.keep("plan", number, made)
    drive.keep("preflight", number, outlook)
    drive.keep("approval", number, request_for(made, spec.approval, now))
    show(made, outlook)
    drive.move(Phase.PLANNED, Signal.DONE, in_short(made))


def _new_bytes(image: Image, champion: Image | None) -> int:
    """Return the bytes of the model, and of what of its base the champion's nodes do not have."""
    there = {layer.digest for layer in (champion or image).layers if layer.kind == "base"}
    return sum(layer.size for layer in image.layers if layer.digest not in there)


def _outlook(spec: Spec, made: Plan, inventory: Inventory, was: Digest | None) -> Preflight:
    """Return what the canary can show, by what its fleet did lately.

    Raises:
        Refused: it could not show it with all the luck there is.
    """
    gates = spec.gates
    last = math.floor(world().clock.now().timestamp() / gates.window_s) - 1
    up = [view.node for view in inventory.nodes if view.online and view.serving]
    records = collect_evidence(spec.workload, gates.window_s, last - gates.pre_windows)
    usual = usual_of(records, up)
    design = design_of(made, inventory, was, last + 1, None)
    refuse_impossible(gates, design, usual, made.release_id)
    between = replayed(design, gates, records, last)
    balance = balance_of(design, gates, records, last)
    return preflight(gates, len(design.canary), told_by(gates, usual), between, balance)


def show(made: Plan, outlook: Preflight) -> None:
    """Publish the plan as a Prefect artifact."""
    create_markdown_artifact(
        key=f"plan-{made.release_id}".lower(),
        markdown=f"{plan_table(made)}\n\n{outlook.text}",
        description=f"Plan {plan_hash(made)[:12]} of {made.release_id}",
    )


def in_short(made: Plan) -> str:
    """Return the plan in one line."""
    sizes = ", ".join(f"{wave.name} {len(wave.changes)}" for wave in made.waves)
    return f"plan {plan_hash(made)[:12]}: {sizes}; left out {len(made.left_out)}"
