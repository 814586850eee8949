"""Given MLflow with a webhook to the bridge, when a version is tagged, then its release begins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from edgefleet.adapters.servers.embedded import ROOT
from tests.e2e.site import wait_for
from tests.triggers.centre import Centre

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]

SECRET = "a secret of the bridge"


@pytest.fixture(scope="module")
def bridge(centre: Centre) -> Iterator[str]:
    """Given the bridge as its own program, and MLflow told of it; return its address."""
    command = [sys.executable, "-m", "edgefleet.cli", "bridge", "--port", "0", "--json"]
    env = {**os.environ, "EDGEFLEET_BRIDGE_SECRET": SECRET}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            line = running.stdout.readline()
            assert line, "the bridge ended before it listened"
            said += line
        url = str(json.loads(said)["url"])
        hook = centre.mlflow.create_webhook(
            "edgefleet", url, ["model_version_tag.set"], secret=SECRET
        )
        yield url
        centre.mlflow.delete_webhook(hook.webhook_id)
        running.terminate()


def test_mlflows_own_webhook_starts_a_release(centre: Centre, bridge: str) -> None:
    assert httpx.get(bridge.replace("/mlflow", "/health"), trust_env=False).status_code == 200
    workload = centre.spec("by-webhook")
    centre.mlflow.create_registered_model(workload)
    version = centre.tagged(workload)
    (release,) = centre.begun(workload)
    assert release.version == version
    # The watch of the minute may have been there first, and events are written in batches.
    told = wait_for(lambda: centre.told_by(workload), lambda: "Prefect was never told")
    assert told == {"MLflow's webhook"}


def test_a_stranger_is_refused(bridge: str) -> None:
    answer = httpx.post(bridge, json={"entity": "model_version"}, trust_env=False)
    assert answer.status_code == 401
