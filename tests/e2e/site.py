"""A whole site in a folder: servers, worker, ten edge servers, cameras, and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from edgefleet.adapters.servers import supervised
from edgefleet.adapters.servers.embedded import ROOT
from edgefleet.cli.deploying import Deployed, deploy_everything
from edgefleet.cli.here import prefect_at
from edgefleet.cli.local import load_fleet, on_postgres, programs
from edgefleet.edge.contract import Digest
from edgefleet.fleet.inventory import NodeView
from edgefleet.fleet.release import Phase, Release
from edgefleet.plant.record import PlantRecord, read
from edgefleet.report.gather import ReleaseStory, gather
from edgefleet.settings import Settings
from edgefleet.wiring import World, build, installed
from tasks.sites import look_around
from tasks.starts import suspended_run

HERE = Path(__file__).parent
WORKLOAD = "defect-detection"
MODEL = "defect-classifier"
NODES = 10

PLANTED = {
    "EDGEFLEET_REGISTRY_PASSWORD": "planted-registry-password",
    "EDGEFLEET_PROMETHEUS_TOKEN": "planted-prometheus-token",
    # Nobody listens there: what the server says about it must not show the password either.
    "EDGEFLEET_NOTIFY_URL": "json://ada:planted-notify-password@127.0.0.1:9/",
}
"""Secrets that must be found in nothing that is stored;"""

T = TypeVar("T")


@dataclass(frozen=True)
class Site:
    """What is up, and how to look at it."""

    home: Path
    ui: str
    world: World
    api: str
    """Prefect's server, for programs."""
    commands: ExitStack
    """Ends what is still running of them."""

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Run a command as a user does, who has called `edgefleet up` before."""
        command = [sys.executable, "-m", "edgefleet.cli", *words, "--json"]
        started = self.commands.enter_context(
            subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        self.commands.callback(started.kill)
        return started

    def edgefleet(self, *words: str) -> Any:
        """Return what a command says as JSON; it must end well."""
        return told(self.start(*words))

    def release(self, release_id: str) -> Release:
        return self.world.ledger.release(release_id)

    def story(self, release_id: str) -> ReleaseStory:
        return gather(self.world.ledger, release_id)

    def nodes(self) -> tuple[NodeView, ...]:
        """What every node answers itself, now."""
        return look_around(WORKLOAD).nodes

    def serving(self, digest: Digest) -> int:
        return sum(view.serves(digest) for view in self.nodes())

    def plant(self) -> PlantRecord:
        return read(self.home / "fleet")

    def asked(self, release_id: str, phase: Phase = Phase.AWAITING) -> FlowRun:
        """Return the release's run once it waits for a person, in one of two phases."""

        def waiting() -> FlowRun | None:
            admitted = [found.release_id for found in self.world.ledger.releases(WORKLOAD)]
            if release_id not in admitted:
                return None
            current = self.release(release_id)
            assert current.live, f"ended before anybody was asked: {self.how(release_id)}"
            return suspended_run(release_id) if current.phase is phase else None

        return wait_for(waiting, lambda: self.how(release_id))

    def process_of(self, run: FlowRun) -> int:
        """Return the process in which the worker runs a flow run now."""
        with get_client(sync_client=True) as client:
            return int(client.read_flow_run(run.id).infrastructure_pid or 0)

    def cancel(self, run: FlowRun) -> None:
        """Send what Prefect's page sends when Cancel is confirmed."""
        body = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
        self._post(f"flow_runs/{run.id}/set_state", body)

    def automations(self) -> tuple[str, ...]:
        return tuple(found["name"] for found in self._post("automations/filter", {}))

    def deploy(self) -> Deployed:
        """Do once more what `edgefleet up` does at its end."""
        return deploy_everything(Settings(), self.api)

    def _post(self, path: str, body: Mapping[str, object]) -> Any:
        url = f"{self.api}/{path}"
        return httpx.post(url, json=body, trust_env=False, timeout=60).raise_for_status().json()

    def how(self, release_id: str) -> str:
        """Return the journal, for whoever has to find out what went wrong."""
        lines = self.world.ledger.journal(release_id)
        return "\n".join(f"{entry.at:%H:%M:%S} {entry.phase} {entry.text}" for entry in lines)


def told(command: subprocess.Popen[str]) -> Any:
    """Wait for a command; return its JSON."""
    said, complained = command.communicate()
    assert command.returncode == 0, f"{command.args}: exit code {command.returncode}: {complained}"
    return json.loads(said)


def wait_for(
    found: Callable[[], T | None],
    what: Callable[[], str],
    seconds: float = 600,
    every_s: float = 0.1,
) -> T:
    """Return what is found, as soon as it is; the deadline is for hopeless cases only."""
    deadline = time.monotonic() + seconds
    while not (seen := found()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what()}"
        time.sleep(every_s)
    return seen


@contextmanager
def a_site(home: Path, environment: Mapping[str, str] | None = None) -> Iterator[Site]:
    """Bring everything up, with the deployments; nothing of it runs afterwards.

    `environment` is what else a user has set.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("EDGEFLEET_", "PREFECT_")):
                patch.delenv(name)
        patch.setenv("EDGEFLEET_HOME", str(home))
        patch.setenv("EDGEFLEET_SPECS", str(HERE / "specs"))
        for name, value in PLANTED.items():
            patch.setenv(name, value)
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        settings = on_postgres(Settings(), "")
        fleet = load_fleet(HERE / "fleet.yaml")
        with supervised(home, programs(settings, fleet)) as endpoints:
            api = endpoints.prefect_api
            deploy_everything(settings, api)
            with (
                prefect_at(settings, api),
                installed(build(settings)) as world,
                ExitStack() as end,
            ):
                end.callback(world.ledger.close)
                yield Site(home, endpoints.prefect_ui, world, api, end)
