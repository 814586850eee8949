"""A centre without nodes: Prefect with a worker, MLflow, the flows. What begins ends REFUSED.

Both servers ask who comes; only the home's file of settings says it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun

from edgefleet.adapters.mlflow import CONTENT_TAG, MlflowModels
from edgefleet.adapters.servers import (
    Program,
    mlflow_server,
    prefect_server,
    prefect_worker,
    supervised,
)
from edgefleet.adapters.servers.embedded import ROOT
from edgefleet.cli.deploying import deploy_everything
from edgefleet.cli.here import prefect_at
from edgefleet.fleet.release import Release
from edgefleet.fleet.trigger import RELEASE_TAG, REQUESTED
from edgefleet.model.miniature import write_miniature
from edgefleet.settings import FILE, Settings
from edgefleet.wiring import World, build, installed
from tests.e2e.site import wait_for

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

PREFECT_AUTH = "ada:planted-prefect:password"
MLFLOW_AUTH = "ada:planted-mlflow:password"
SILENT = "http://127.0.0.1:1/api"
"""Where nobody answers."""


@dataclass(frozen=True)
class Centre:
    """What is up, and how to look at it."""

    home: Path
    world: World
    mlflow: MlflowClient
    mlflow_url: str
    prefect_api: str

    def spec(self, workload: str, folder: str = "specs", **fields: object) -> str:
        """Write a spec whose model is named after its workload; return that name."""
        content = {"workload": workload, "model": workload, "selector": {"line": "camera"}}
        body = yaml.safe_dump({**content, **fields})
        (self.home / folder).mkdir(exist_ok=True)
        (self.home / folder / f"{workload}.yaml").write_text(body)
        return workload

    def register(self, model: str, seed: int, **environment: str) -> tuple[str, str]:
        """Register a version by command; return its number, and what was complained about."""
        folder = self.home / "models" / f"{model}-{seed}"
        write_miniature(folder, model, seed)
        command = [sys.executable, "-m", "edgefleet.cli", "register", str(folder), "--json"]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**as_in_a_shell(), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return str(yaml.safe_load(done.stdout)["version"]), done.stderr

    def tagged(self, model: str, *, tag: bool = True) -> str:
        """Register a version that has the tags and nothing else, quickly."""
        made = self.mlflow.create_model_version(
            model, f"s3://nowhere/{model}", tags={CONTENT_TAG: "x"}, await_creation_for=0
        )
        if tag:
            self.mlflow.set_model_version_tag(model, made.version, RELEASE_TAG, REQUESTED)
        return str(made.version)

    def releases(self, workload: str) -> list[Release]:
        """Return a workload's releases, oldest first."""
        return list(reversed(self.world.ledger.releases(workload)))

    def begun(self, workload: str, number: int = 1) -> list[Release]:
        """Wait until so many releases of a workload have been driven."""

        def driven() -> list[Release]:
            found = [release for release in self.releases(workload) if release.epoch]
            return found if len(found) >= number else []

        return wait_for(driven, lambda: f"{self.releases(workload)}; {self.runs('watch')}")

    def asking(self, model: str) -> int:
        """Return how many versions of a model ask by their tag."""
        return len(self.world.models.asking(model, "tag", None))

    def told_by(self, model: str) -> set[str]:
        """Return who sent events of a model's registrations."""
        wanted = {"resource": {"id": [f"edgefleet.model.{model}"]}}
        with get_client(sync_client=True) as client:
            answer = client.request("POST", "/events/filter", json={"filter": wanted})
        return {str(event["payload"]["told_by"]) for event in answer.json()["events"]}

    def runs(self, flow: str) -> list[FlowRun]:
        """Return all runs of a flow."""
        with get_client(sync_client=True) as client:
            named = FlowFilter(name=FlowFilterName(any_=[flow]))
            return client.read_flow_runs(flow_filter=named, limit=200)


def as_in_a_shell() -> dict[str, str]:
    """Return the environment without what MLflow's client was told in this process."""
    return {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}


def with_webhooks(server: Program) -> Program:
    """Return MLflow as it has to be started where a bridge has no public name."""
    switches = {
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
        # It remembers for a minute which webhooks there are, and that there was none.
        "MLFLOW_WEBHOOK_CACHE_TTL": "0",
    }
    return replace(server, env={**server.env, **switches})


@contextmanager
def a_centre(home: Path) -> Iterator[Centre]:
    """Bring everything up, with the deployments; nothing of it runs afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("EDGEFLEET_", "PREFECT_")):
                patch.delenv(name)
        specs, clusters = home / "specs", home / "clusters.yaml"
        specs.mkdir(parents=True)
        written = home / FILE
        written.touch(0o600)
        written.write_text(
            f"EDGEFLEET_PREFECT_AUTH={PREFECT_AUTH}\nEDGEFLEET_MLFLOW_AUTH={MLFLOW_AUTH}\n"
        )
        clusters.write_text("workers: [{name: nowhere}]\n")
        patch.setenv("EDGEFLEET_HOME", str(home))
        patch.setenv("EDGEFLEET_SPECS", str(specs))
        patch.setenv("EDGEFLEET_CLUSTERS", str(clusters))
        programs = (
            prefect_server(home, auth=PREFECT_AUTH),
            with_webhooks(mlflow_server(home, auth=MLFLOW_AUTH)),
            prefect_worker(home, auth=PREFECT_AUTH),
        )
        with supervised(home, programs) as endpoints:
            deploy_everything(Settings(clusters=Path()), endpoints.prefect_api)
            api = endpoints.prefect_api
            with prefect_at(Settings(), api), installed(build(Settings())) as world:
                client = MlflowModels(endpoints.mlflow_url, MLFLOW_AUTH)._client
                yield Centre(home, world, client, endpoints.mlflow_url, api)
