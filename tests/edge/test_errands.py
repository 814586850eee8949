"""What a pod does with a package besides serving it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgefleet.edge.contract import MODEL_FILE, PACKAGE_FILES
from edgefleet.edge.trust import verify
from tests.edge.conftest import Shelf
from tests.edge.tiny import tiny_package, wait_for

EDGE = (sys.executable, "-m", "edgefleet.edge")


def errand(*arguments: object, log: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EDGE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **({"TERMINATION_LOG": str(log)} if log else {})},
    )


@contextmanager
def holding(package: Path, trust: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([*EDGE, "hold", str(package), str(trust)])
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def waits(process: subprocess.Popen[bytes]) -> bool:
    """Say whether it has verified, and has become the interpreter that only waits."""
    assert process.poll() is None
    return b"sigwait" in Path(f"/proc/{process.pid}/cmdline").read_bytes()


def resident_mb(process: subprocess.Popen[bytes]) -> float:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    tiny_package(tmp_path / "broken", tmp_path / "keys")
    with (tmp_path / "broken" / MODEL_FILE).open("ab") as model:
        model.write(b"\0")
    return tmp_path / "broken"


@pytest.mark.parametrize("name", ["verify", "hold"])
def test_a_package_with_a_changed_byte_is_refused_where_kubernetes_looks(
    broken: Path, tmp_path: Path, name: str
) -> None:
    ended = errand(name, broken, tmp_path / "keys/trust", log=tmp_path / "log")
    assert ended.returncode == 4
    assert "model.onnx: signed was sha256:" in ended.stderr
    assert (tmp_path / "log").read_text() == ended.stderr.strip()


def test_a_termination_log_that_cannot_be_written_changes_nothing(
    broken: Path, tmp_path: Path
) -> None:
    ended = errand("verify", broken, tmp_path / "keys/trust", log=tmp_path / "nowhere/log")
    assert ended.returncode == 4
    assert "Traceback" not in ended.stderr


def test_a_signed_package_is_verified(shelf: Shelf) -> None:
    assert errand("verify", shelf.root / "old", shelf.root / "keys/trust").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_held_package_waits_with_little_memory_until_it_is_told_to_end(
    shelf: Shelf, number: signal.Signals
) -> None:
    with holding(shelf.root / "old", shelf.root / "keys/trust") as process:
        wait_for(lambda: waits(process), "it holds")
        # It has imported nothing; less than that is not to be had.
        wait_for(lambda: resident_mb(process) > 1, "the interpreter is there")
        assert resident_mb(process) < 15
        process.send_signal(number)
        assert process.wait(10) == 0


def test_a_copy_is_a_whole_package_and_a_second_one_replaces_it(
    shelf: Shelf, tmp_path: Path
) -> None:
    target = tmp_path / "shared/champion"
    for name in ("old", "new"):
        assert errand("copy", shelf.root / name, target).returncode == 0
        verify(target, shelf.root / "keys/trust")
        for file in PACKAGE_FILES:
            assert (shelf.root / name / file).read_bytes() == (target / file).read_bytes()


def test_a_copy_that_was_killed_is_finished_by_the_next_one(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / f".{MODEL_FILE}.draft").write_bytes(b"half of a mod")
    assert errand("copy", shelf.root / "old", tmp_path).returncode == 0
    verify(tmp_path, shelf.root / "keys/trust")


def test_what_cannot_be_copied_is_said_in_words(tmp_path: Path) -> None:
    ended = errand("copy", tmp_path / "nowhere", tmp_path / "target", log=tmp_path / "log")
    assert ended.returncode == 3
    assert "nowhere" in (tmp_path / "log").read_text()
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [[], ["hold"], ["copy", "a"], ["a", "b"]])
def test_an_errand_that_is_not_understood_shows_how_it_is_used(arguments: list[str]) -> None:
    ended = errand(*arguments)
    assert ended.returncode == 2
    assert "usage: python -m edgefleet.edge" in ended.stderr


@pytest.mark.parametrize("name", ["verify", "swap"])
def test_an_errand_imports_nothing_that_only_a_server_needs(
    shelf: Shelf, tmp_path: Path, name: str
) -> None:
    package = [name, shelf.root / "old", shelf.root / "keys/trust"]
    more = [tmp_path / "store", shelf.old, "1"] if name == "swap" else []
    program = (
        "import sys; from edgefleet.edge.__main__ import main;"
        "assert main(sys.argv[1:]) == 0;"
        "print({'numpy', 'onnxruntime', 'starlette', 'uvloop', 'asyncio'} & sys.modules.keys())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *package, *more],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout.strip() == "set()"
