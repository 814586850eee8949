"""The programs of the embedded default: Prefect's server and worker, and MLflow.

Each keeps its state in an SQLite file below the home, or in a database of its own on a PostgreSQL
server. That database's URL, and who may log in, reach it by its environment, never by its
arguments, which everybody on the machine can read. Prefect is started as a program and never
imported: adapters do not know it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import edgefleet
from edgefleet.adapters.servers.program import Program

if TYPE_CHECKING:
    from edgefleet.adapters.servers.postgres import PostgresServer

ROOT: Final = Path(edgefleet.__file__).resolve().parents[1]
"""Where `flows/` and prefect.yaml are: the worker's folder, so that dotted entry points load."""

# A program that dies in native code (a runtime, a driver) leaves its stack in its log.
_QUIET: Final = {"DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}


def python(line: str) -> tuple[str, ...]:
    """Return the command that runs a module, by this interpreter, with words as its arguments."""
    return (sys.executable, "-m", *line.split())


def prefect_settings(home: Path) -> Mapping[str, str]:
    """Return the settings that the server, the worker and its flows share."""
    return {
        **_QUIET,
        "PREFECT_HOME": str(home.resolve() / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLI_COLORS": "false",
    }


def prefect_server(home: Path, postgres: PostgresServer | None = None, auth: str = "") -> Program:
    """Return Prefect's server with its pages; its SQLite file lies in PREFECT_HOME.

    It answers who shows `auth`, `user:password`; empty: everybody.
    """
    url = postgres.prefect if postgres else ""
    return Program(
        name="prefect",
        argv=python("prefect server start --host 127.0.0.1 --port {port}"),
        cwd=home.resolve(),
        env={
            **prefect_settings(home),
            # Unset, the pages would call port 4200.
            "PREFECT_API_URL": "http://127.0.0.1:{port}/api",
            "PREFECT_SERVER_UI_API_URL": "http://127.0.0.1:{port}/api",
            # The first pages have a Resume button in sight; the second ones hide it in a menu.
            "PREFECT_SERVER_UI_V2_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            # Prefect's own clean-up: events after 7 days, runs with their logs after 90.
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(90 * 24 * 3600),
            # SQLite has one writer: under load an answer may take longer than the default 10 s.
            "PREFECT_SERVER_DATABASE_TIMEOUT": "30",
            **({"PREFECT_SERVER_DATABASE_CONNECTION_URL": url} if url else {}),
            **({"PREFECT_SERVER_API_AUTH_STRING": auth} if auth else {}),
        },
        ready_urls=("http://127.0.0.1:{port}/api/health",),
        endpoints={
            "prefect_api": "http://127.0.0.1:{port}/api",
            "prefect_ui": "http://127.0.0.1:{port}",
        },
    )


def prefect_worker(
    home: Path,
    pool: str = "edgefleet",
    root: Path = ROOT,
    postgres: PostgresServer | None = None,
    auth: str = "",
) -> Program:
    """Return a worker of a process pool, which it creates if it is missing.

    It shows `auth` to Prefect's server, and so do its flows.
    """
    on_postgres = (
        {
            # Its flows open the ledger there.
            "EDGEFLEET_POSTGRES_URL": postgres.url.render_as_string(hide_password=False),
            # So Prefect answers while its database is away; the client would take it as final.
            "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
        }
        if postgres
        else {}
    )
    return Program(
        name="worker",
        argv=(
            *python("prefect worker start --type process --name embedded --with-healthcheck"),
            *("--pool", pool),
        ),
        cwd=root,
        env={
            **prefect_settings(home),
            "PREFECT_API_URL": "{prefect_api}",
            # The default of 10 s is most of the time between an event and a flow's first line.
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
            "PREFECT_WORKER_WEBSERVER_PORT": "{port}",
            "EDGEFLEET_HOME": str(home.resolve()),
            "EDGEFLEET_ROOT": str(root),
            **on_postgres,
            **({"PREFECT_API_AUTH_STRING": auth} if auth else {}),
        },
        # It is healthy a moment before it has made its pool, and the pool outlives the worker.
        ready_urls=("http://127.0.0.1:{port}/health", f"{{prefect_api}}/work_pools/{quote(pool)}"),
        ready_auth=auth,
        after=("prefect",),
    )


def mlflow_server(home: Path, postgres: PostgresServer | None = None, auth: str = "") -> Program:
    """Return MLflow with its SQLite file and its artifacts below the home.

    `auth`: `user:password` of its administrator, made at the first start; who else may do what is
    kept in the home's basic_auth.db. Empty: everybody may do everything.
    """
    folder = home.resolve() / "mlflow"
    user, _, password = auth.partition(":")
    asking = {
        "MLFLOW_AUTH_ADMIN_USERNAME": user,
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        # Signs the page on which users are made; one for all of the server's processes.
        "MLFLOW_FLASK_SERVER_SECRET_KEY": hashlib.sha256(f"page {auth}".encode()).hexdigest(),
    }
    return Program(
        name="mlflow",
        argv=(
            *python("mlflow server --host 127.0.0.1 --port {port} --workers 1 --serve-artifacts"),
            *("--allowed-hosts", "127.0.0.1:{port},localhost:{port}"),
            *("--artifacts-destination", str(folder / "artifacts")),
            *(("--app-name", "basic-auth") if auth else ()),
        ),
        cwd=home.resolve(),
        env={
            **_QUIET,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_BACKEND_STORE_URI": (
                postgres.mlflow if postgres else f"sqlite:///{folder}/mlflow.db"
            ),
            # Jobs are for evaluating language models: eight more processes, and half a minute
            # until they have ended.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            **(asking if auth else {}),
        },
        ready_urls=("http://127.0.0.1:{port}/health",),
        endpoints={"mlflow_url": "http://127.0.0.1:{port}"},
    )


def embedded(
    home: Path,
    pool: str = "edgefleet",
    root: Path = ROOT,
    postgres: PostgresServer | None = None,
    prefect_auth: str = "",
    mlflow_auth: str = "",
) -> tuple[Program, ...]:
    """Return Prefect's server, its worker, and MLflow."""
    return (
        prefect_server(home, postgres, prefect_auth),
        mlflow_server(home, postgres, mlflow_auth),
        prefect_worker(home, pool, root, postgres, prefect_auth),
    )
