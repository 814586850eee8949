"""Evidence straight from the nodes: every node's own spool, asked over HTTP at the same time.

A node that does not answer, or answers something else, is absent from the result: no evidence. The
node keeps its windows, so what was missed is in the next reading.
"""

from __future__ import annotations

import http
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec
import urllib3

from edgefleet.adapters.credible import credible
from edgefleet.documents import decode
from edgefleet.edge.contract import Evidence, Windows
from edgefleet.fleet.inventory import NodeView

logger = logging.getLogger(__name__)


class Scrape:
    """The Telemetry port over GET /metrics/windows."""

    def __init__(self, timeout_s: float = 5.0, at_once: int = 16) -> None:
        """Ask `at_once` nodes at one time, and wait `timeout_s` for each."""
        self._timeout_s = timeout_s
        self._at_once = at_once

    def collect(
        self, workload: str, nodes: Sequence[NodeView], after: int
    ) -> Mapping[str, tuple[Evidence, ...]]:
        """Return, per node that answered, the records of closed windows with number > `after`."""
        urls = {view.node: view.serving.url for view in nodes if view.serving is not None}
        if not urls:
            return {}
        with (
            # Nodes are reached by plain HTTP and without a proxy. By urllib3: httpx takes four
            # times as much of a processor for each answer, and a look has a thousand.
            urllib3.PoolManager(len(urls), timeout=self._timeout_s, retries=False) as client,
            ThreadPoolExecutor(self._at_once, thread_name_prefix="scrape") as threads,
        ):
            found = threads.map(partial(_windows, client, workload, after), urls, urls.values())
            return {
                node: records
                for node, records in zip(urls, found, strict=True)
                if records is not None
            }


def _windows(
    client: urllib3.PoolManager, workload: str, after: int, node: str, url: str
) -> tuple[Evidence, ...] | None:
    try:
        answer = client.request("GET", f"{url}/metrics/windows", fields={"after": str(after)})
        if answer.status == http.HTTPStatus.OK:
            return windows_in(answer.data, node)
        problem = f"{answer.status} {answer.reason}"
    except (urllib3.exceptions.HTTPError, OSError, msgspec.MsgspecError) as error:
        problem = f"{type(error).__name__}: {error}"
    logger.info("%s on %s gave no evidence: %s", workload, node, problem)
    return None


def windows_in(body: bytes, node: str) -> tuple[Evidence, ...]:
    """Return the records of a node's answer that can be true.

    Raises:
        msgspec.MsgspecError: it is no answer, or a value in it is none that a node could count.
    """
    return credible(decode(body, Windows).records, node)
