"""A rollback asked for in Prefect's UI, and the end of its pins: an operator needs no shell."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks import pins
from tasks.drivers import start_missing
from tasks.rollbacks import in_words, roll_back


@flow(name="rollback", flow_run_name="rollback {workload}", retries=0, persist_result=False)
def rollback(
    workload: str,
    reason: str,
    to: str = "",
    factories: tuple[str, ...] = (),
    nodes: tuple[str, ...] = (),
    name: str = "",
) -> State[None]:
    """Go back to an earlier release: with factories or nodes these alone, else the whole fleet.

    `to` names it; empty: the one before the champion's package. `name`: who asks.
    """
    asked_by = name or "Prefect's pages"
    found = roll_back(workload, reason, asked_by, to=to, factories=factories, nodes=nodes)
    start_missing()
    return Completed(message=in_words(found))


@flow(name="unpin", flow_run_name="unpin {workload}", retries=0, persist_result=False)
def unpin(workload: str, nodes: tuple[str, ...], name: str = "") -> State[None]:
    """Let pinned nodes follow the champion again; the next reconcile brings them to it.

    `name`: who asks.
    """
    found = pins.unpin(workload, nodes, name or "Prefect's pages")
    return Completed(
        message=f"{', '.join(found.nodes)} unpinned: the champion comes with the next reconcile"
    )
