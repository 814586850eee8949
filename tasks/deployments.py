"""What Prefect has of ours beside the deployments of prefect.yaml, and what it should not have.

A factory with a worker of its own has a pool and a deployment named after it, since factories
differ in their pool and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.exceptions import ObjectNotFound

from edgefleet.errors import Unreachable
from edgefleet.wiring import Worker

TAG: Final = "edgefleet"
"""On every deployment of ours; those without it are somebody else's."""
_FACTORY: Final = "flows.factory.factory"  # a module, not a file: found wherever it is installed


def make_pools(names: Collection[str]) -> None:
    """Make the pools of processes that are missing; no deployment is taken without its pool.

    Raises:
        Unreachable: Prefect's server does not answer.
    """
    try:
        with get_client(sync_client=True) as client:
            for name in names:
                try:
                    client.read_work_pool(name)
                except ObjectNotFound:
                    client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    except (httpx.HTTPError, OSError) as error:
        raise Unreachable(f"Prefect's server does not answer: {error}") from error


def deploy_factories(workers: Mapping[str, Worker]) -> tuple[str, ...]:
    """Make pools and deployments of factories, or bring them up to date; return their names.

    Raises:
        Unreachable: Prefect's server does not answer.
    """
    make_pools({worker.pool for worker in workers.values()})
    try:
        return tuple(_deploy(factory, worker.pool) for factory, worker in workers.items())
    except (httpx.HTTPError, OSError) as error:
        raise Unreachable(f"Prefect's server does not answer: {error}") from error


def forget_others(written: Mapping[str, str], factories: Collection[str]) -> tuple[str, ...]:
    """Delete deployments of ours that nobody asks for any more, with their schedules and triggers.

    `written` names the entry point of each deployment in prefect.yaml. Pools stay: a worker may
    poll them. Returns the names of what was deleted.

    Raises:
        Unreachable: Prefect's server does not answer.
    """
    wanted = {*written.items(), *((factory, _FACTORY) for factory in factories)}
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    gone = []
    try:
        with get_client(sync_client=True) as client:
            for found in client.read_deployments(deployment_filter=ours):
                if (found.name, found.entrypoint) not in wanted:
                    client.delete_resource_owned_automations(f"prefect.deployment.{found.id}")
                    client.delete_deployment(found.id)
                    gone.append(found.name)
    except (httpx.HTTPError, OSError) as error:
        raise Unreachable(f"Prefect's server does not answer: {error}") from error
    return tuple(gone)


def _deploy(factory: str, pool: str) -> str:
    with get_client(sync_client=True) as client:
        client.create_deployment(
            client.create_flow_from_name("factory"),
            name=factory,
            description=f"One stage of a release in {factory}, by its own worker.",
            tags=[TAG],
            work_pool_name=pool,
            entrypoint=_FACTORY,
            parameter_openapi_schema=_SCHEMA,
            enforce_parameter_schema=True,
        )
    return f"factory/{factory}"


_SCHEMA = {
    "title": "Parameters",
    "type": "object",
    "properties": {
        "errand": {
            "title": "errand",
            "type": "string",
            "description": "A signed order (DSSE envelope).",
        }
    },
    "required": ["errand"],
}
