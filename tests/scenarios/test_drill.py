"""Given a fleet that serves its champion, when nodes are unplugged, then they prove they served."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import yaml
from typer.testing import CliRunner

from edgefleet.adapters.memory.faults import parse_fault
from edgefleet.adapters.memory.kill import watched
from edgefleet.adapters.memory.site import MemorySite
from edgefleet.cli import app
from edgefleet.documents import decode
from edgefleet.errors import Conflict, Refused
from edgefleet.fleet.drill import Drill
from edgefleet.fleet.finding import Outcome
from edgefleet.fleet.inventory import NodeView
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.release import Phase, Signal
from edgefleet.rehearsal import Stage
from edgefleet.unplug import Delays
from edgefleet.wiring import installed
from flows.drill import drill
from tasks.records import drills_of
from tests.scenarios.conftest import Build

Held = Callable[..., Drill]


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Held:
    """Given a spec file, as an operator has it: one drill of its workload."""

    def once(made: Stage, *nodes: str, **asked: object) -> Drill:
        folder = tmp_path / "specs"
        folder.mkdir(exist_ok=True)
        text = yaml.safe_dump(made.spec.model_dump(mode="json"))
        (folder / f"{made.spec.workload}.yaml").write_text(text)
        monkeypatch.setenv("EDGEFLEET_SPECS", str(folder))
        return drill(made.spec.workload, nodes, **asked)

    return once


def settled(build: Build) -> Stage:
    """Given a fleet whose champion has served for an hour."""
    made = build()
    made.world.clock.sleep(3600)
    return made


def views(made: Stage) -> dict[str, NodeView]:
    return {
        view.node: view
        for site in made.world.sites.values()
        for view in site.snapshot(made.spec.workload)
    }


def journal(made: Stage) -> list[str]:
    return [entry.text for entry in made.world.ledger.journal(f"{made.spec.workload}-1")]


def test_a_node_of_each_factory_is_picked_cut_off_and_passes(build: Build, held: Held) -> None:
    made = settled(build)
    before = made.fleet.transitions()
    found = held(made, consent="anna")
    assert (found.number, found.seconds, found.seed, found.consent) == (1, 120, 1, "anna")
    assert sorted(made.world.sites) == [node.factory for node in found.nodes]
    assert [node.verdict for node in found.nodes] == [Outcome.PASS] * 4, found.in_words
    assert all(node.served > 0 and node.windows_late == 2 for node in found.nodes)
    assert all((n.gaps, n.restarted, n.recreated) == (0, 0, False) for n in found.nodes)
    assert before == made.fleet.transitions()
    assert all(view.online for view in views(made).values())
    assert journal(made)[-1] == found.in_words
    assert (found,) == drills_of(made.world.ledger, made.spec.workload)


def test_drills_are_numbered_and_pick_others_each_time(build: Build, held: Held) -> None:
    made = settled(build)
    first, second = held(made, consent="anna"), held(made, consent="anna")
    assert (first.number, second.number) == (1, 2)
    assert [node.node for node in first.nodes] != [node.node for node in second.nodes]
    assert (first, second) == drills_of(made.world.ledger, made.spec.workload)


def test_nobody_is_picked_without_consent(build: Build, held: Held) -> None:
    made = settled(build)
    with pytest.raises(Refused, match="nobody agreed"):
        held(made)
    assert drills_of(made.world.ledger, made.spec.workload) == ()


def test_two_nodes_of_a_factory_are_cut_off_one_after_the_other(build: Build, held: Held) -> None:
    made = settled(build)
    away: list[int] = []

    def count(when: str, _call: str) -> None:
        if when == "after":
            away.append(sum(not view.online for view in views(made).values()))

    sites = {name: watched(site, count) for name, site in made.world.sites.items()}
    with installed(replace(made.world, sites=sites)):
        found = held(made, "node-0001", "node-0002", seconds=180)
    assert max(away) == 1
    assert [node.node for node in found.nodes] == ["node-0001", "node-0002"]
    assert found.verdict is Outcome.PASS, found.in_words


@pytest.mark.parametrize(
    ("fault", "verdict", "words"),
    [
        ("silent:node-0003", Outcome.INCONCLUSIVE, "0 warm windows before the cut"),
        ("offline:node-0003@{soon}", Outcome.FAIL, "not back 6"),
    ],
)
def test_a_node_that_hands_nothing_in_does_not_pass(
    build: Build, held: Held, fault: str, verdict: Outcome, words: str
) -> None:
    made = settled(build)
    made.strike([parse_fault(fault.format(soon=made.fleet.now_s + 30))])
    found = held(made, "node-0003")
    assert verdict is found.verdict
    assert words in found.nodes[0].text


LAG = timedelta(seconds=90)


class Late(MemorySite):
    """A factory whose platform shows everything a minute and a half late."""

    away_s = 100.0
    shown: tuple[tuple[datetime, tuple[NodeView, ...]], ...] = ()

    @property
    def delays(self) -> Delays:
        return Delays(self.away_s, back_s=100)

    def snapshot(self, workload: str) -> tuple[NodeView, ...]:
        now = self._world.clock.now()
        self.shown = (*self.shown, (now, super().snapshot(workload)))
        *_, last = [views for at, views in self.shown if at <= now - LAG] or [self.shown[0][1]]
        return last


def test_a_platform_that_shows_a_cut_late_is_waited_for_and_its_nodes_pass(
    build: Build, held: Held
) -> None:
    made = settled(build)
    sites = {name: Late(name, made.fleet) for name in made.world.sites}
    with installed(replace(made.world, sites=sites)):
        found = held(made, "node-0003", seconds=180)
    assert found.verdict is Outcome.PASS, found.in_words
    assert found.nodes[0].windows_late == 3


def test_a_cut_too_short_to_be_seen_is_refused_and_nobody_is_cut_off(
    build: Build, held: Held
) -> None:
    made = settled(build)
    sites = {name: Late(name, made.fleet) for name in made.world.sites}
    for site in sites.values():
        site.away_s = 130
    with (
        installed(replace(made.world, sites=sites)),
        pytest.raises(Refused, match=r"node-0003: 120 s .* Ask for at least 130 s"),
    ):
        held(made, "node-0003")
    assert all(view.online for view in views(made).values())


def test_a_server_that_died_meanwhile_fails_the_drill(build: Build, held: Held) -> None:
    made = settled(build)
    node = made.fleet.nodes["node-0003"]

    def die(when: str, call: str) -> None:
        job = node.job(made.spec.workload)
        if (when, call) == ("after", "MemorySite.unplug") and job.boot == 1:
            node.start(job, job.serving, made.fleet.now_s + 30)

    sites = {name: watched(site, die) for name, site in made.world.sites.items()}
    with installed(replace(made.world, sites=sites)):
        found = held(made, "node-0003")
    assert found.verdict is Outcome.FAIL
    assert found.nodes[0].restarted == 1
    assert "started anew 1 times" in found.nodes[0].text


def test_a_drill_that_is_stopped_restores_the_link_at_once(build: Build, held: Held) -> None:
    made = settled(build)

    def stop(when: str, call: str) -> None:
        if (when, call) == ("after", "MemorySite.unplug") and not views(made)["node-0003"].online:
            raise KeyboardInterrupt

    sites = {name: watched(site, stop) for name, site in made.world.sites.items()}
    with installed(replace(made.world, sites=sites)), pytest.raises(KeyboardInterrupt):
        held(made, "node-0003", seconds=3600)
    assert views(made)["node-0003"].online
    assert held(made, "node-0003").verdict is Outcome.PASS


def moved(made: Stage, release_id: str, phase: Phase) -> None:
    """Move a release on until it is in a phase."""
    ledger, now = made.world.ledger, made.world.clock.now()
    epoch = ledger.acquire(made.spec.workload, "a driver", datetime.now(UTC), 60)
    while (was := ledger.release(release_id).phase) is not phase:
        ledger.move(release_id, was, Signal.DONE, "", epoch, now)
    ledger.leave(made.spec.workload, "a driver", epoch)


def test_while_a_release_moves_nodes_there_is_no_drill(build: Build, held: Held) -> None:
    made = settled(build)
    second = made.submit(2)
    moved(made, second, Phase.PREPULLING)
    with pytest.raises(Conflict, match=f"{second} is prepulling"):
        held(made, consent="anna")
    assert all(view.online for view in views(made).values())


def test_the_canary_of_a_release_that_waits_for_its_yes_is_left_alone(
    build: Build, held: Held
) -> None:
    made = settled(build)
    second = made.submit(2)
    moved(made, second, Phase.AWAITING)
    first = made.world.ledger.get(f"{made.spec.workload}-1", "plan", 1)
    assert first is not None
    plan = decode(first, Plan)
    (change, *_) = plan.waves[0].changes
    epoch = made.world.ledger.acquire(made.spec.workload, "a driver", datetime.now(UTC), 60)
    body = msgspec.json.encode(replace(plan, release_id=second))
    made.world.ledger.put(second, "plan", 1, body, epoch)
    made.world.ledger.leave(made.spec.workload, "a driver", epoch)
    with pytest.raises(Refused, match=f"in the canary of {second}"):
        held(made, change.node)


def test_while_somebody_drives_there_is_no_drill(build: Build, held: Held) -> None:
    made = settled(build)
    made.world.ledger.acquire(made.spec.workload, "a driver", datetime.now(UTC), 60)
    with pytest.raises(Conflict, match="driven by a driver"):
        held(made, consent="anna")


def test_a_node_that_must_be_left_alone_is_refused(build: Build, held: Held) -> None:
    made = settled(build)
    made.fleet.veto("node-0003", "audit until Friday")
    with pytest.raises(Refused, match="takes part in no drill: held: audit until Friday"):
        held(made, "node-0003")


def test_the_command_prints_the_numbers_and_ends_by_the_verdict(build: Build, held: Held) -> None:
    made = settled(build)
    held(made, consent="anna")
    command = ["drill", made.spec.workload, "--node", "node-0003"]
    passed = CliRunner().invoke(app, [*command, "--json"])
    assert passed.exit_code == 0
    said = json.loads(passed.stdout)
    assert (said["verdict"], said["drill"]["number"]) == ("pass", 2)
    assert [row["number"] for row in said["trend"]] == [1, 1, 1, 1, 2]
    made.strike([parse_fault(f"offline:node-0003@{made.fleet.now_s + 30}")])
    failed = CliRunner().invoke(app, command)
    assert failed.exit_code == 1
    assert "not back" in failed.stdout
    refused = CliRunner().invoke(app, ["drill", made.spec.workload])
    assert refused.exit_code == 2
