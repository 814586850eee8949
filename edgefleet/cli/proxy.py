"""The commands that let workers of factories in: a token for each, and the proxy that asks."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL

from edgefleet import wiring
from edgefleet.cli.bridge import listening
from edgefleet.cli.here import home_prefect
from edgefleet.cli.output import OUT, Json, say, told
from edgefleet.errors import Refused
from edgefleet.settings import Settings

Factory = Annotated[str, typer.Argument(help="A factory with a worker of its own.")]


def join(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(token)
    app.command()(proxy)


def token(
    factory: Factory,
    *,
    revoke: Annotated[bool, typer.Option("--revoke", help="Let the token open nothing.")] = False,
    as_json: bool = Json,
) -> None:
    """Make a factory's token for the proxy, in place of the one before; it is shown once."""
    from edgefleet.adapters.proxy.tokens import Tokens  # noqa: PLC0415 - of two commands only

    with told():
        settings = Settings()
        known = Tokens(settings.home.resolve())
        if revoke:
            known.revoke(factory)
            say({"revoked": factory}, as_json=as_json, draw=lambda: f"revoked: {factory}")
            return
        workers = wiring.workers(settings)
        if factory not in workers:
            listed = ", ".join(sorted(workers)) or "none"
            problem = f"has no worker of its own (known: {listed})"
            raise Refused(factory, problem, "Name it under `workers` in EDGEFLEET_CLUSTERS' file")
        pool = workers[factory].pool
        line = f"PREFECT_API_AUTH_STRING={factory}:{known.issue(factory, pool)}"
        said = {"factory": factory, "pool": pool, "environment": line}
        say(said, as_json=as_json, draw=lambda: OUT.print(line, soft_wrap=True))


def proxy(
    *,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0: a free one.")] = 8096,
    as_json: bool = Json,
) -> None:
    """Let factories' workers reach their own pool at Prefect, and nothing else (docs/access.md)."""
    import uvicorn  # noqa: PLC0415 - of all commands two serve

    from edgefleet.adapters.proxy.app import LIMIT_BYTES, proxy_app  # noqa: PLC0415 - as above
    from edgefleet.adapters.proxy.tokens import Tokens  # noqa: PLC0415 - as above

    with told():
        settings = Settings()
        known = Tokens(settings.home.resolve())
        with home_prefect(settings), listening(host, port) as listener:
            auth = str(PREFECT_API_AUTH_STRING.value() or "")
            app = proxy_app(str(PREFECT_API_URL.value()), auth, known.pool_of)
            url = f"http://{host}:{listener.getsockname()[1]}/api"
            say({"url": url}, as_json=as_json, draw=lambda: url)
            sys.stdout.flush()
            logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s")
            logging.getLogger("httpx").setLevel("WARNING")  # it would note each call
            config = uvicorn.Config(app, log_config=None, access_log=False, ws_max_size=LIMIT_BYTES)
            uvicorn.Server(config).run(sockets=[listener])
