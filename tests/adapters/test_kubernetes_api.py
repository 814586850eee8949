"""What an API server's answer means: refusals, and what is asked again, and when."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgefleet.adapters.kubernetes import api
from edgefleet.adapters.kubernetes.api import Absent
from edgefleet.errors import Conflict, Refused, Unreachable
from tests.adapters.api_server import Answer, Server, api_server

PODS = "/api/v1/pods"
DONE = Answer(body=b"done")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited before each further try; no time passes."""
    found: list[float] = []
    monkeypatch.setattr(api.time, "sleep", found.append)
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    with api_server() as told:
        yield told


@pytest.mark.parametrize("refusal", [401, 403])
def test_a_server_that_is_ready_means_its_refusal(server: Server, refusal: int) -> None:
    server.answers = [Answer(refusal, b"")]
    with pytest.raises(Refused, match="graz"):
        server.api().get(PODS)
    assert len(server.asked) == 1


@pytest.mark.parametrize("refusal", [401, 403])
@pytest.mark.parametrize("ready", [403, 500])
def test_a_server_that_starts_knows_no_roles_yet_and_is_asked_again(
    server: Server, refusal: int, ready: int
) -> None:
    server.answers, server.ready = [Answer(refusal, b"")], ready
    with pytest.raises(Unreachable):
        server.api().get(PODS)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ([Answer(429, headers={"Retry-After": "7"})], [7.0]),
        ([Answer(429, headers={"Retry-After": "0"})], [0.0]),
        ([Answer(429, headers={"Retry-After": "3600"})], [30.0]),
        ([Answer(429, headers={"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"})], [0.5]),
        ([Answer(429), Answer(429)], [0.5, 1.0]),
        ([Answer(503)], [0.5]),
        ([Answer(503, headers={"Retry-After": "2"}), Answer(500)], [2.0, 1.0]),
        ([Answer(504), Answer(502)], [0.5, 1.0]),
        ([Answer(body=b"do", cut=True)], [0.5]),
    ],
)
def test_a_server_that_cannot_now_is_asked_again_after_what_it_says(
    server: Server, pauses: list[float], before: list[Answer], expected: list[float]
) -> None:
    server.answers = [*before, DONE]
    asked = server.api()
    assert asked.get(PODS) == b"done"
    assert pauses == expected
    assert asked.calls == {"list pods": len(before) + 1}


def test_an_answer_that_does_not_come_in_time_is_asked_for_again(
    server: Server, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgefleet.adapters.kubernetes.api._READ_S", 0.2)
    server.answers = [Answer(silent=True), DONE]
    assert server.api().get(PODS) == b"done"
    assert pauses == [0.5]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_cannot_three_times_is_out_of_reach_and_its_words_are_told(
    server: Server, pauses: list[float], status: int
) -> None:
    server.answers = [Answer(status, b'{"message": "etcd has no leader"}')]
    with pytest.raises(Unreachable, match=f"graz: {PODS}: {status} etcd has no leader"):
        server.api().get(PODS)
    assert pauses == [0.5, 1.0]


@pytest.mark.parametrize(
    ("status", "kind"), [(404, Absent), (410, Absent), (409, Conflict), (422, Refused)]
)
def test_what_would_be_answered_again_is_asked_once(
    server: Server, status: int, kind: type[Exception]
) -> None:
    server.answers = [Answer(status, b'{"message": "so it is"}'), DONE]
    with pytest.raises(kind, match="so it is"):
        server.api().get(PODS)
    assert len(server.asked) == 1
