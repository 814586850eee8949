"""The proxy: takes calls of factories' workers, and passes on what the rules let through.

It shows Prefect its own password, never a factory's token, and Prefect nothing else of the caller.
Events are taken and dropped: Prefect's automations believe them, and no order needs any. What a
worker wants to hear by WebSocket (other runs' events) is refused; it then asks every ten seconds.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from edgefleet.adapters.proxy.rules import Passage, Proof, passage
from edgefleet.edge.bodies import read_body
from edgefleet.edge.errors import Declined

LIMIT_BYTES: Final = 8 * 1024 * 1024
"""An answer of ten thousand nodes has two."""
_BODY_S: Final = 30.0
_PREFECT_S: Final = 60.0
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_UNKNOWN: Final = "no factory has this token: `edgefleet token FACTORY` makes one"
_POLICY: Final = 1008
"""Close code of a WebSocket that breaks a rule."""

logger = logging.getLogger(__name__)

PoolOf = Callable[[str], str | None]
"""Returns the pool for `factory:token`, None for nobody's."""


def proxy_app(prefect_api: str, auth: str, pool_of: PoolOf) -> Starlette:
    """Return the application; `auth` is `user:password` for Prefect, empty if it asks nobody."""
    user, _, password = auth.partition(":")
    prefect = Prefect(
        httpx.AsyncClient(
            base_url=f"{prefect_api}/",
            auth=httpx.BasicAuth(user, password) if user else None,
            timeout=_PREFECT_S,
            trust_env=False,
        )
    )

    async def pass_on(request: Request) -> Response:
        path = str(request.path_params["path"])
        try:
            pool = _admitted(request.headers.get("authorization", ""), pool_of)
            body = await read_body(request, LIMIT_BYTES, _BODY_S)
            return await prefect.asked(passage(request.method, path, body, pool), pool)
        except Declined as error:
            logger.warning("refused, %d: %s", error.status, error)
            return JSONResponse({"detail": str(error)}, error.status)

    async def no_csrf(_request: Request) -> Response:
        return JSONResponse({"detail": "CSRF protection is disabled."}, 422)

    async def events(socket: WebSocket) -> None:
        await _swallowed(socket, pool_of)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with prefect.client:
            yield

    return Starlette(
        routes=[
            Route("/api/csrf-token", no_csrf, methods=["GET"]),
            Route("/api/{path:path}", pass_on, methods=_METHODS),
            WebSocketRoute("/api/events/in", events),
        ],
        lifespan=lifespan,
    )


class Prefect:
    """Prefect's API behind the proxy."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """Take the client that is let in there."""
        self.client = client

    async def asked(self, wanted: Passage, pool: str) -> Response:
        """Pass a call on and return the answer.

        Raises:
            Declined: something is not the pool's, or Prefect does not answer.
        """
        for proof in wanted.proofs:
            await self._prove(proof, pool)
        found = await self._call(wanted.method, wanted.path, wanted.body)
        return Response(found.content, found.status_code, media_type="application/json")

    async def _prove(self, proof: Proof, pool: str) -> None:
        """See that something is the pool's; what Prefect does not know is nobody's.

        Raises:
            Declined: it is not.
        """
        if proof.kind == "flows":
            # A flow has no pool: it is the factory's if one of its deployments is.
            asked = {"flows": {"id": {"any_": [proof.id]}}, "work_pools": _named(pool), "limit": 1}
            request = self.client.build_request("POST", "deployments/filter", json=asked)
            found = await self._sent(request)
            owned = found.is_success and bool(found.json())
        else:
            found = await self._call("GET", f"{proof.kind}/{proof.id}", b"")
            owned = found.is_success and found.json().get("work_pool_name") == pool
        if not owned:
            raise Declined(403, f"{proof.kind}/{proof.id}: not of pool {pool}")

    async def _call(self, method: str, path: str, body: bytes) -> httpx.Response:
        headers = {"content-type": "application/json"} if body else {}
        request = self.client.build_request(method, path, content=body, headers=headers)
        return await self._sent(request)

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        try:
            found = await self.client.send(request)
        except httpx.TransportError as error:
            said = f"Prefect's server does not answer: {type(error).__name__} {error}"
            raise Declined(503, said) from error
        if found.status_code == httpx.codes.UNAUTHORIZED:
            raise Declined(
                502, "Prefect's server does not let the proxy in: EDGEFLEET_PREFECT_AUTH"
            )
        return found


def _named(pool: str) -> dict[str, object]:
    return {"name": {"any_": [pool]}}


def _admitted(header: str, pool_of: PoolOf) -> str:
    """Return the pool of whoever calls.

    Raises:
        Declined: nobody knows the token.
    """
    scheme, _, shown = header.partition(" ")
    try:
        told = base64.b64decode(shown, validate=True).decode() if scheme == "Basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        told = ""
    pool = pool_of(told)
    if pool is None:
        raise Declined(401, _UNKNOWN)
    return pool


async def _swallowed(socket: WebSocket, pool_of: PoolOf) -> None:
    """Take a worker's events and drop them; Prefect makes those about its runs' states itself."""
    await socket.accept(subprotocol="prefect")
    try:
        async with asyncio.timeout(_BODY_S):
            greeting = await socket.receive_json()
        token = greeting.get("token") if isinstance(greeting, dict) else None
        if pool_of(str(token)) is None:
            await socket.close(_POLICY, _UNKNOWN)
            return
        await socket.send_json({"type": "auth_success"})
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        return
    except (TimeoutError, ValueError, KeyError):
        await socket.close(_POLICY, "no greeting of Prefect's client")
