"""Given servers that ask who comes, strangers get nothing, and nothing stored holds a password."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from edgefleet.settings import FILE
from tests.e2e.page import pools_after_login
from tests.triggers.centre import MLFLOW_AUTH, PREFECT_AUTH, Centre

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]

PLANTED = re.compile(rb"planted-(prefect|mlflow)")


def asked(url: str, auth: str = "") -> httpx.Response:
    user, _, password = auth.partition(":")
    return httpx.get(url, auth=(user, password) if user else None, trust_env=False, timeout=60)


def test_prefect_answers_only_who_knows_the_password(centre: Centre) -> None:
    url = f"{centre.prefect_api}/work_pools/edgefleet"
    assert asked(url).status_code == 401
    assert asked(url, MLFLOW_AUTH).status_code == 401
    assert asked(url, PREFECT_AUTH).json()["name"] == "edgefleet"


def test_mlflow_answers_only_who_knows_the_password(centre: Centre) -> None:
    url = f"{centre.mlflow_url}/api/2.0/mlflow/registered-models/search"
    assert asked(url).status_code == 401
    assert asked(url, PREFECT_AUTH).status_code == 401
    assert asked(url, MLFLOW_AUTH).status_code == 200


def test_prefect_s_pages_let_a_person_in_who_knows_the_password(centre: Centre) -> None:
    shown = pools_after_login(centre.prefect_api.removesuffix("/api"), PREFECT_AUTH)
    assert "edgefleet" in shown


def test_mlflow_s_password_is_changed_as_the_manual_says(centre: Centre) -> None:
    search = f"{centre.mlflow_url}/api/2.0/mlflow/registered-models/search"
    user, _, old = MLFLOW_AUTH.partition(":")
    new = "quite another password"

    def change(before: str, after: str) -> None:
        url = f"{centre.mlflow_url}/api/2.0/mlflow/users/update-password"
        said = {"username": user, "current_password": before, "password": after}
        httpx.patch(url, json=said, auth=(user, before), trust_env=False).raise_for_status()

    change(old, new)
    assert asked(search, MLFLOW_AUTH).status_code == 401
    assert asked(search, f"{user}:{new}").status_code == 200
    change(new, old)
    assert asked(search, MLFLOW_AUTH).status_code == 200


def test_a_release_begins_and_no_password_is_in_anything_that_was_stored(centre: Centre) -> None:
    workload = centre.spec("let-in")
    _, complaint = centre.register(workload, 1)
    (release,) = centre.begun(workload)
    assert (release.asked_by, complaint) == ("watch", "")
    files = [file for file in centre.home.rglob("*") if file.is_file() and file.name != FILE]
    assert {".db", ".log", ".onnx"} <= {file.suffix for file in files}
    assert [file.name for file in files if PLANTED.search(file.read_bytes())] == []


@pytest.mark.usefixtures("centre")
def test_no_password_is_in_any_command_line() -> None:
    told = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            told.append(file.read_bytes())
    assert any(b"mlflow" in words for words in told)
    assert [words for words in told if PLANTED.search(words)] == []
