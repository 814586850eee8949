"""What somebody starts in Prefect's pages, where a parameter is easily left out."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edgefleet.errors import Refused
from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage
from flows.abort import abort
from flows.rollback import unpin
from tasks.pins import pin
from tests.scenarios.conftest import Build

JOB = "defect-detection"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def made(build: Build) -> Stage:
    """Given a champion."""
    return build()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "abort: names no release. Give release_id"),
        ({"flow_run_id": "r-9"}, "r-9: is no flow run's id. Give release_id"),
    ],
)
def test_an_abort_that_names_no_release_is_refused_in_words(
    made: Stage, given: dict[str, str], words: str
) -> None:
    with pytest.raises(Refused) as refused:
        abort(**given)
    assert words in str(refused.value)
    assert all(not release.abort_asked for release in made.world.ledger.releases())


@pytest.mark.usefixtures("client")
def test_an_abort_by_hand_is_not_written_down_as_a_cancelled_run(made: Stage) -> None:
    release_id = made.submit(2)
    abort(release_id)
    asked = made.world.ledger.release(release_id)
    assert asked.phase is Phase.QUALIFYING
    assert asked.abort_asked == "asked for in Prefect's pages"


def test_the_automation_of_a_cancelled_run_says_so() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    (trigger,) = next(one for one in deployments if one["name"] == "abort")["triggers"]
    assert trigger["parameters"]["reason"] == "cancelled in Prefect"


def test_nodes_are_unpinned_without_a_shell(made: Stage) -> None:
    nodes = ("node-0003", "node-0017")
    pin(made.spec, nodes, "audit", "Ada")
    ended_in = unpin(JOB, nodes[:1], return_state=True)
    assert ended_in.is_completed()
    assert ended_in.message == "node-0003 unpinned: the champion comes with the next reconcile"
    assert list(made.world.ledger.pins(JOB)) == ["node-0017"]
    lines = [entry.text for entry in made.world.ledger.journal(f"{JOB}-1")]
    assert "node-0003 unpinned by Prefect's pages: the champion comes" in lines


@pytest.mark.parametrize(
    ("nodes", "words"),
    [((), "no node: not pinned"), (("n-9",), "n-9: not pinned for defect-detection .pinned: none")],
)
def test_what_is_not_pinned_is_not_unpinned(
    made: Stage, nodes: tuple[str, ...], words: str
) -> None:
    assert made.world.ledger.pins(JOB) == {}
    with pytest.raises(Refused, match=words):
        unpin(JOB, nodes)
