"""Given a centre, when a model is registered, then a release begins without anybody's doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from edgefleet.adapters.servers.embedded import ROOT
from edgefleet.cli.deploying import in_prefect
from edgefleet.settings import Settings
from tasks.events import tell_registered
from tests.e2e.site import wait_for
from tests.triggers.centre import SILENT, Centre

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]


def test_a_registration_starts_its_release_by_an_event(centre: Centre) -> None:
    workload = centre.spec("by-event")
    version, complaint = centre.register(workload, 1)
    (release,) = centre.begun(workload)
    assert (release.version, release.asked_by, complaint) == (version, "watch", "")


def test_a_registration_of_which_prefect_was_not_told_is_found(centre: Centre) -> None:
    workload = centre.spec("by-poll")
    version, complaint = centre.register(workload, 1, PREFECT_API_URL=SILENT)
    assert "the next watch will find it" in complaint
    (release,) = centre.begun(workload)
    assert release.version == version


KILLED_AFTER_ADMITTING = """
import os, signal
from dataclasses import replace
from edgefleet.adapters.memory.kill import watched
from edgefleet.settings import Settings
from edgefleet.wiring import build, installed
from flows.watch import watch

def reap(when, call):
    if (when, call) == ("after", "SqlLedger.admit"):
        os.kill(os.getpid(), signal.SIGKILL)

world = build(Settings())
with installed(replace(world, ledger=watched(world.ledger, reap))):
    watch()
"""


def test_what_a_killed_watch_admitted_is_started_by_the_next(centre: Centre) -> None:
    # In a folder of its own, so that no other watch is quicker.
    workload = centre.spec("killed", folder="only-here", on="any")
    centre.mlflow.create_registered_model(workload)
    version = centre.tagged(workload, tag=False)
    command = [sys.executable, "-c", KILLED_AFTER_ADMITTING]
    here = {**in_prefect(Settings(), centre.prefect_api), "PYTHONPATH": str(ROOT)}
    env = {**os.environ, **here, "EDGEFLEET_SPECS": str(centre.home / "only-here")}
    ended = subprocess.run(command, cwd=ROOT, env=env, check=False)
    assert ended.returncode == -signal.SIGKILL
    (release,) = centre.begun(workload)
    assert release.version == version


def test_a_hundred_registrations_at_once_are_each_decided_once(centre: Centre) -> None:
    workload = centre.spec("burst")
    centre.mlflow.create_registered_model(workload)

    def registered(_number: int) -> str:
        version = centre.tagged(workload)
        assert tell_registered(workload, version, "test") == ""
        return version

    with ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(copy_context().run, registered, n) for n in range(100)]
        versions = sorted(int(future.result()) for future in futures)

    def decided() -> bool:
        return len(centre.releases(workload)) >= len(versions)

    wait_for(decided, lambda: f"{len(centre.releases(workload))} of {len(versions)} admitted")
    assert sorted(int(release.version) for release in centre.releases(workload)) == versions
    # Not so often: for each question MLflow hashes the password, as long as for an answer.
    wait_for(
        lambda: centre.asking(workload) == 0,
        lambda: f"{centre.asking(workload)} ask still",
        every_s=5,
    )
    assert len(centre.releases(workload)) == len(versions)
