"""What is kept of a watch is what the API server has, whichever way the watch ended."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from edgefleet.adapters.kubernetes import api
from edgefleet.adapters.kubernetes.informer import Informer
from edgefleet.adapters.kubernetes.objects import ConfigMap
from edgefleet.errors import Unreachable
from tests.adapters.api_server import Answer, Server, api_server

MAPS = "/api/v1/configmaps"
OPEN = Answer(silent=True, body=b"")
"""A watch that goes on, in which nothing happens."""
SOON_S = 20


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(api.time, "sleep", lambda _: None)
    monkeypatch.setattr("edgefleet.adapters.kubernetes.informer._AGAIN_S", 0.01)
    with api_server() as told:
        yield told


@pytest.fixture
def maps(server: Server) -> Iterator[Informer[ConfigMap]]:
    made = Informer(server.api(), MAPS, ConfigMap)
    yield made
    made.close()


def found(name: str, version: int) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "n", "resourceVersion": str(version)}}


def page(version: int, *names: str) -> Answer:
    listed = {"resourceVersion": str(version)}
    items = [found(name, version) for name in names]
    return Answer(body=json.dumps({"metadata": listed, "items": items}).encode())


def events(*told: tuple[str, dict[str, object]], silent: bool = False) -> Answer:
    lines = [json.dumps({"type": kind, "object": item}) + "\n" for kind, item in told]
    return Answer(body="".join(lines).encode(), silent=silent)


def opened(server: Server, number: int) -> str:
    """Wait until so many more watches are open and their body sent; return the last path."""
    paths = [server.opened.get(timeout=SOON_S) for _ in range(number)]
    return paths[-1]


EXPIRED = {"kind": "Status", "code": 410, "message": "too old resource version: 5 (9)"}


@pytest.mark.parametrize(
    ("before", "opens"),
    [
        (Answer(410, json.dumps(EXPIRED).encode()), 1),
        (events(("ERROR", EXPIRED)), 2),
        (events(("ADDED", found("b", 6)), ("ERROR", EXPIRED), ("ADDED", found("c", 7))), 2),
    ],
)
def test_a_watch_that_has_expired_is_begun_with_a_new_list(
    server: Server, maps: Informer[ConfigMap], before: Answer, opens: int
) -> None:
    server.answers = [page(5, "a", "gone"), page(9, "a", "d")]
    server.watches = [before, OPEN]
    assert maps.all()
    assert "resourceVersion=9" in opened(server, opens)
    assert maps.all().keys() == {"n/a", "n/d"}
    assert len(server.asked) == 2


def test_a_watch_that_the_server_ends_is_taken_up_where_it_was(
    server: Server, maps: Informer[ConfigMap]
) -> None:
    server.answers = [page(5, "a")]
    mark: dict[str, object] = {"metadata": {"resourceVersion": "8"}}
    added, deleted = ("ADDED", found("b", 6)), ("DELETED", found("a", 7))
    server.watches = [events(added, deleted), events(("BOOKMARK", mark)), OPEN]
    assert maps.all()
    paths = [opened(server, 1) for _ in range(3)]
    assert [path.split("resourceVersion=")[1].split("&")[0] for path in paths] == ["5", "7", "8"]
    assert maps.all().keys() == {"n/b"}
    assert len(server.asked) == 1


def test_a_watch_that_says_nothing_is_opened_anew_and_nothing_is_listed_for_it(
    server: Server, maps: Informer[ConfigMap], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgefleet.adapters.kubernetes.informer._IDLE_S", 0.2)
    server.answers = [page(5, "a")]
    server.watches = [events(("ADDED", found("b", 6)), silent=True), OPEN]
    assert maps.all()
    assert "resourceVersion=6" in opened(server, 2)
    assert maps.all().keys() == {"n/a", "n/b"}
    assert len(server.asked) == 1


def test_readers_are_told_that_nothing_is_known_until_the_server_answers(
    server: Server, maps: Informer[ConfigMap]
) -> None:
    server.answers = [Answer(503, b'{"message": "starting"}')]
    with pytest.raises(Unreachable, match="503 starting"):
        maps.all()
    server.answers = [page(5, "a")]
    opened(server, 1)
    assert maps.all().keys() == {"n/a"}
