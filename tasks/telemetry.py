"""Evidence from the nodes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from prefect import task

from edgefleet.edge.contract import Evidence
from edgefleet.wiring import world
from tasks.policy import OUTSIDE
from tasks.sites import look_around


@task(name="collect evidence", **OUTSIDE)
def collect_evidence(
    workload: str, after: int, only: Collection[str] | None = None
) -> Mapping[str, tuple[Evidence, ...]]:
    """Return the records of windows after `after` of each node that is up and answers.

    `only` names the nodes that are asked; None: all.

    Whom to ask is found out in here: Prefect walks through every argument of a task, twice, and a
    thousand views take it a second.
    """
    views = [
        view
        for view in look_around(workload).nodes
        if view.online and view.serving and (only is None or view.node in only)
    ]
    return world().telemetry.collect(workload, views, after)
