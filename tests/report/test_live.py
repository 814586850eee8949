"""The live view: what is shown at one moment, and that watching neither ends nor slows a run."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from edgefleet.adapters.ledger import SqlLedger
from edgefleet.cli.demo.live import LiveView
from edgefleet.cli.demo.screen import Counts, Moment, chain, draw
from edgefleet.edge.contract import Digest
from edgefleet.errors import Unreachable
from edgefleet.fleet.inventory import Inventory, NodeView, Serving
from edgefleet.fleet.release import Phase, Release
from edgefleet.ports import Entry

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
OLD, NEW = Digest("sha256:" + "0" * 64), Digest("sha256:" + "a" * 64)
WHERE = {"Prefect": "http://127.0.0.1:4200", "MLflow": "http://127.0.0.1:5000"}


def journal(*phases: Phase) -> tuple[Entry, ...]:
    return tuple(Entry(NOW, phase, f"text {i}") for i, phase in enumerate(phases))


def node(
    number: int, digest: Digest | None, *, online: bool = True, ready: bool = True
) -> NodeView:
    serving = digest and Serving(digest, ready, self_check_passed=True, boot="b", url="http://x")
    return NodeView(f"n{number}", f"f{number % 2}", {}, online, serving or None, digest)


NODES = (node(0, OLD), node(1, OLD), node(2, NEW), node(3, None), node(4, OLD, online=False))


def shown(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def screen() -> Console:
    return Console(file=StringIO(), width=110, height=40, force_terminal=True, color_system=None)


def lines() -> Console:
    return Console(file=StringIO(), width=110)


def drawn(moment: Moment) -> str:
    console = lines()
    console.print(draw(moment))
    return shown(console)


def test_on_the_way_the_chain_shows_what_was_what_is_and_what_comes() -> None:
    entered = journal(Phase.QUALIFYING, Phase.PLANNED, Phase.AWAITING)
    expected = (
        Phase.QUALIFYING,
        Phase.PLANNED,
        Phase.AWAITING,
        Phase.PREPULLING,
        Phase.CANARY,
        Phase.SOAKING,
        Phase.ROLLING,
        Phase.RELEASED,
    )
    assert expected == chain(entered, Phase.AWAITING)


def test_off_the_way_the_chain_shows_only_what_was() -> None:
    entered = journal(Phase.QUALIFYING, Phase.CANARY, Phase.SOAKING, Phase.REVERTING)
    expected = (Phase.QUALIFYING, Phase.CANARY, Phase.SOAKING, Phase.REVERTING)
    assert expected == chain(entered, Phase.REVERTING)


def test_a_plan_made_again_is_not_in_the_chain_twice() -> None:
    entered = journal(Phase.QUALIFYING, Phase.PLANNED, Phase.AWAITING, Phase.PLANNED)
    shown_phases = chain(entered, Phase.PLANNED)
    assert len(set(shown_phases)) == len(shown_phases)
    assert shown_phases[1] is Phase.PLANNED


def test_the_screen_shows_requests_nodes_and_where_to_click() -> None:
    moment = Moment(
        "1. A good version goes out",
        timedelta(seconds=75),
        WHERE,
        counts=Counts(12_345, 0, 2, 190.4),
        nodes=NODES,
        digests={OLD: "defect 2", NEW: "defect 3"},
    )
    text = drawn(moment)
    for part in ("ok 12,345 (190/s)", "failed 0", "refused 2", "1:15", *WHERE.values()):
        assert part in text
    assert "f0  ■ ◆ ○" in text
    assert "f1  ■ □" in text
    assert "■ defect 2: 3   ◆ defect 3: 1" in text


def test_a_node_that_is_not_ready_stands_out() -> None:
    text = drawn(Moment("", timedelta(), {}, nodes=(node(0, NEW, ready=False),)))
    assert "f0  !" in text


def test_words_in_brackets_are_shown_as_they_are() -> None:
    entry = Entry(NOW, "soaking", "worse by 1.9 pt [1.2, 2.6] [red]")
    release = Release("r-1", "w", "f", 1, "m", "3", Phase.SOAKING, NOW, NOW, "demo")
    text = drawn(Moment("", timedelta(), {}, release=release, journal=(entry,)))
    assert "[1.2, 2.6] [red]" in text


def test_without_a_terminal_every_line_of_the_journal_is_printed_once(
    ledger: SqlLedger, rolled_back: Release, refused: Release, tmp_path: Path
) -> None:
    console = lines()
    with LiveView(WHERE, ledger, nothing, tmp_path / "none", plain=False, console=console) as view:
        for release in (rolled_back, refused):
            view.story(f"story of {release.release_id}")
            view.follow(release.release_id)
    text = shown(console)
    for release in (rolled_back, refused):
        assert text.count(f"story of {release.release_id}") == 1
        for entry in ledger.journal(release.release_id):
            assert text.count(f"{entry.at:%H:%M:%S} {entry.phase:<11} {entry.text}\n") == 1
    assert all(url in text for url in WHERE.values())


def nothing() -> Inventory:
    return Inventory(())


def test_on_a_terminal_the_release_the_requests_and_the_nodes_versions_appear(
    ledger: SqlLedger, rolled_back: Release, tmp_path: Path
) -> None:
    totals = tmp_path / "now.json"
    totals.write_bytes(msgspec.json.encode({"ok": 4321, "failed": 0, "refused": 0, "more": 1}))
    console = screen()
    looked = threading.Event()

    def look() -> Inventory:
        looked.set()
        return Inventory(NODES)

    with LiveView(WHERE, ledger, look, totals, console=console) as view:
        view.story("2. Worse in the field")
        view.follow(rolled_back.release_id)
        assert looked.wait(10)
    text = shown(console)
    for part in ("2. Worse in the field", "rolled_back", "ok 4,321", "defect-classifier 3: 1"):
        assert part in text


def test_what_cannot_be_read_is_said_and_tried_again(
    ledger: SqlLedger, rolled_back: Release, tmp_path: Path
) -> None:
    console = screen()
    tries = []
    answered = threading.Event()

    def look() -> Inventory:
        tries.append(1)
        if len(tries) == 1:
            message = "factory-3 does not answer"
            raise Unreachable(message)
        answered.set()
        return Inventory(NODES)

    with LiveView({}, ledger, look, tmp_path / "none", console=console) as view:
        view.follow(rolled_back.release_id)
        assert answered.wait(10)
    text = shown(console)
    assert "cannot be read just now: factory-3 does not answer" in text
    assert "■" in text


def test_watching_forty_nodes_takes_little_of_a_cpu(
    ledger: SqlLedger, rolled_back: Release, tmp_path: Path
) -> None:
    nodes = tuple(replace(NODES[i % 4], node=f"n{i:02}", factory=f"f{i % 6}") for i in range(42))
    console = screen()
    looks = threading.Semaphore(0)

    def look() -> Inventory:
        looks.release()
        return Inventory(nodes)

    with LiveView(WHERE, ledger, look, tmp_path / "x", console=console) as view:
        view.follow(rolled_back.release_id)
        begun, used = time.monotonic(), time.process_time()
        assert all(looks.acquire(timeout=10) for _ in range(4))
        share = (time.process_time() - used) / (time.monotonic() - begun)
    assert share < 0.06, f"{share:.1%} of a CPU, measured on a machine that may be busy"


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_can_be_drawn(phase: Phase) -> None:
    release = Release("r-1", "w", "f", 1, "m", "3", phase, NOW, NOW, "demo")
    entered = journal(Phase.QUALIFYING, phase)
    assert f" {phase} " in drawn(Moment("", timedelta(), {}, release=release, journal=entered))
