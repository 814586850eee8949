"""The counts as they are scraped: for Prometheus, and by window. A request pays nothing for it.

Counters are those of the digest that serves: at a swap they begin anew, as with a new process, so
that no increase is ever put down to another digest than the one that the info metric names. Beside
them stand the newest closed windows, each with its digest (edgefleet.edge.gauges).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from edgefleet.edge.contract import BOUNDS_S, BUCKETS, Evidence
from edgefleet.edge.errors import Declined
from edgefleet.edge.node import Node
from edgefleet.edge.replies import JSON

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_OUTCOMES: Final = {
    "ok": "ok",
    "client_errors": "client_error",
    "server_errors": "server_error",
    "refused": "refused",
}
_COUNTERS: Final = {
    "wanted": "Requests whose label was asked for",
    "labelled": "Wanted labels that came",
    "correct": "Wanted labels that agreed with the answer",
    "other_labelled": "Labels that nobody asked for",
    "other_correct": "Labels that nobody asked for and that agreed",
    "shadowed": "Requests that the reference answered too",
    "disagreed": "Shadowed requests with another answer of the reference",
    "disagreed_labelled": "Disagreements whose label came",
    "shadow_gains": "Labelled disagreements in which the serving model was right",
    "shadow_losses": "Labelled disagreements in which the reference was right",
    "paired": "Shadowed and wanted requests whose label came",
    "gains": "Paired: serving right, reference wrong",
    "losses": "Paired: serving wrong, reference right",
    "golden_total": "Golden inputs answered",
    "golden_agreed": "Golden inputs answered as they should be",
}


def metrics_endpoints(node: Node) -> Mapping[str, Callable[[Request], Awaitable[Response]]]:
    """Return, by path, what answers scrapes."""
    exporter = Exporter(node)

    async def metrics(_request: Request) -> Response:
        return Response(exporter.text(), headers={"content-type": CONTENT_TYPE})

    async def windows(request: Request) -> Response:
        text = request.query_params.get("after", "-1")
        if not text.removeprefix("-").isdecimal():
            raise Declined(400, f"after={text!r}: expected the number of a window")
        found = await node.books.windows(int(text), time.time())
        return Response(msgspec.json.encode(found), media_type=JSON)

    return {"/metrics": metrics, "/metrics/windows": windows}


class Exporter(Collector):
    """Turns a node's counts into metric families."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """Return the exposition in the text format."""
        return generate_latest(self._registry) + self._node.books.gauges

    def describe(self) -> list[Metric]:
        """Return nothing: names are not checked at registration, there is one collector."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        node = self._node
        total = node.books.book.total(time.time())
        # The digest once, here: in a label of each series it would double them at every release.
        info = InfoMetricFamily("edge_server", "What serves")
        info.add_metric(
            [],
            {
                "workload": node.settings.workload,
                "node": node.settings.node,
                "digest": node.digest,
                "boot": node.boot,
            },
        )
        yield info
        requests = CounterMetricFamily("edge_requests", "Requests by outcome", labels=["outcome"])
        for field, outcome in _OUTCOMES.items():
            requests.add_metric([outcome], getattr(total, field))
        yield requests
        yield _latency(total)
        for field, text in _COUNTERS.items():
            yield CounterMetricFamily(f"edge_{field}", text, value=getattr(total, field))
        for name, text, value in (
            ("edge_ready", "1 if it may be sent requests", not node.problem),
            ("edge_self_check_passed", "1 if the golden set agreed", node.self_check.passed),
            ("edge_warm", "1 once it is past its warm-up", total.warm),
            ("edge_queue_depth", "Requests in flight", node.gate.depth),
            ("edge_queue_peak", "Most requests in flight at once", total.queue_peak),
        ):
            yield GaugeMetricFamily(name, text, value=float(value))


def _latency(total: Evidence) -> HistogramMetricFamily:
    counts = [0] * (BUCKETS + 1)
    for bucket, count in total.latency:
        counts[bucket] = count
    below = 0
    buckets: list[tuple[str, float]] = []
    seconds = 0.0
    for bucket, count in enumerate(counts):
        below += count
        bound = BOUNDS_S[bucket] if bucket < BUCKETS else BOUNDS_S[-1]
        buckets.append((f"{bound:.6g}" if bucket < BUCKETS else "+Inf", below))
        seconds += count * bound
    # The sum is an upper bound, from the buckets: nothing reads a mean of latencies here.
    family = HistogramMetricFamily("edge_latency_seconds", "Server-side time of ok answers")
    family.add_metric([], buckets, sum_value=seconds)
    return family
