"""A node of a cluster is taken off its network by the plant's own command, and by nothing else."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgefleet.adapters.kubernetes.cable import Cable
from edgefleet.errors import Refused
from tests.edge.tiny import wait_for

UNPLUG = Path(__file__).parents[2] / "infra/unplug/unplug.sh"


def command(folder: Path, text: str) -> str:
    """Return a program that runs a text of the shell."""
    file = folder / "command"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)


def refused(cable: Cable, node: str = "n1", seconds: float = 30) -> str:
    with pytest.raises(Refused, match=node) as found:
        cable.cut(node, seconds)
    return str(found.value)


def test_a_command_gets_its_arguments_the_node_and_whole_seconds(tmp_path: Path) -> None:
    out = shlex.quote(str(tmp_path / "out"))
    made = command(tmp_path, f'printf "%s\\n" "$@" >> {out}')
    cable = Cable((made, "a switch; rm"))
    for seconds in (30.2, 0):
        cable.cut("n1", seconds)
    said = (tmp_path / "out").read_text().splitlines()
    assert said == ["a switch; rm", "n1", "31", "a switch; rm", "n1", "0"]


def test_without_a_command_it_is_refused_and_the_setting_is_named() -> None:
    assert "Name one as `unplug` in the file of the clusters" in refused(Cable())


def test_a_command_that_fails_is_refused_with_its_last_words(tmp_path: Path) -> None:
    lines = f"echo {500 * 'x'} >&2; echo 'no route to switch-3' >&2; echo >&2; exit 4"
    said = refused(Cable((command(tmp_path, lines),)))
    assert "ended with 4: xx" in said
    assert "; no route to switch-3. It may be cut off or not" in said
    assert len(said) < 600


def test_a_command_that_does_not_end_is_refused(tmp_path: Path) -> None:
    waiting = command(tmp_path, "echo login: >&2; exec tail -f /dev/null")
    assert "did not end in 0.5 s: login:" in refused(Cable((waiting,), ends_s=0.5))


def test_a_command_that_is_not_there_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert f"{missing} cannot be run: No such file" in refused(Cable((str(missing),)))


def test_nobody_waits_for_what_a_command_leaves_behind(tmp_path: Path) -> None:
    kept = tmp_path / "pid"
    made = command(tmp_path, f"tail -f /dev/null & echo $! > {shlex.quote(str(kept))}")
    Cable((made,)).cut("n1", 30)
    os.kill(int(kept.read_text()), signal.SIGKILL)


def test_no_secret_of_ours_reaches_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFLEET_PREFECT_AUTH", "admin:secret")
    monkeypatch.setenv("SWITCH", "switch-3")
    made = command(tmp_path, f"env > {shlex.quote(str(tmp_path / 'env'))}")
    Cable((made,)).cut("n1", 30)
    said = (tmp_path / "env").read_text()
    assert "SWITCH=switch-3" in said
    assert "EDGEFLEET" not in said


@pytest.mark.parametrize("seconds", [-1, 3601])
def test_nobody_is_cut_off_for_longer_than_an_hour(tmp_path: Path, seconds: float) -> None:
    made = command(tmp_path, f"touch {shlex.quote(str(tmp_path / 'run'))}")
    assert "0 to 3600 s are allowed" in refused(Cable((made,)), seconds=seconds)
    assert not (tmp_path / "run").exists()


Said = Callable[[], list[str]]


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Cable, Said]]:
    """Given the shipped script over a port that writes down what it was told."""
    state, told = tmp_path / "state", tmp_path / "told"
    monkeypatch.setenv("UNPLUG_STATE", str(state))
    port = command(tmp_path, f'echo "$1 $2" >> {shlex.quote(str(told))}')
    yield Cable((str(UNPLUG), port)), lambda: told.read_text().splitlines()
    for cut in state.iterdir():  # whoever waits for its end finds it gone, and ends
        cut.unlink()


def test_the_shipped_script_brings_a_node_back_by_itself(plant: tuple[Cable, Said]) -> None:
    cable, told = plant
    cable.cut("n1", 1)
    cable.cut("n2", 600)
    assert told() == ["down n1", "down n2"]
    wait_for(lambda: told()[2:] == ["up n1"], "it is back")


def test_the_shipped_script_brings_a_node_back_at_once(plant: tuple[Cable, Said]) -> None:
    cable, told = plant
    cable.cut("n1", 600)
    cable.cut("n1", 0)
    assert told() == ["down n1", "up n1"]


def test_a_new_time_counts_and_not_the_one_before(plant: tuple[Cable, Said]) -> None:
    cable, told = plant
    cable.cut("n1", 1)
    cable.cut("n1", 600)
    cable.cut("n2", 3)
    wait_for(lambda: "up n2" in told(), "the first time has gone by as well")
    assert "up n1" not in told()


def test_a_restore_does_not_overtake_the_cut_that_it_ends(
    plant: tuple[Cable, Said], tmp_path: Path
) -> None:
    cable, told = plant
    go, out = (shlex.quote(str(tmp_path / name)) for name in ("go", "told"))
    wait = f"[ $1 = up ] || until [ -e {go} ]; do sleep 0.05; done"
    command(tmp_path, f'touch {out}; {wait}; echo "$1 $2" >> {out}')
    with ThreadPoolExecutor() as threads:
        cut = threads.submit(cable.cut, "n1", 600)
        wait_for((tmp_path / "told").exists, "the port is being shut")
        restored = threads.submit(cable.cut, "n1", 0)
        (tmp_path / "go").touch()
        cut.result()
        restored.result()
    assert told() == ["down n1", "up n1"]


def test_a_port_that_fails_is_told_and_opened_all_the_same(
    plant: tuple[Cable, Said], tmp_path: Path
) -> None:
    cable, told = plant
    out = shlex.quote(str(tmp_path / "told"))
    command(tmp_path, f'echo "$1 $2" >> {out}; [ "$(wc -l < {out})" -gt 2 ]')
    assert "ended with 1" in refused(cable, seconds=1)
    wait_for(lambda: told() == ["down n1", "up n1", "up n1"], "it is back after two tries")
