"""Small answers: JSON bodies, and errors as the sender gets them."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgefleet.edge.errors import Declined

JSON: Final = "application/json"


def reply(content: object, status: int = 200) -> Response:
    """Return a JSON answer."""
    return Response(msgspec.json.encode(content), status, media_type=JSON)


def refusal(declined: Declined) -> Response:
    """Return the answer to a declined request."""
    response = reply({"error": declined.message}, declined.status)
    if declined.retry_after_s is not None:
        response.headers["retry-after"] = str(declined.retry_after_s)
    if declined.status == 408:  # noqa: PLR2004 - the rest of that body may still come
        response.headers["connection"] = "close"
    return response


async def on_declined(_request: Request, error: Exception) -> Response:
    """Answer a declined request, as Starlette's exception handler."""
    if isinstance(error, Declined):
        return refusal(error)
    raise error


async def on_missing(request: Request, _error: Exception) -> Response:
    """Answer a request for a path that is not there."""
    return reply({"error": f"{request.method} {request.url.path}: no such route"}, 404)


async def on_method(request: Request, _error: Exception) -> Response:
    """Answer a request with a method that its path does not have."""
    return reply({"error": f"{request.url.path}: has no {request.method}"}, 405)
