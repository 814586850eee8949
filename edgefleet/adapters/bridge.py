"""The bridge's one door: MLflow's webhook comes in, a notice goes out, every answer is in words.

It keeps nothing that matters: what is lost with its process, or while Prefect is silent, is found
by the next watch. Which deliveries were taken is known until it ends; one that comes again after
that makes one look more, and no release more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgefleet.adapters.mlflow_webhook import Deliveries, Notice, genuine, notice_in
from edgefleet.edge.bodies import read_body
from edgefleet.edge.errors import Declined
from edgefleet.errors import Refused

LIMIT_BYTES: Final = 64 * 1024
BODY_S: Final = 10.0
"""A body that is not here within so long is given up."""
MIN_SECRET: Final = 16
"""Characters."""

logger = logging.getLogger(__name__)


def bridge_app(
    secret: str, tell: Callable[[Notice], str], clock: Callable[[], float] = time.time
) -> Starlette:
    """Return the application; `tell` passes a notice on and returns why it could not, or nothing.

    Raises:
        Refused: the secret is missing or short.
    """
    if len(secret) < MIN_SECRET:
        raise Refused(
            "EDGEFLEET_BRIDGE_SECRET",
            f"has {len(secret)} characters, at least {MIN_SECRET} are needed",
            "Set it to the secret that the webhook has in MLflow",
        )
    key, taken = secret.encode(), Deliveries()

    async def receive(request: Request) -> Response:
        try:
            body = await read_body(request, LIMIT_BYTES, BODY_S)
            delivery = genuine(request.headers, body, key, clock())
            notice = notice_in(body)
        except Declined as error:
            logger.warning("refused, %d: %s", error.status, error)
            return JSONResponse({"refused": str(error)}, error.status)
        if notice is None:
            return JSONResponse({"ignored": "it asks for no release"})
        if not taken.take(delivery, clock()):
            return JSONResponse({"ignored": f"delivery {delivery} was taken before"})
        silent = await run_in_threadpool(tell, notice)
        if silent:
            taken.give_back(delivery)
            logger.warning("%s %s: Prefect: %s", notice.model, notice.version, silent)
            said = f"Prefect was not told, the next watch will find it: {silent}"
            return JSONResponse({"refused": said}, 503)
        logger.info("%s %s: a look was asked for", notice.model, notice.version)
        return JSONResponse({"accepted": f"{notice.model} {notice.version}"}, 202)

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/mlflow", receive, methods=["POST"]),
            Route("/health", health, methods=["GET"]),
        ]
    )
