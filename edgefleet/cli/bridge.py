"""The command that lets MLflow's webhook in."""

from __future__ import annotations

import logging
import socket
import sys
from typing import Annotated

import typer

from edgefleet.cli.here import home_prefect
from edgefleet.cli.output import Json, say, told
from edgefleet.errors import Refused
from edgefleet.settings import Settings
from tasks.events import tell_registered


def join(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(bridge)


def bridge(
    *,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0: a free one.")] = 8095,
    as_json: bool = Json,
) -> None:
    """Take MLflow's webhooks at /mlflow and have the watch look at once (docs/triggers.md)."""
    import uvicorn  # noqa: PLC0415 - of all commands this one serves

    from edgefleet.adapters.bridge import bridge_app  # noqa: PLC0415 - as above
    from edgefleet.adapters.mlflow_webhook import Notice  # noqa: PLC0415 - as above

    def tell(notice: Notice) -> str:
        return tell_registered(notice.model, notice.version, "MLflow's webhook")

    with told():
        settings = Settings()
        app = bridge_app(settings.bridge_secret.get_secret_value(), tell)
        with home_prefect(settings), listening(host, port) as listener:
            url = f"http://{host}:{listener.getsockname()[1]}/mlflow"
            say({"url": url}, as_json=as_json, draw=lambda: url)
            sys.stdout.flush()
            logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s")
            config = uvicorn.Config(app, log_config=None, access_log=False, limit_concurrency=64)
            uvicorn.Server(config).run(sockets=[listener])


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        Refused: the address is taken, or none of this machine.
    """
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise Refused(f"{host}:{port}", str(error), "Name a free --port of this machine") from error
