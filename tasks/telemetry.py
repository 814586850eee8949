"""Evidence from the nodes."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from typing import Final

from prefect import task

from edgefleet.edge.contract import Evidence
from edgefleet.fleet.book import begun
from edgefleet.wiring import world
from tasks.policy import OUTSIDE
from tasks.sites import look_around

logger = logging.getLogger(__name__)

AHEAD_S: Final = 300.0
"""By how much a node's clock may be ahead of this one."""


@task(name="collect evidence", **OUTSIDE)
def collect_evidence(
    workload: str, window_s: float, after: int, only: Collection[str] | None = None
) -> Mapping[str, tuple[Evidence, ...]]:
    """Return the records of windows after `after` of each node that is up and answers.

    `window_s` is the length of a window by the spec: windows that have not begun are left out.
    `only` names the nodes that are asked; None: all.

    Whom to ask is found out in here: Prefect walks through every argument of a task, twice, and a
    thousand views take it a second.
    """
    views = [
        view
        for view in look_around(workload).nodes
        if view.online and view.serving and (only is None or view.node in only)
    ]
    told = world().telemetry.collect(workload, views, after)
    newest = math.floor((world().clock.now().timestamp() + AHEAD_S) / window_s)
    found = begun(told, newest)
    ahead = sorted(node for node in told if len(found[node]) < len(told[node]))
    if ahead:
        logger.warning(
            "%s: %s told of windows after %d, which has not begun: their clocks are ahead, or they "
            "do not count in windows of %g s; these windows are not counted",
            workload,
            ", ".join(ahead),
            newest,
            window_s,
        )
    return found
