import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from edgefleet.adapters.servers import Program, down, embedded, running, supervised, up
from edgefleet.adapters.servers.kernel import Proc, find
from edgefleet.adapters.servers.record import read_records
from edgefleet.errors import Refused, Unreachable

SERVER = """
import http.server, os, signal, subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
     "print('deaf', flush=True); time.sleep(600)"],
    start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
with open(sys.argv[2], "w") as file:
    file.write(f"{os.getpid()} {child.pid} {signal.getsignal(signal.SIGINT) == signal.SIG_IGN}")
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""


def serving(tmp_path: Path, name: str = "small") -> Program:
    """Describe a server with a child in a session of its own that ignores SIGTERM."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    return Program(
        name=name,
        argv=(sys.executable, str(script), "{port}", str(tmp_path / f"{name}.pids")),
        cwd=tmp_path,
        ready_urls=("http://127.0.0.1:{port}/",),
        endpoints={f"{name}_url": "http://127.0.0.1:{port}"},
        start_s=30,
        stop_s=0.2,
    )


def family(tmp_path: Path, name: str = "small") -> list[Proc]:
    pids = (tmp_path / f"{name}.pids").read_text().split()[:2]
    return [proc for pid in pids if (proc := find(int(pid))) is not None]


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "not within its time"
        time.sleep(0.02)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "home"
    yield folder
    down(folder)
    assert running(folder) == {}


def test_a_second_up_finds_what_runs(home: Path, tmp_path: Path) -> None:
    first = up(home, [serving(tmp_path)])
    before = running(home)
    second = up(home, [serving(tmp_path)])
    assert first == second
    assert running(home) == before
    assert httpx.get(first["small_url"], trust_env=False).status_code == 200
    assert json.loads((home / "endpoints.json").read_text()) == dict(first.known)


def test_down_ends_children_too_though_they_are_deaf_and_elsewhere(
    home: Path, tmp_path: Path
) -> None:
    up(home, [serving(tmp_path)])
    procs = family(tmp_path)
    assert len(procs) == 2
    assert down(home) == ("small",)
    assert [proc for proc in procs if proc.alive] == []
    assert not (home / "endpoints.json").exists()
    assert down(home) == ()


def test_orphans_of_a_killed_program_are_ended(home: Path, tmp_path: Path) -> None:
    up(home, [serving(tmp_path)])
    leader, child = family(tmp_path)
    leader.send(signal.SIGKILL)
    wait_until(lambda: not leader.alive)
    assert child.alive
    down(home)
    assert not child.alive


def test_a_dead_program_is_started_again_on_its_port_and_its_orphans_end(
    home: Path, tmp_path: Path
) -> None:
    first = up(home, [serving(tmp_path)])
    leader, child = family(tmp_path)
    leader.send(signal.SIGKILL)
    wait_until(lambda: not leader.alive)
    assert up(home, [serving(tmp_path)]) == first
    assert not child.alive
    assert running(home) != {"small": leader.pid}


def test_whoever_serves_again_once_its_predecessor_does_is_left_alone(
    home: Path, tmp_path: Path
) -> None:
    leaning = serving(tmp_path, "second")
    leaning = replace(leaning, ready_urls=(*leaning.ready_urls, "{small_url}/"), after=("small",))
    up(home, [leaning, serving(tmp_path)])
    leader, *_ = family(tmp_path)
    before = running(home)
    leader.send(signal.SIGKILL)
    wait_until(lambda: not leader.alive)
    up(home, [leaning, serving(tmp_path)])
    assert running(home)["second"] == before["second"]
    assert running(home)["small"] != before["small"]


def test_a_program_described_otherwise_is_replaced(home: Path, tmp_path: Path) -> None:
    up(home, [serving(tmp_path)])
    before = family(tmp_path)
    up(home, [replace(serving(tmp_path), env={"COLOUR": "red"})])
    assert [proc for proc in before if proc.alive] == []
    assert set(running(home)) == {"small"}


def test_an_id_that_was_given_again_is_left_alone(home: Path, tmp_path: Path) -> None:
    up(home, [serving(tmp_path)])
    record = read_records(home / "run")["small"]
    down(home)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        replace(record, pid=bystander.pid).write(home / "run")
        assert running(home) == {}
        assert down(home) == ("small",)
        assert bystander.poll() is None


def test_a_program_that_ends_early_is_named_with_the_end_of_its_log(
    home: Path, tmp_path: Path
) -> None:
    failing = Program(
        name="failing",
        argv=(sys.executable, "-c", "raise SystemExit('no room on the disk')"),
        cwd=tmp_path,
        ready_urls=("http://127.0.0.1:{port}/",),
        after=("small",),
    )
    with pytest.raises(Unreachable, match=r"failing: ended before it was ready(.|\n)*no room on"):
        up(home, [serving(tmp_path), failing])
    assert running(home) == {}
    assert family(tmp_path) == []


def test_a_program_that_is_never_ready_is_given_up(home: Path, tmp_path: Path) -> None:
    deaf = Program(
        name="deaf",
        argv=(sys.executable, "-c", "import time; time.sleep(600)"),
        cwd=tmp_path,
        ready_file=tmp_path / "never.json",
        start_s=0.3,
    )
    with pytest.raises(Unreachable, match=r"deaf: not ready after 0 s"):
        up(home, [deaf])
    assert running(home) == {}


def test_a_program_that_cannot_be_started_says_why(home: Path, tmp_path: Path) -> None:
    missing = Program(name="missing", argv=("/no/such/program",), cwd=tmp_path)
    with pytest.raises(Unreachable, match="/no/such/program: cannot be started"):
        up(home, [replace(missing, ready_file=tmp_path / "never.json")])


def test_what_a_program_tells_of_itself_reaches_those_after_it(home: Path, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    text = json.dumps({"first_url": "http://127.0.0.1:9", "number": 3})
    write = f"import pathlib, time; p = pathlib.Path({str(told)!r});"
    write += f"d = p.with_suffix('.new'); d.write_text({text!r}); d.rename(p); time.sleep(600)"
    first = Program(name="first", argv=(sys.executable, "-c", write), cwd=home, ready_file=told)
    second = replace(serving(tmp_path), after=("first",), env={"SEEN": "{first_url}"})
    home.mkdir()
    endpoints = up(home, [second, first])
    assert endpoints["first_url"] == "http://127.0.0.1:9"
    environ = Path(f"/proc/{running(home)['small']}/environ").read_bytes().split(b"\0")
    assert b"SEEN=http://127.0.0.1:9" in environ


def test_a_missing_predecessor_and_an_unknown_endpoint_are_refused(
    home: Path, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="starts after prefect, not among"):
        up(home, [replace(serving(tmp_path), after=("prefect",))])
    with pytest.raises(Refused, match="mlflow_url: given by no program"):
        _ = up(home, []).mlflow_url


def test_a_home_that_never_was_is_down(tmp_path: Path) -> None:
    assert down(tmp_path / "nothing") == ()


def test_a_starter_that_ignores_sigint_does_not_pass_it_on(home: Path, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        up(home, [serving(tmp_path)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "small.pids").read_text().endswith("False")


def test_after_the_block_nothing_runs(home: Path, tmp_path: Path) -> None:
    with supervised(home, [serving(tmp_path)]) as endpoints:
        assert httpx.get(endpoints["small_url"], trust_env=False).status_code == 200
        procs = family(tmp_path)
    assert [proc for proc in procs if proc.alive] == []


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_supervised_home_ends_with_its_process(
    home: Path, tmp_path: Path, blow: signal.Signals
) -> None:
    script = f"""
        import signal, sys, time
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from edgefleet.adapters.servers import supervised
        signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run in a background
        from test_servers import serving
        with supervised(Path({str(home)!r}), [serving(Path({str(tmp_path)!r}))]):
            print("up", flush=True)
            time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as demo:
        assert demo.stdout is not None
        assert demo.stdout.readline() == "up\n"
        procs = family(tmp_path)
        assert len(procs) == 2
        demo.send_signal(blow)
    wait_until(lambda: not any(proc.alive for proc in procs) and running(home) == {})


@pytest.mark.servers
def test_prefect_its_worker_and_mlflow_come_up_and_leave_nothing(home: Path) -> None:
    endpoints = up(home, embedded(home, pool="factory floor"))
    pool = httpx.get(f"{endpoints.prefect_api}/work_pools/factory floor", trust_env=False).json()
    assert (pool["type"], pool["is_paused"]) == ("process", False)
    page = httpx.get(endpoints.prefect_ui, trust_env=False, follow_redirects=True)
    assert page.status_code == 200
    told = httpx.get(f"{endpoints.prefect_ui}/ui-settings", trust_env=False)
    assert told.json()["api_url"] == endpoints.prefect_api
    assert httpx.get(f"{endpoints.mlflow_url}/version", trust_env=False).text.startswith("3.")
    before = running(home)
    assert up(home, embedded(home, pool="factory floor")) == endpoints
    assert running(home) == before
    assert down(home) == ("worker", "mlflow", "prefect")
    assert (home / "prefect" / "prefect.db").stat().st_size > 0
    assert (home / "mlflow" / "mlflow.db").stat().st_size > 0
