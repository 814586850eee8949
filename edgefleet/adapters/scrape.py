"""Evidence straight from the nodes: every node's own spool, asked over HTTP at the same time.

A node that does not answer, or answers something else, is absent from the result: no evidence. The
node keeps its windows, so what was missed is in the next reading.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import msgspec

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
            # Nodes are reached by plain HTTP and without a proxy.
            httpx.Client(
                timeout=self._timeout_s,
                trust_env=False,
                verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            ) as client,
            ThreadPoolExecutor(self._at_once, thread_name_prefix="scrape") as threads,
        ):
            found = threads.map(partial(_windows, client, workload, after), urls, urls.values())
            return {
                node: records
                for node, records in zip(urls, found, strict=True)
                if records is not None
            }


def _windows(
    client: httpx.Client, workload: str, after: int, node: str, url: str
) -> tuple[Evidence, ...] | None:
    try:
        answer = client.get(f"{url}/metrics/windows", params={"after": after}).raise_for_status()
        return decode(answer.content, Windows).records
    except (httpx.HTTPError, msgspec.MsgspecError) as error:
        logger.info(
            "%s on %s gave no evidence: %s: %s", workload, node, type(error).__name__, error
        )
        return None
