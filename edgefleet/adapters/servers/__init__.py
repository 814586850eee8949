"""The embedded servers: Prefect, its worker, MLflow, and whatever else a home needs beside them.

Programs are data; `up` starts those that do not run, `down` ends every process that descends from
them, `supervised` does both around a block and holds even if its process is killed. Everything is
written below one folder, the home. This is the default for one machine; it is no supervisor: a
program that dies later is started again by the next `up`.
"""

from __future__ import annotations

from edgefleet.adapters.servers.embedded import (
    embedded,
    mlflow_server,
    prefect_server,
    prefect_worker,
)
from edgefleet.adapters.servers.guard import supervised
from edgefleet.adapters.servers.home import down, running, up
from edgefleet.adapters.servers.program import Endpoints, Program

__all__ = [
    "Endpoints",
    "Program",
    "down",
    "embedded",
    "mlflow_server",
    "prefect_server",
    "prefect_worker",
    "running",
    "supervised",
    "up",
]
