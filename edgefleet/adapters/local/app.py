"""The supervisor's HTTP API: the Site port per factory, and what the plant may see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgefleet.adapters.local.factory import Factory
from edgefleet.adapters.local.wire import STATUS, Camera, HoldOrder, ShadowOrders, problem_of
from edgefleet.errors import EdgefleetError, Refused
from edgefleet.fleet.inventory import Change

T = TypeVar("T")

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def supervisor_app(factories: Mapping[str, Factory], lifespan: Lifespan) -> Starlette:
    """Return the application; every error of ours becomes its status and its words."""

    def factory(request: Request) -> Factory:
        name = request.path_params["factory"]
        if name not in factories:
            subject = f"factory {name}"
            raise Refused(subject, f"is none of {', '.join(factories)}", "Name one")
        return factories[name]

    async def names(_request: Request) -> Response:
        return _json(tuple(factories))

    async def snapshot(request: Request) -> Response:
        return _json(await factory(request).snapshot(request.query_params["workload"]))

    async def hold(request: Request) -> Response:
        order = await _body(request, HoldOrder)
        factory(request).hold(order.node, order.digest, order.seed)
        return _json(None)

    async def release_hold(request: Request) -> Response:
        order = await _body(request, HoldOrder)
        factory(request).release_hold(order.node, order.digest)
        return _json(None)

    async def apply(request: Request) -> Response:
        factory(request).apply(await _body(request, Change))
        return _json(None)

    async def shadow(request: Request) -> Response:
        order = await _body(request, ShadowOrders)
        factory(request).shadow(order.workload, order.orders)
        return _json(None)

    async def plant(_request: Request) -> Response:
        return _json(cameras(factories))

    return Starlette(
        lifespan=lifespan,
        exception_handlers={EdgefleetError: _on_error},
        routes=[
            Route("/factories", names),
            Route("/factories/{factory}/snapshot", snapshot),
            Route("/factories/{factory}/hold", hold, methods=["POST"]),
            Route("/factories/{factory}/release-hold", release_hold, methods=["POST"]),
            Route("/factories/{factory}/apply", apply, methods=["POST"]),
            Route("/factories/{factory}/shadow", shadow, methods=["POST"]),
            Route("/plant", plant),
        ],
    )


def cameras(factories: Mapping[str, Factory]) -> tuple[Camera, ...]:
    """Return a line for every job; a cut link cuts no camera."""
    return tuple(
        Camera(
            factory=factory.name,
            node=node.name,
            workload=workload,
            url=job.url,
            changing=job.changing,
            ready=job.ready,
            wanted=job.ordered is not None,
        )
        for factory in factories.values()
        for node in factory.nodes.values()
        for workload, job in node.jobs.items()
    )


async def _body(request: Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.MsgspecError as error:
        subject = f"body of {request.url.path}"
        raise Refused(subject, str(error), "Send what the Site port says") from error


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def _on_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, EdgefleetError):
        raise error
    return _json(problem_of(error), STATUS.get(type(error), 500))
