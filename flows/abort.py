"""An abort asked for in Prefect's UI: by hand, or by an automation when a run was cancelled."""

from __future__ import annotations

from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client

from edgefleet.errors import Refused
from edgefleet.fleet.release import Release
from edgefleet.wiring import world
from tasks.starts import start_release


@flow(name="abort", flow_run_name="abort {release_id}{flow_run_id}", retries=0)
def abort(
    release_id: str = "", flow_run_id: str = "", reason: str = "asked for in Prefect's pages"
) -> None:
    """Record the wish, and let a driver act on it.

    Give the release, or the flow run of its driver (as the automation does on Cancelled).
    """
    wanted = release_id or _driven_by(flow_run_id)
    here = world()
    asked: Release = here.ledger.ask_abort(wanted, reason, here.clock.now())
    if asked.live:
        start_release(wanted)


def _driven_by(flow_run_id: str) -> str:
    """Return the release that a flow run was driving."""
    if not flow_run_id:
        problem = "names no release"
        raise Refused("abort", problem, "Give release_id, e.g. defect-detection-3, in a custom run")
    try:
        flow_run = UUID(flow_run_id)
    except ValueError as error:
        raise Refused(flow_run_id, "is no flow run's id", "Give release_id instead") from error
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(flow_run)
    try:
        return str(run.parameters["release_id"])
    except KeyError as error:
        raise Refused(
            f"flow run {run.name}", "it drives no release", "Name the release itself"
        ) from error
