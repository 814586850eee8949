"""Evidence from the nodes."""

from __future__ import annotations

from collections.abc import Mapping

from prefect import task

from edgefleet.edge.contract import Evidence
from edgefleet.wiring import world
from tasks.policy import OUTSIDE
from tasks.sites import look_around


@task(name="collect evidence", **OUTSIDE)
def collect_evidence(workload: str, after: int) -> Mapping[str, tuple[Evidence, ...]]:
    """Return the records of windows after `after` of each node that is up and answers.

    Whom to ask is found out in here: Prefect walks through every argument of a task, twice, and a
    thousand views take it a second.
    """
    views = [view for view in look_around(workload).nodes if view.online and view.serving]
    return world().telemetry.collect(workload, views, after)
