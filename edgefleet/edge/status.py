"""The status door: what probes and scrapes ask, on a TCP port of its own.

Open from the beginning, so that a pod that cannot serve says why; apart from the public door, so
that neither a probe nor a scrape waits behind inference. It only answers: nothing is ordered here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgefleet.edge.errors import Declined
from edgefleet.edge.node import Node
from edgefleet.edge.private import status_routes
from edgefleet.edge.replies import on_declined, on_method, on_missing


def status_app(node: Node) -> Starlette:
    """Return the application of the status port."""
    endpoints: Mapping[str, Callable[[Request], Awaitable[Response]]] = {}

    async def scrape(request: Request) -> Response:
        nonlocal endpoints
        if node.serving is None:
            raise Declined(503, f"nothing is counted yet: {node.problem}")
        if not endpoints:
            # Imported by the loading thread: a tenth of a second that the start does not have.
            from edgefleet.edge.metrics import metrics_endpoints  # noqa: PLC0415 - as said

            endpoints = metrics_endpoints(node)
        return await endpoints[request.url.path](request)

    return Starlette(
        routes=[
            *status_routes(node),
            Route("/metrics", scrape),
            Route("/metrics/windows", scrape),
        ],
        exception_handlers={Declined: on_declined, 404: on_missing, 405: on_method},
    )
