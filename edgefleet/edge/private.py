"""The private door: what the supervisor asks, on a unix socket that is open from the beginning."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgefleet.edge.node import Node
from edgefleet.edge.replies import JSON, on_method, on_missing, reply


def status_routes(node: Node) -> list[Route]:
    """Return the routes that every door has: health and summary."""

    async def health(_request: Request) -> Response:
        status, body = node.health()
        return reply(body, status)

    async def live(_request: Request) -> Response:
        return reply({"live": True})

    async def summary(_request: Request) -> Response:
        return Response(node.summary(), media_type=JSON)

    return [
        Route("/health", health),
        Route("/health/live", live),
        Route("/metrics/summary", summary),
    ]


def private_app(node: Node) -> Starlette:
    """Return the application of the private socket."""

    async def drain(_request: Request) -> Response:
        node.drain_asked.set()
        return reply({"draining": True}, 202)

    return Starlette(
        routes=[*status_routes(node), Route("/drain", drain, methods=["POST"])],
        exception_handlers={404: on_missing, 405: on_method},
    )
