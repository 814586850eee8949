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
from edgefleet.adapters.local.wire import (
    STATUS,
    Camera,
    HoldOrder,
    ShadowOrders,
    UnplugOrder,
    problem_of,
)
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

    def order(kind: type[T], carry_out: Callable[[Factory, T], None]) -> Callable[..., Any]:
        """Return what takes orders of a kind."""

        async def taken(request: Request) -> Response:
            carry_out(factory(request), await _body(request, kind))
            return _json(None)

        return taken

    orders = {
        "hold": order(HoldOrder, lambda at, it: at.hold(it.node, it.digest, it.seed)),
        "release-hold": order(HoldOrder, lambda at, it: at.release_hold(it.node, it.digest)),
        "apply": order(Change, Factory.apply),
        "shadow": order(ShadowOrders, lambda at, it: at.shadow(it.workload, it.orders)),
        "unplug": order(UnplugOrder, lambda at, it: at.unplug(it.node, it.seconds)),
    }

    async def plant(_request: Request) -> Response:
        return _json(cameras(factories))

    return Starlette(
        lifespan=lifespan,
        exception_handlers={EdgefleetError: _on_error},
        routes=[
            Route("/factories", names),
            Route("/factories/{factory}/snapshot", snapshot),
            *(
                Route(f"/factories/{{factory}}/{name}", taken, methods=["POST"])
                for name, taken in orders.items()
            ),
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
