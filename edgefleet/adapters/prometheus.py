"""Evidence from a central Prometheus, to which the factories' agents forward what they scrape.

The values are those that the nodes' own `/metrics/windows` would give (edgefleet.edge.gauges): raw
samples are asked for, never a rate or an average. What an agent kept while the centre was away is
found when it comes. A node without a series is absent: no evidence, never zeros. A label that comes
later than a window is shown, and a window that no scrape saw, are not here.
"""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from edgefleet.adapters.credible import credible
from edgefleet.adapters.prometheus_http import PrometheusHttp
from edgefleet.adapters.prometheus_past import Past
from edgefleet.adapters.prometheus_samples import Sighting, sightings
from edgefleet.edge.contract import Evidence
from edgefleet.edge.gauges import PREFIX, SECONDS
from edgefleet.fleet.inventory import NodeView

MARGIN_S: Final = 300.0
"""By how much the clocks of nodes, agents, Prometheus and this process may differ."""
AT_ONCE: Final = 4
_NODES: Final = 25
_WINDOWS: Final = 30
"""For so many nodes and windows one question asks: a few megabytes, at a scrape every 15 s."""
_LONGEST_S: Final = 600.0
"""A question is about no less than this, however short windows are."""
_LATELY: Final = "1d"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """A query, and from when (unix seconds) it looks back."""

    query: str
    at: float


class Prometheus:
    """The Telemetry port over a Prometheus's HTTP API."""

    def __init__(self, http: PrometheusHttp, clock: Callable[[], float] = time.time) -> None:
        """Ask through `http`; `clock` gives unix seconds."""
        self._http = http
        self._clock = clock
        self._past: dict[str, Past] = {}
        self._lock = threading.Lock()

    def collect(
        self, workload: str, nodes: Sequence[NodeView], after: int
    ) -> Mapping[str, tuple[Evidence, ...]]:
        """Return, per node that was seen, the records of closed windows with number > `after`.

        Raises:
            Unreachable: Prometheus gave no answer, or an error.
        """
        factories = {view.node: view.factory for view in nodes}
        now = self._clock()
        past = self._known(workload, now) if nodes else None
        if past is None:
            return {}
        current = int(now // past.window_s)
        with self._lock:
            asked = {node: past.first(node, after, current) for node in factories}
        seen = self._see(list(questions(workload, asked, past.window_s, now)), factories)
        with self._lock:
            past.learn(asked, seen, current)
            found = {node: past.records(node, after) for node in factories}
        return {
            node: credible(records, node) for node, records in found.items() if records is not None
        }

    def _known(self, workload: str, now: float) -> Past | None:
        """Return what is known of a workload; None: no node of it was seen lately."""
        with self._lock:
            known = self._past.get(workload)
        if known is not None:
            return known
        name = f"{SECONDS}{{workload={_quoted(workload)}}}"
        series = self._http.ask(f"max(last_over_time({name}[{_LATELY}]))", now + MARGIN_S)
        lengths = [float(one.value[1]) for one in series if one.value is not None]
        if not lengths:
            return None
        with self._lock:
            return self._past.setdefault(workload, Past(lengths[0]))

    def _see(self, asked: Sequence[Question], factories: Mapping[str, str]) -> dict[str, Sighting]:
        """Ask, some at one time; each answer is sorted when it comes, and let go."""

        def answered(
            question: Question,
        ) -> tuple[dict[str, Sighting], frozenset[tuple[str, str]]]:
            return sightings(self._http.ask(question.query, question.at), factories)

        seen: dict[str, Sighting] = {}
        strangers: set[tuple[str, str]] = set()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="prometheus") as threads:
            for found, strange in threads.map(answered, asked):
                strangers |= strange
                for node, sighting in found.items():
                    known = seen.setdefault(node, sighting)
                    if known is not sighting:
                        known.add(sighting)
        for node, factory in sorted(strangers):
            logger.warning(
                "series of factory %s say node %s, which is of factory %s: not counted",
                factory,
                node,
                factories[node],
            )
        return seen


def questions(
    workload: str, asked: Mapping[str, int], window_s: float, now: float
) -> Iterator[Question]:
    """Return questions that cover the windows of each node from its first one on.

    Nodes with the same need share a question: one that was away does not make all expensive.
    """
    end = now + MARGIN_S
    longest_s = max(_WINDOWS * window_s, _LONGEST_S)
    nodes = sorted(asked, key=lambda node: (asked[node], node))
    for number in range(0, len(nodes), _NODES):
        some = nodes[number : number + _NODES]
        names = "|".join(re.escape(node) for node in sorted(some))
        series = f'{{__name__=~"{PREFIX}.+",workload={_quoted(workload)},node=~{_quoted(names)}}}'
        # A window can be seen once it is over, not before.
        begin = (asked[some[0]] + 1) * window_s - MARGIN_S
        while begin < end:
            until = min(begin + longest_s, end)
            yield Question(f"{series}[{math.ceil((until - begin) * 1000)}ms]", until)
            begin = until


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
