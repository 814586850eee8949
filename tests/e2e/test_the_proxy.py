"""A factory's worker behind the proxy: its own pool's orders are carried out, all else is refused.

Real: Prefect with a password, the proxy as its own program, a worker that has a token of the proxy
and no other way in.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from edgefleet.adapters.servers import prefect_server, prefect_worker, supervised
from edgefleet.adapters.servers.embedded import ROOT
from edgefleet.cli.here import prefect_at
from edgefleet.settings import FILE, Settings
from edgefleet.wiring import Worker
from tasks.deployments import deploy_factories
from tasks.starts import start
from tasks.workers import answer_of
from tests.e2e.site import wait_for
from tests.registry.certificates import make_authority, make_server

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]

AUTH = "ada:planted-prefect:password"
OWN, OTHER = "linz", "graz"


@dataclass(frozen=True)
class Door:
    """What is up."""

    api: str
    """The proxy's."""
    auth: tuple[str, str]
    """What the factory's worker has."""
    home: Path
    far_home: Path
    log: Path

    def asked(
        self, method: str, path: str, body: object = None, auth: tuple[str, str] | None = None
    ) -> int:
        """Return the status of an answer to the worker."""
        return httpx.request(
            method,
            f"{self.api}/{path}",
            json=body,
            auth=auth or self.auth,
            trust_env=False,
            timeout=60,
        ).status_code

    def refused(self) -> list[str]:
        """Return what the proxy has noted of calls that it did not pass on."""
        return [said for said in self.log.read_text().splitlines() if "refused" in said]


def order(factory: str) -> FlowRun:
    """Send an order that nobody has signed: its worker answers that it refuses it."""
    return start(f"factory/{factory}", {"errand": "{}"}, f"test-{factory}", f"look {factory}")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("proxy")
    home, far_home = folder / "home", folder / "far"
    for one in (home, far_home):
        one.mkdir()
    clusters = folder / "clusters.yaml"
    clusters.write_text(f"workers: [{{name: {OWN}}}, {{name: {OTHER}}}]\n")
    written = home / FILE
    written.touch(0o600)
    written.write_text(f"EDGEFLEET_PREFECT_AUTH={AUTH}\nEDGEFLEET_CLUSTERS={clusters}\n")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("EDGEFLEET_", "PREFECT_")):
                patch.delenv(name)
        patch.setenv("EDGEFLEET_HOME", str(home))
        settings = Settings()
        with (
            supervised(home, (prefect_server(home, auth=AUTH),)) as endpoints,
            prefect_at(settings, endpoints.prefect_api),
        ):
            deploy_factories({OWN: Worker(OWN), OTHER: Worker(OTHER)})
            shown = made_token(OWN)
            log = folder / "proxy.log"
            with proxy(log) as api:
                worker = prefect_worker(far_home, OWN, auth=shown)
                here = {"PREFECT_API_URL": api, "EDGEFLEET_CLUSTERS": str(clusters)}
                ready = tuple(url.replace("{prefect_api}", api) for url in worker.ready_urls)
                worker = replace(worker, env={**worker.env, **here}, after=(), ready_urls=ready)
                user, _, token = shown.partition(":")
                with supervised(far_home, (worker,)):
                    yield Door(api, (user, token), home, far_home, log)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "edgefleet.cli", *words, "--json"]


def made_token(factory: str) -> str:
    done = subprocess.run(command("token", factory), cwd=ROOT, capture_output=True, check=True)
    return str(json.loads(done.stdout)["environment"]).partition("=")[2]


@contextmanager
def proxy(log: Path) -> Iterator[str]:
    """Run `edgefleet proxy`; yield the address for workers."""
    with (
        log.open("w") as complaints,
        subprocess.Popen(
            command("proxy", "--port", "0"),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        ) as running,
    ):
        assert running.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            line = running.stdout.readline()
            assert line, f"the proxy ended before it listened: {log.read_text()}"
            said += line
        try:
            yield str(json.loads(said)["url"])
        finally:
            running.terminate()


@pytest.fixture(scope="module")
def other(door: Door) -> FlowRun:
    """Given an order for a factory whose worker is not there."""
    del door
    return order(OTHER)


def test_an_order_on_its_own_pool_is_carried_out_and_answered(door: Door) -> None:
    run = order(OWN)

    def ended() -> FlowRun | None:
        with get_client(sync_client=True) as client:
            seen = client.read_flow_run(run.id)
        return seen if seen.state and seen.state.is_final() else None

    seen = wait_for(ended, lambda: f"{run.name} has not ended: {door.refused()}")
    assert seen.state is not None
    assert seen.state.name == "Refused"
    with get_client(sync_client=True) as client:
        answer = answer_of(client, run.id)
    assert answer is not None
    assert "no envelope" in answer.refused or "signed" in answer.refused, answer.refused
    # The rules name everything that a worker needs: it was never refused anything.
    assert door.refused() == []
    assert door.asked("GET", f"flow_runs/{run.id}") == 200
    assert door.asked("GET", f"deployments/{run.deployment_id}") == 200
    assert door.asked("GET", f"flows/{run.flow_id}") == 200


def test_another_pool_and_its_runs_are_out_of_reach(door: Door, other: FlowRun) -> None:
    assert other.work_pool_name == OTHER
    cancelled = {"state": {"type": "CANCELLED"}}
    answers = {
        door.asked("GET", f"work_pools/{OTHER}"),
        door.asked("POST", f"work_pools/{OTHER}/get_scheduled_flow_runs", {}),
        door.asked("GET", f"flow_runs/{other.id}"),
        door.asked("POST", f"flow_runs/{other.id}/set_state", cancelled),
        door.asked("PATCH", f"flow_runs/{other.id}/labels", {"a": "b"}),
        door.asked("GET", f"deployments/{other.deployment_id}"),
        door.asked("GET", f"work_queues/{other.work_queue_id}"),
        door.asked("POST", "logs/", [{"flow_run_id": str(other.id), "message": "x"}]),
        door.asked("POST", "artifacts/", {"flow_run_id": str(other.id), "key": f"a-{other.id}"}),
    }
    assert answers == {403}
    with get_client(sync_client=True) as client:
        seen = client.read_flow_run(other.id).state
    assert seen is not None
    assert not seen.is_final()


def test_a_search_finds_runs_of_its_own_pool_only(door: Door, other: FlowRun) -> None:
    assert other.work_pool_name == OTHER
    body = {"work_pools": {"name": {"any_": [OTHER]}}, "flow_runs": {"operator": "or_"}}
    found = httpx.post(
        f"{door.api}/flow_runs/filter", json=body, auth=door.auth, trust_env=False
    ).json()
    assert {run["work_pool_name"] for run in found} <= {OWN}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "deployments/filter"),
        ("POST", "flow_runs/"),
        ("POST", "work_pools/filter"),
        ("POST", "block_documents/filter"),
        ("POST", "variables/filter"),
        ("POST", "automations/filter"),
        ("POST", "events"),
        ("POST", "events/filter"),
        ("POST", "logs/filter"),
        ("POST", "artifacts/filter"),
        ("GET", "admin/settings"),
    ],
)
def test_no_other_part_of_the_api_is_reachable(door: Door, method: str, path: str) -> None:
    assert door.asked(method, path, {}) == 403


@pytest.mark.parametrize(
    "auth", [(OWN, "guessed"), (OTHER, "guessed"), ("ada", "planted-prefect:password"), ("", "")]
)
def test_a_stranger_is_refused(door: Door, auth: tuple[str, str]) -> None:
    assert door.asked("GET", f"work_pools/{OWN}", auth=auth) == 401
    assert door.asked("GET", "health", auth=auth) == 401
    assert httpx.get(f"{door.api}/work_pools/{OWN}", trust_env=False).status_code == 401


def test_events_are_taken_from_factories_and_heard_by_none(door: Door) -> None:
    url = door.api.replace("http", "ws", 1)
    prefect = [Subprotocol("prefect")]

    async def greeted(token: str) -> str:
        async with connect(f"{url}/events/in", subprotocols=prefect, proxy=None) as told:
            await told.send(json.dumps({"type": "auth", "token": token}))
            return str(json.loads(await told.recv())["type"])

    async def heard(path: str) -> None:
        async with connect(f"{url}/{path}", subprotocols=prefect, proxy=None):
            raise AssertionError(path)

    assert asyncio.run(greeted(":".join(door.auth))) == "auth_success"
    with pytest.raises(ConnectionClosed):
        asyncio.run(greeted(f"{OWN}:guessed"))
    for path in ("events/out", "logs/out", f"work_pools/{OWN}/workers/connect"):
        with pytest.raises(InvalidStatus):
            asyncio.run(heard(path))


def test_nginx_in_front_of_it_adds_tls_and_takes_nothing_away(door: Door, tmp_path: Path) -> None:
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    assert program, "nginx is missing: run `make setup-nginx`"
    authority = make_authority(tmp_path, "plant")
    tls = make_server(tmp_path, authority)
    (tmp_path / "nginx.conf").write_text(
        Template((ROOT / "infra" / "proxy" / "nginx.conf").read_text()).safe_substitute(
            LISTEN="127.0.0.1:${port}",
            CERT=tls.certificate,
            KEY=tls.key,
            PROXY=door.api.removeprefix("http://").removesuffix("/api"),
            LOGS=tmp_path,
        )
    )
    trust = ssl.create_default_context(cafile=str(authority.file))
    with nginx(program, tmp_path) as port:
        url = f"https://127.0.0.1:{port}"
        with httpx.Client(base_url=url, verify=trust, trust_env=False) as client:
            asked = f"/api/work_pools/{OWN}"
            wait_for(lambda: answers(client, asked), (tmp_path / "error.log").read_text)
            assert client.get(asked, auth=door.auth).json()["name"] == OWN
            assert client.get(asked).status_code == 401
            assert client.get("/api/work_pools/graz", auth=door.auth).status_code == 403
            assert client.get("/", auth=door.auth).status_code == 404

        async def greeted() -> str:
            where = f"wss://127.0.0.1:{port}/api/events/in"
            prefect = [Subprotocol("prefect")]
            async with connect(where, ssl=trust, subprotocols=prefect, proxy=None) as told:
                await told.send(json.dumps({"type": "auth", "token": ":".join(door.auth)}))
                return str(json.loads(await told.recv())["type"])

        assert asyncio.run(greeted()) == "auth_success"
    assert door.auth[1] not in (tmp_path / "access.log").read_text()


@contextmanager
def nginx(program: str, folder: Path) -> Iterator[int]:
    """Run nginx with the folder's configuration at a free port; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    file = folder / "nginx.conf"
    file.write_text(file.read_text().replace("${port}", str(port)))
    options = ("-g", "daemon off;", "-p", str(folder), "-c", str(file))
    with subprocess.Popen([program, *options], stderr=subprocess.DEVNULL) as running:
        try:
            yield port
        finally:
            running.terminate()


def answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == 401
    except httpx.ConnectError:
        return False


def test_neither_the_token_nor_the_password_is_stored(door: Door) -> None:
    secrets = (door.auth[1].encode(), b"planted-prefect")
    folders = (door.home, door.far_home, door.log.parent)
    files = {one for folder in folders for one in folder.rglob("*") if one.is_file()}
    kept = [one.name for one in files if one.name != FILE]
    assert {"prefect.db", "worker.log", "proxy.log", "proxy-tokens.json"} <= set(kept)
    found = [
        one.name
        for one in files
        if one.name != FILE and any(secret in one.read_bytes() for secret in secrets)
    ]
    assert found == []


def test_a_token_that_was_replaced_opens_nothing_at_once(door: Door) -> None:
    fresh = made_token(OWN)
    assert door.asked("GET", f"work_pools/{OWN}") == 401
    user, _, token = fresh.partition(":")
    assert door.asked("GET", f"work_pools/{OWN}", auth=(user, token)) == 200
