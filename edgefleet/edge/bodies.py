"""Reading a request's body within limits of size and time."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from edgefleet.edge.errors import Declined


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """Return the body.

    Raises:
        Declined: it has more than `limit` bytes, or was not here within `seconds`.
    """
    too_large = f"the body has more than {limit} bytes"
    if int(request.headers.get("content-length", 0)) > limit:
        raise Declined(413, too_large)
    content = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                content += chunk
                if len(content) > limit:
                    raise Declined(413, too_large)
    except TimeoutError:
        raise Declined(408, f"the body was not here within {seconds:g} s") from None
    return bytes(content)
