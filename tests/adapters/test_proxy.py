"""What a factory's worker may ask for, decided by rules; who it is, by a token."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from edgefleet.adapters.proxy.app import proxy_app
from edgefleet.adapters.proxy.rules import Passage, Proof, passage
from edgefleet.adapters.proxy.tokens import Tokens
from edgefleet.edge.errors import Declined
from edgefleet.errors import Refused

POOL = "linz"
RUN, OTHER = "475f2839-6da7-4da2-a9f5-fb16dc67532d", "00000000-6da7-4da2-a9f5-fb16dc67532d"


def asked(method: str, path: str, body: object = None) -> Passage:
    return passage(method, path, b"" if body is None else json.dumps(body).encode(), POOL)


def line(run: str | None = RUN, task: str | None = None) -> dict[str, object]:
    return {"flow_run_id": run, "task_run_id": task, "message": "hello"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "health"),
        ("GET", "admin/version"),
        ("GET", "admin/storage"),
        ("GET", "work_pools/linz"),
        ("POST", "work_pools/linz/get_scheduled_flow_runs"),
        ("POST", "work_pools/linz/queues/filter"),
        ("POST", "work_pools/linz/workers/heartbeat"),
    ],
)
def test_what_is_the_pool_s_by_its_path_is_passed_on_at_once(method: str, path: str) -> None:
    assert asked(method, path) == Passage(method, path, b"")


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "flow_runs/{}", "flow_runs"),
        ("POST", "flow_runs/{}/set_state", "flow_runs"),
        ("PATCH", "flow_runs/{}/labels", "flow_runs"),
        ("GET", "deployments/{}", "deployments"),
        ("GET", "flows/{}", "flows"),
        ("GET", "work_queues/{}", "work_queues"),
    ],
)
def test_what_has_an_id_is_passed_on_once_it_is_proved(method: str, path: str, kind: str) -> None:
    assert asked(method, path.format(RUN)).proofs == (Proof(kind, RUN),)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "work_pools/graz"),
        ("GET", "work_pools/../work_pools/graz"),
        ("POST", "work_pools/graz/get_scheduled_flow_runs"),
        ("POST", "work_pools/linz/../graz/get_scheduled_flow_runs"),
        ("POST", "work_pools/"),
        ("POST", "work_pools/filter"),
        ("DELETE", "work_pools/linz"),
        ("POST", "work_pools/linz/queues"),
        ("GET", "flow_runs/not-an-id"),
        ("DELETE", f"flow_runs/{RUN}"),
        ("POST", f"flow_runs/{RUN}/resume"),
        ("GET", f"flow_runs/{RUN}/input/approval-response"),
        ("POST", "flow_runs/"),
        ("POST", f"deployments/{RUN}/create_flow_run"),
        ("PATCH", f"deployments/{RUN}"),
        ("POST", "deployments/filter"),
        ("POST", "flows/filter"),
        ("POST", "logs/filter"),
        ("POST", "artifacts/filter"),
        ("POST", "events"),
        ("POST", "events/filter"),
        ("POST", "variables/"),
        ("GET", "variables/name/secret"),
        ("POST", "block_documents/filter"),
        ("GET", f"block_documents/{RUN}"),
        ("POST", "automations/filter"),
        ("GET", "admin/settings"),
        ("POST", "admin/database/clear"),
        ("GET", ""),
    ],
)
def test_everything_else_is_refused(method: str, path: str) -> None:
    with pytest.raises(Declined, match="nothing that the worker of pool linz needs") as declined:
        asked(method, path, {})
    assert declined.value.status == 403


def test_a_search_for_runs_is_narrowed_to_the_pool_whatever_it_asks_for() -> None:
    wanted = asked("POST", "flow_runs/filter", {"work_pools": {"name": {"any_": ["graz"]}}})
    assert json.loads(wanted.body) == {"work_pools": {"name": {"any_": [POOL]}}}


def test_log_lines_are_proved_run_by_run() -> None:
    lines = [line(), line(OTHER), line()]
    assert asked("POST", "logs/", lines).proofs == (
        Proof("flow_runs", OTHER),
        Proof("flow_runs", RUN),
    )


@pytest.mark.parametrize("lines", [[], {}, [line(None)], [line("x")], [line(task=OTHER)], [1]])
def test_log_lines_that_are_no_run_s_are_refused(lines: object) -> None:
    with pytest.raises(Declined, match=r"no list of log lines|must name its flow run"):
        asked("POST", "logs/", lines)


def test_an_artifact_has_a_key_of_its_run() -> None:
    wanted = asked("POST", "artifacts/", {**line(), "key": f"answer-{RUN}"})
    assert wanted.proofs == (Proof("flow_runs", RUN),)
    for key in (f"answer-{OTHER}", "champion", None):
        with pytest.raises(Declined, match="a key that ends with its run's id"):
            asked("POST", "artifacts/", {**line(), "key": key})


def test_only_a_few_fields_may_be_changed() -> None:
    assert asked("PATCH", f"flow_runs/{RUN}", {"infrastructure_pid": "7"}).proofs
    assert asked("PATCH", "work_pools/linz", {"base_job_template": {}})
    with pytest.raises(Declined, match="name, tags of flow_runs"):
        asked("PATCH", f"flow_runs/{RUN}", {"tags": [], "name": "defect-detection-3"})
    with pytest.raises(Declined, match="is_paused of work_pools"):
        asked("PATCH", "work_pools/linz", {"is_paused": True})


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[]"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(Declined, match="the body is no JSON"):
        passage("POST", "flow_runs/filter", body, POOL)


def test_a_token_opens_its_factory_s_pool_until_it_is_replaced_or_revoked(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    first, graz = tokens.issue("linz", "pool of linz"), tokens.issue("graz", "graz")
    assert tokens.pool_of(f"linz:{first}") == "pool of linz"
    assert tokens.pool_of(f"graz:{first}") is None
    assert tokens.pool_of("linz:") is None
    assert tokens.pool_of("") is None
    second = tokens.issue("linz", "linz")
    assert tokens.pool_of(f"linz:{first}") is None
    assert tokens.pool_of(f"linz:{second}") == "linz"
    tokens.revoke("linz")
    assert tokens.pool_of(f"linz:{second}") is None
    assert tokens.pool_of(f"graz:{graz}") == "graz"
    with pytest.raises(Refused, match=r"linz: has no token \(known: graz\)"):
        tokens.revoke("linz")


def test_what_is_kept_of_a_token_is_a_hash_that_others_cannot_read(tmp_path: Path) -> None:
    token = Tokens(tmp_path).issue("linz", "linz")
    (file,) = tmp_path.iterdir()
    assert token not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_while_prefect_is_away_a_worker_is_told_to_come_again() -> None:
    app = proxy_app("http://127.0.0.1:1/api", "ada:password", lambda _shown: POOL)

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://proxy") as client:
            return await client.get("/api/work_pools/linz", auth=("linz", "token"))

    answer = asyncio.run(call())
    assert answer.status_code == 503
    assert "Prefect's server does not answer: ConnectError" in answer.json()["detail"]
