"""A Prefect server for one rehearsal or one run of the tests: its database is empty, and goes.

Prefect's own test harness does the same, and loads the whole server into this process too: 4 s and
100 MB.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from prefect.events.worker import EventsWorker
from prefect.logging.configuration import setup_logging
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_LEVEL,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)

from edgefleet.adapters.servers import Program, prefect_server, supervised

_START_S: Final = 300.0
"""On a machine that does much else."""


@contextmanager
def own_prefect() -> Iterator[None]:
    """Run flows against a Prefect server of their own, quietly.

    Without heartbeats: nobody watches these runs, and each flow waits up to a second for the thread
    that sends them to end.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with supervised(home, (_server(home),)) as endpoints:
            chosen = {
                PREFECT_API_URL: endpoints.prefect_api,
                PREFECT_LOGGING_LEVEL: "ERROR",
                PREFECT_LOGGING_TO_API_ENABLED: False,
                PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
            }
            with temporary_settings(chosen):
                setup_logging()  # it read the level when Prefect was imported
                yield
                EventsWorker.drain_all()
            setup_logging()


def _server(home: Path) -> Program:
    """Return the server without what nobody here looks at.

    That is its pages, and the services that write down events and task runs: they hold SQLite's one
    lock when a flow wants it, the server then answers 503, and Prefect's client sleeps for 2 s.
    """
    usual = prefect_server(home)
    services = ("EVENT_PERSISTER", "TASK_RUN_RECORDER", "TRIGGERS")
    less = {
        "PREFECT_UI_ENABLED": "false",
        "PREFECT__SERVER_EPHEMERAL": "1",
        **{f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false" for service in services},
    }
    return replace(usual, env={**usual.env, **less}, start_s=_START_S)
