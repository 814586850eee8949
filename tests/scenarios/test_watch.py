"""Given registered versions, when the watch looks, then each is decided once, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from edgefleet.adapters.memory.kill import watched
from edgefleet.errors import Unreachable
from edgefleet.fleet.release import Admission, Phase, Release, Signal
from edgefleet.fleet.trigger import ADMITTED, CANDIDATE, RELEASE_TAG, REQUESTED, SUPERSEDED
from edgefleet.model.miniature import write_miniature
from edgefleet.rehearsal import stage
from edgefleet.spec import parse_spec
from edgefleet.wiring import World, installed
from flows.watch import look, watch
from tasks.records import driving

MODEL = "defect-classifier"


@dataclass
class Desk:
    """A registry, a ledger, and a folder of specs."""

    world: World
    folder: Path
    registered: int = 0

    def spec(self, workload: str, **fields: object) -> str:
        content = {"workload": workload, "model": MODEL, "selector": {"line": "camera"}, **fields}
        self.specs.mkdir(exist_ok=True)
        (self.specs / f"{workload}.yaml").write_text(yaml.safe_dump(content))
        return workload

    @property
    def specs(self) -> Path:
        return self.folder / "specs"

    def register(self, count: int = 1) -> str:
        """Register so many versions; return the last one's number."""
        for _ in range(count):
            self.registered += 1
            folder = self.folder / f"m{self.registered}"
            write_miniature(folder, MODEL, self.registered)
            version = self.world.models.register(folder, {}).version
        return version

    def by_hand(self, workload: str, version: str, attempt: str = "") -> Release:
        text = (self.specs / f"{workload}.yaml").read_text()
        admission = Admission(workload, "local", MODEL, version, "command line", text, attempt)
        return self.world.ledger.admit(admission, self.world.clock.now())[0]

    def releases(self, workload: str) -> list[Release]:
        """Return a workload's releases, oldest first."""
        return list(reversed(self.world.ledger.releases(workload)))

    def versions(self, workload: str) -> list[str]:
        return [release.version for release in self.releases(workload)]

    def answers(self) -> list[str]:
        """Return what every version's tag says, oldest first."""
        return [v.tags[RELEASE_TAG] for v in reversed(self.world.models.versions(MODEL))]

    def end(self, release_id: str, *signals: Signal) -> None:
        """Move a release on, as its driver would."""
        with driving(release_id) as drive:
            for signal in signals:
                drive.move(drive.release.phase, signal, "in the story")


@pytest.fixture
def desk(
    prefect: None,  # noqa: ARG001 - the watch is a flow
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Desk]:
    with get_client(sync_client=True) as client:
        client.create_deployment(client.create_flow_from_name("release"), name="release")
    text = f"workload: any\nmodel: {MODEL}\nselector: {{line: camera}}"
    world = stage(parse_spec(text, "test"), tmp_path, nodes=2, factories=1).world
    monkeypatch.setenv("EDGEFLEET_SPECS", str(tmp_path / "specs"))
    with installed(world):
        yield Desk(world, tmp_path)


def looked() -> State[None]:
    found: State[None] = watch(return_state=True)
    return found


def test_what_was_registered_is_admitted_in_order_and_asks_no_more(desk: Desk) -> None:
    workload = desk.spec("line")
    desk.register(3)
    said = looked()
    assert said.is_completed()
    assert said.message == "line: version 1, 2, 3 admitted"
    assert desk.versions(workload) == ["1", "2", "3"]
    assert desk.answers() == [ADMITTED] * 3
    assert looked().message == "nothing new"
    desk.register()
    looked()
    assert desk.versions(workload) == ["1", "2", "3", "4"]


def test_what_was_released_by_hand_is_not_released_again(desk: Desk) -> None:
    workload = desk.spec("line")
    desk.register(3)
    desk.by_hand(workload, "2", attempt="once more")
    looked()
    assert desk.versions(workload) == ["2", "3"]
    assert desk.answers() == [SUPERSEDED, ADMITTED, ADMITTED]


def test_of_all_that_were_there_before_the_watch_any_takes_the_newest(desk: Desk) -> None:
    workload = desk.spec("line", on="any")
    desk.register(3)
    looked()
    assert desk.versions(workload) == ["3"]
    desk.register(2)
    looked()
    assert desk.versions(workload) == ["3", "4", "5"]


def test_an_alias_asks_for_the_version_it_points_at(desk: Desk) -> None:
    workload = desk.spec("line", on="alias", newer="supersede")
    desk.register(3)
    looked()
    assert desk.versions(workload) == []
    for version in ("3", "2"):
        desk.world.models.alias(MODEL, CANDIDATE, version)
        looked()
        looked()
    assert desk.versions(workload) == ["3", "2"]


def test_two_workloads_of_one_model_are_both_served(desk: Desk) -> None:
    desk.spec("left")
    desk.spec("right", newer="supersede")
    desk.register(2)
    looked()
    assert (desk.versions("left"), desk.versions("right")) == (["1", "2"], ["2"])
    assert desk.answers() == [ADMITTED, ADMITTED]


def test_a_broken_spec_stops_no_other_and_loses_nothing(desk: Desk) -> None:
    desk.spec("left")
    desk.spec("right", canery={})
    desk.register()
    said = looked()
    assert said.is_failed()
    assert "canery: there is no such field" in str(said.message)
    assert (desk.versions("left"), desk.answers()) == (["1"], [REQUESTED])
    desk.spec("right")
    assert looked().is_completed()
    assert (desk.versions("left"), desk.versions("right")) == (["1"], ["1"])
    assert desk.answers() == [ADMITTED]


def test_during_a_freeze_everything_waits_and_after_it_nothing_is_lost(desk: Desk) -> None:
    today = desk.world.clock.now().date().isoformat()
    frozen = {"from": today, "to": today, "reason": "stocktaking"}
    workload = desk.spec("line", freeze=[frozen])
    desk.register(2)
    said = looked()
    assert said.is_completed()
    assert f"version 1, 2 waiting, frozen from {today} to {today} (stocktaking)" in str(
        said.message
    )
    assert (desk.versions(workload), desk.answers()) == ([], [REQUESTED, REQUESTED])
    desk.spec("line", freeze=[{**frozen, "from": "2020-01-01", "to": "2020-01-02"}])
    looked()
    assert desk.versions(workload) == ["1", "2"]


def test_a_newer_version_takes_the_place_of_one_that_moves_nothing(desk: Desk) -> None:
    workload = desk.spec("line", newer="supersede")
    desk.register()
    looked()
    desk.end("line-1", Signal.DONE, Signal.DONE)
    assert desk.releases(workload)[0].phase is Phase.AWAITING
    desk.register(3)
    said = looked()
    assert desk.versions(workload) == ["1", "4"]
    assert desk.releases(workload)[0].abort_asked == "superseded by line-2"
    assert "line-1 gives way" in str(said.message)
    assert desk.answers() == [ADMITTED, SUPERSEDED, SUPERSEDED, ADMITTED]


def test_a_release_that_moves_nodes_is_let_finish(desk: Desk) -> None:
    workload = desk.spec("line", newer="supersede")
    desk.register()
    looked()
    desk.end("line-1", *[Signal.DONE] * 4)
    assert desk.releases(workload)[0].phase is Phase.CANARY
    desk.register()
    looked()
    assert desk.versions(workload) == ["1", "2"]
    assert desk.releases(workload)[0].abort_asked == ""


def test_a_registry_that_does_not_answer_makes_a_failed_run_and_the_next_one_finds_all(
    desk: Desk,
) -> None:
    workload = desk.spec("line")
    desk.register()

    def silent(_when: str, call: str) -> None:
        if call == "MemoryModels.asking":
            raise Unreachable("MLflow gave no answer")

    with installed(replace(desk.world, models=watched(desk.world.models, silent))):
        said = looked()
    assert said.is_failed()
    assert "MLflow gave no answer" in str(said.message)
    assert looked().is_completed()
    assert desk.versions(workload) == ["1"]


class Killed(BaseException):
    """What SIGKILL looks like from inside."""


@pytest.mark.parametrize("newer", ["queue", "supersede"])
@pytest.mark.parametrize("on", ["tag", "any"])
def test_killed_at_any_call_it_neither_loses_nor_repeats_one(
    desk: Desk, on: str, newer: str
) -> None:
    workload = desk.spec("line", on=on, newer=newer)
    desk.register()
    look()
    left = 0
    kills = 0

    def reap(_when: str, _call: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    mortal = replace(
        desk.world,
        models=watched(desk.world.models, reap),
        ledger=watched(desk.world.ledger, reap),
    )
    point = 0
    while True:
        point += 1
        left = point
        first = int(desk.register(2)) - 1
        try:
            with installed(mortal):
                look()
        except Killed:
            kills += 1
            look()
            wanted = [str(first), str(first + 1)] if newer == "queue" else [str(first + 1)]
            assert desk.versions(workload)[-len(wanted) :] == wanted, point
            assert len(set(desk.versions(workload))) == len(desk.versions(workload))
            assert REQUESTED not in desk.answers() or on == "any"
            continue
        break
    assert kills > 8
