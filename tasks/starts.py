"""Asking Prefect to run one of our deployments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast
from uuid import UUID, uuid4

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed

from edgefleet.errors import Refused, Unreachable

RELEASE = "release/release"


def start_release(release_id: str, after: str = "") -> FlowRun:
    """Start a driver for a release; a second one beside it waits for the lease and finds it done.

    `after` names what the driver comes after: asked for twice after the same, it is one run.

    Raises:
        Refused: the deployment does not exist.
        Unreachable: Prefect's server does not answer.
    """
    key = f"{release_id}-{after or uuid4().hex[:8]}"
    # Named already now: a run takes its flow's name with its first line only.
    run = start(RELEASE, {"release_id": release_id}, key, release_id)
    close_forms(release_id, run.id)
    return run


def close_forms(release_id: str, successor: UUID) -> None:
    """End the release's other runs that wait for an answer: who comes late finds no form any more.

    Called where a driver is started, and where one asks: a run that was taken for dead may have
    asked in between.
    """
    replaced: State[None] = Completed(name="Replaced", message=f"run {successor} took its place")
    with get_client(sync_client=True) as client:
        for run in _suspended(client, release_id):
            if run.id != successor:
                client.set_flow_run_state(run.id, replaced, force=True)


def start_training(recipes: Sequence[str]) -> FlowRun:
    """Train and register sample models, one after the other."""
    return start("train/train", {"recipes": list(recipes)}, f"train-{uuid4().hex[:8]}")


def run_ended(run: FlowRun) -> bool:
    """Say whether a flow run completed.

    Raises:
        Refused: it ended, but not completed; its own words are shown.
    """
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run.id).state
    if state is None or not state.is_final():
        return False
    if not state.is_completed():
        raise Refused(f"flow run {run.name}", f"{state.name}: {state.message}", "See its log")
    return True


def start(
    deployment: str, parameters: dict[str, object], key: str, name: str | None = None
) -> FlowRun:
    """Start a run of a deployment, once for each key.

    Raises:
        Refused: there is no such deployment.
        Unreachable: Prefect's server does not answer.
    """
    try:
        run = run_deployment(
            deployment,
            flow_run_name=name,
            parameters=parameters,
            timeout=0,
            as_subflow=False,
            idempotency_key=key,
        )
        return cast("FlowRun", run)
    except ObjectNotFound as error:
        remedy = "Run `edgefleet up`, or `edgefleet deploy`"
        raise Refused(deployment, "no such deployment", remedy) from error
    except (httpx.HTTPError, OSError) as error:
        raise Unreachable(f"Prefect's server does not answer: {error}") from error


def suspended_run(release_id: str) -> FlowRun | None:
    """Return the release's flow run that waits for an answer on its form, None if none does."""
    with get_client(sync_client=True) as client:
        waiting = (run for run in _suspended(client, release_id) if has_form(client, run))
        return next(waiting, None)


def has_form(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Say whether a suspended run can be answered: Prefect stores its form after its state."""
    form = run.state.state_details.run_input_keyset if run.state else None
    return bool(form and client.filter_flow_run_input(run.id, form["schema"], 1, set()))


def _suspended(client: SyncPrefectClient, release_id: str) -> list[FlowRun]:
    from prefect.client.schemas.filters import (  # noqa: PLC0415 - many models, seldom needed
        FlowRunFilter,
        FlowRunFilterName,
        FlowRunFilterState,
        FlowRunFilterStateName,
    )

    wanted = FlowRunFilter(
        name=FlowRunFilterName(any_=[release_id]),
        state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Suspended"])),
    )
    return client.read_flow_runs(flow_run_filter=wanted)


def answer(run: FlowRun, decision: str, name: str, comment: str) -> None:
    """Resume a suspended run with an answer: the same call as a click on the form's Submit.

    Raises:
        Refused: the server did not take it (it answers 200 and says so in the body).
    """
    with get_client(sync_client=True) as client:
        result = client.resume_flow_run(
            run.id, run_input={"decision": decision, "name": name, "comment": comment}
        )
    if result.status.value != "ACCEPT":
        raise Refused(
            f"flow run {run.name}",
            f"the answer was not taken: {result.details}",
            "Open the run in Prefect's UI: somebody may have answered already",
        )
