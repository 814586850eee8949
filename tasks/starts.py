"""Asking Prefect to run one of our deployments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast
from uuid import uuid4

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from edgefleet.errors import Refused, Unreachable

RELEASE = "release/release"


def start_release(release_id: str) -> FlowRun:
    """Start a driver for a release; a second one beside it waits for the lease and finds it done.

    Raises:
        Refused: the deployment does not exist.
        Unreachable: Prefect's server does not answer.
    """
    return _start(RELEASE, {"release_id": release_id}, f"{release_id}-{uuid4().hex[:8]}")


def kept_driven(run: FlowRun, release_id: str) -> FlowRun:
    """Return the driver of a live release: `run`, or a new one if that died.

    One that completed has ended the release, or left it to a person or to an earlier release; one
    that was cancelled is an abort.
    """
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run.id).state
    died = state is not None and (state.is_crashed() or state.is_failed())
    return start_release(release_id) if died else run


def start_training(recipes: Sequence[str]) -> FlowRun:
    """Train and register sample models, one after the other."""
    return _start("train/train", {"recipes": list(recipes)}, f"train-{uuid4().hex[:8]}")


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


def _start(deployment: str, parameters: dict[str, object], key: str) -> FlowRun:
    try:
        run = run_deployment(
            deployment, parameters=parameters, timeout=0, as_subflow=False, idempotency_key=key
        )
        return cast("FlowRun", run)
    except ObjectNotFound as error:
        raise Refused(deployment, "no such deployment", "Run `edgefleet up`") from error
    except (httpx.HTTPError, OSError) as error:
        raise Unreachable(f"Prefect's server does not answer: {error}") from error


def suspended_run(release_id: str) -> FlowRun | None:
    """Return the release's flow run that waits for an answer on its form, None if none does."""
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
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=wanted, limit=1)
    return found[0] if found else None


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
