"""Evidence from the nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefect import task

from edgefleet.edge.contract import Evidence
from edgefleet.fleet.inventory import NodeView
from edgefleet.wiring import world
from tasks.policy import OUTSIDE


@task(name="collect evidence", **OUTSIDE)
def collect_evidence(
    workload: str, nodes: Sequence[NodeView], after: int
) -> Mapping[str, tuple[Evidence, ...]]:
    """Return each answering node's records of windows after `after`."""
    return world().telemetry.collect(workload, nodes, after)
