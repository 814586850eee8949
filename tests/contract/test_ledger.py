"""What every ledger does, whatever database it stands on."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from edgefleet.adapters.ledger import SqlLedger
from edgefleet.adapters.memory.kill import watched
from edgefleet.errors import Conflict, Fenced, Refused, Unreachable
from edgefleet.fleet.drivers import Lease
from edgefleet.fleet.pins import Pin
from edgefleet.fleet.release import NEXT, Admission, Phase, Release, Signal
from edgefleet.ports import Ledger
from tests.postgres import Postgres

NOW = datetime(2026, 1, 5, 6, tzinfo=UTC)
DATABASES = itertools.count()


def asked(version: str = "7", workload: str = "defects", attempt: str = "") -> Admission:
    return Admission(workload, "plant", "defect-net", version, "poll", "a: spec", attempt)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/ledger.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database(f"ledger_{next(DATABASES)}")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    made = SqlLedger(url)
    yield made
    made.close()


@pytest.fixture
def release(ledger: Ledger) -> Release:
    return ledger.admit(asked(), NOW)[0]


# --- admission ------------------------------------------------------------------------------------


def test_a_registration_becomes_one_release_whichever_door_it_comes_through(
    ledger: Ledger,
) -> None:
    first, made = ledger.admit(asked(), NOW)
    again, made_again = ledger.admit(asked(), later(5))
    assert (made, made_again) == (True, False)
    assert first == again
    assert first.release_id == "defects-1"
    assert first.phase is Phase.QUALIFYING
    assert first.admitted_at == first.changed_at == NOW
    assert ledger.spec("defects-1") == "a: spec"


def test_a_named_attempt_releases_the_same_version_again(ledger: Ledger, release: Release) -> None:
    again, made = ledger.admit(asked(attempt="after the fix"), later(1))
    assert made
    assert (again.generation, again.release_id) == (release.generation + 1, "defects-2")


def test_generations_count_per_workload(ledger: Ledger) -> None:
    made = [
        ledger.admit(asked(version, workload), later(n))[0].release_id
        for n, (version, workload) in enumerate((("1", "a"), ("1", "b"), ("2", "a"), ("2", "b")))
    ]
    assert made == ["a-1", "b-1", "a-2", "b-2"]
    assert [one.release_id for one in ledger.releases()] == ["b-2", "a-2", "b-1", "a-1"]
    assert [one.release_id for one in ledger.releases("a")] == ["a-2", "a-1"]
    assert ledger.releases("unheard-of") == ()


def test_an_unknown_release_is_refused_by_name(ledger: Ledger) -> None:
    for ask in (
        ledger.release,
        ledger.spec,
        lambda name: ledger.note(name, "hello", NOW),
        lambda name: ledger.ask_abort(name, "why", NOW),
        lambda name: ledger.put(name, "plan", 0, b"", 1),
        lambda name: ledger.move(name, Phase.QUALIFYING, Signal.DONE, "", 1, NOW),
    ):
        with pytest.raises(Refused, match="defects-9"):
            ask("defects-9")


def test_times_come_back_aware_and_in_utc(ledger: Ledger) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5)))
    made, _ = ledger.admit(asked(), elsewhere)
    assert made.admitted_at == NOW
    assert made.admitted_at.tzinfo == UTC
    assert ledger.release("defects-1").changed_at.tzinfo == UTC


# --- moving ---------------------------------------------------------------------------------------


def test_a_move_follows_the_table_and_writes_its_reason_down(
    ledger: Ledger, release: Release
) -> None:
    epoch = ledger.acquire("defects", "me", NOW, 10)
    moved = ledger.move(
        release.release_id, Phase.QUALIFYING, Signal.DONE, "97.1 % in INT8", epoch, later(9)
    )
    assert (moved.phase, moved.epoch, moved.reason) == (Phase.PLANNED, 1, "97.1 % in INT8")
    assert moved.changed_at == later(9)
    assert moved == ledger.release(release.release_id)
    last = ledger.journal(release.release_id)[-1]
    assert (last.at, last.phase) == (later(9), "planned")
    assert "97.1 % in INT8" in last.text


@pytest.mark.parametrize(
    ("phase", "signal"), [(Phase.PLANNED, Signal.DONE), (Phase.QUALIFYING, Signal.OVERRIDE)]
)
def test_a_move_from_another_phase_or_by_a_meaningless_signal_changes_nothing(
    ledger: Ledger, release: Release, phase: Phase, signal: Signal
) -> None:
    before = (ledger.release(release.release_id), ledger.journal(release.release_id))
    with pytest.raises(Conflict):
        ledger.move(release.release_id, phase, signal, "", 0, later(1))
    assert (ledger.release(release.release_id), ledger.journal(release.release_id)) == before


def test_a_driver_whose_lease_was_taken_writes_nothing(ledger: Ledger, release: Release) -> None:
    old = ledger.acquire("defects", "frozen", NOW, 10)
    new = ledger.acquire("defects", "next", later(11), 10)
    before = ledger.journal(release.release_id)
    with pytest.raises(Fenced, match=r"epoch 1.*2"):
        ledger.move(release.release_id, Phase.QUALIFYING, Signal.DONE, "", old, later(12))
    with pytest.raises(Fenced, match="another driver"):
        ledger.put(release.release_id, "plan", 0, b"old", old)
    assert ledger.release(release.release_id).phase is Phase.QUALIFYING
    assert ledger.journal(release.release_id) == before
    assert ledger.get(release.release_id, "plan", 0) is None
    ledger.move(release.release_id, Phase.QUALIFYING, Signal.DONE, "", new, later(12))


def test_an_abort_is_recorded_once_needs_no_lease_and_moves_nothing(
    ledger: Ledger, release: Release
) -> None:
    ledger.acquire("defects", "a driver", NOW, 10)
    wanted = ledger.ask_abort(release.release_id, "ann: wrong model", later(1))
    assert (wanted.abort_asked, wanted.phase) == ("ann: wrong model", Phase.QUALIFYING)
    lines = len(ledger.journal(release.release_id))
    assert ledger.ask_abort(release.release_id, "bob: me too", later(2)) == wanted
    assert len(ledger.journal(release.release_id)) == lines


def test_an_ended_release_takes_no_abort(ledger: Ledger, release: Release) -> None:
    ended = ledger.move(release.release_id, Phase.QUALIFYING, Signal.REFUSED, "no data", 0, NOW)
    assert ledger.ask_abort(release.release_id, "ann", later(1)) == ended


def test_every_signal_of_the_table_can_be_written(ledger: Ledger) -> None:
    for n, ((phase, signal), after) in enumerate(NEXT.items()):
        made, _ = ledger.admit(asked(str(n)), NOW)
        for step in WAY_TO[phase]:
            current = ledger.release(made.release_id).phase
            ledger.move(made.release_id, current, step, "", 0, NOW)
        moved = ledger.move(made.release_id, phase, signal, "", 0, NOW)
        assert moved.phase is after


WAY_TO: dict[Phase, tuple[Signal, ...]] = {
    Phase.QUALIFYING: (),
    Phase.PLANNED: (Signal.DONE,),
    Phase.AWAITING: (Signal.DONE,) * 2,
    Phase.PREPULLING: (Signal.DONE,) * 3,
    Phase.CANARY: (Signal.DONE,) * 4,
    Phase.SOAKING: (Signal.DONE,) * 5,
    Phase.ROLLING: (*(Signal.DONE,) * 5, Signal.PASSED),
    Phase.CONFIRMING: (*(Signal.DONE,) * 5, Signal.ASK),
    Phase.HELD: (*(Signal.DONE,) * 5, Signal.UNSURE),
    Phase.REVERTING: (*(Signal.DONE,) * 5, Signal.FAILED),
}


# --- journal and documents ------------------------------------------------------------------------


def test_the_journal_is_in_order_and_stamped_with_the_phase(
    ledger: Ledger, release: Release
) -> None:
    ledger.note(release.release_id, "searching", later(3))
    ledger.move(release.release_id, Phase.QUALIFYING, Signal.DONE, "found", 0, later(2))
    ledger.note(release.release_id, "planning", later(4))
    lines = ledger.journal(release.release_id)[1:]
    assert [(line.phase, line.at) for line in lines] == [
        ("qualifying", later(3)),
        ("planned", later(2)),
        ("planned", later(4)),
    ]
    assert [lines[0].text, lines[2].text] == ["searching", "planning"]


def test_a_document_is_replaced_by_its_key_and_listed_by_number(
    ledger: Ledger, release: Release
) -> None:
    name = release.release_id
    for number, body in ((2, b"two"), (0, b"\x00\xff"), (2, b"TWO")):
        ledger.put(name, "evidence", number, body, 0)
    ledger.put(name, "plan", 0, b"a plan", 0)
    assert list(ledger.all(name, "evidence").items()) == [(0, b"\x00\xff"), (2, b"TWO")]
    assert ledger.get(name, "evidence", 2) == b"TWO"
    assert ledger.get(name, "evidence", 1) is None
    assert ledger.all(name, "verdict") == {}


# --- registrations --------------------------------------------------------------------------------


def test_what_is_past_is_kept_for_each_way_of_asking_and_never_goes_down(ledger: Ledger) -> None:
    assert ledger.past("defects", "net", "any") is None
    ledger.set_past("defects", "net", "any", 5)
    ledger.set_past("defects", "net", "any", 3)
    assert ledger.past("defects", "net", "any") == 5
    ledger.set_past("defects", "net", "any", 8)
    assert ledger.past("defects", "net", "any") == 8
    assert ledger.past("defects", "net", "tag") is None
    assert ledger.past("others", "net", "any") is None


# --- leases ---------------------------------------------------------------------------------------


def test_a_lease_is_never_taken_from_a_holder_that_renews_in_time(ledger: Ledger) -> None:
    epoch = ledger.acquire("defects", "me", NOW, 10)
    for second in range(3, 60, 3):
        with pytest.raises(Conflict, match="driven by me"):
            ledger.acquire("defects", "other", later(second), 10)
        ledger.renew("defects", "me", epoch, later(second), 10)


def test_every_acquisition_raises_the_epoch_also_after_it_was_given_back(ledger: Ledger) -> None:
    epochs = [ledger.acquire("defects", "a", NOW, 10)]
    ledger.leave("defects", "a", epochs[0])
    epochs.append(ledger.acquire("defects", "b", later(1), 10))
    epochs.append(ledger.acquire("defects", "c", later(11), 10))
    epochs.append(ledger.acquire("defects", "c", later(12), 10))
    assert epochs == [1, 2, 3, 4]
    assert ledger.acquire("fusion", "a", NOW, 10) == 1


def test_a_lost_lease_is_neither_renewed_nor_given_back(ledger: Ledger) -> None:
    old = ledger.acquire("defects", "a", NOW, 10)
    ledger.acquire("defects", "b", later(10), 10)
    with pytest.raises(Fenced, match="b has epoch 2"):
        ledger.renew("defects", "a", old, later(11), 10)
    ledger.leave("defects", "a", old)
    with pytest.raises(Conflict):
        ledger.acquire("defects", "c", later(12), 10)


def test_a_lapsed_lease_that_nobody_took_can_still_be_renewed(ledger: Ledger) -> None:
    epoch = ledger.acquire("defects", "a", NOW, 10)
    ledger.renew("defects", "a", epoch, later(30), 10)
    with pytest.raises(Conflict):
        ledger.acquire("defects", "b", later(39), 10)


def test_a_lease_that_nobody_ever_took_cannot_be_renewed(ledger: Ledger) -> None:
    with pytest.raises(Fenced):
        ledger.renew("defects", "a", 1, NOW, 10)
    ledger.leave("defects", "a", 1)


# --- starts ---------------------------------------------------------------------------------------


def test_starts_are_paced_per_factory_one_by_one(ledger: Ledger) -> None:
    taken = [second for second in range(61) if ledger.take_start("north", 6, later(second))]
    assert taken == [0, 10, 20, 30, 40, 50, 60]
    assert ledger.take_start("south", 6, later(60))
    assert ledger.take_start("north", 6, later(3600))
    assert not ledger.take_start("north", 6, later(3600))


def test_leases_are_shown_with_who_holds_them_and_until_when(ledger: Ledger) -> None:
    assert ledger.leases() == {}
    ledger.admit(asked(), NOW)
    assert ledger.leases() == {"defects": Lease("", 0, None)}
    epoch = ledger.acquire("defects", "me", NOW, 10)
    ledger.acquire("sounds", "you", NOW, 30)
    shown = ledger.leases()
    assert shown["defects"] == Lease("me", epoch, later(10))
    assert shown["sounds"].expires_at == later(30)
    ledger.leave("defects", "me", epoch)
    assert ledger.leases()["defects"] == Lease("", epoch, None)


# --- many at once ---------------------------------------------------------------------------------


def admit_once(url: str, number: int) -> tuple[str, bool]:
    with closing(SqlLedger(url)) as ledger:
        release, made = ledger.admit(asked(), later(number))
    return release.release_id, made


def admit_own(url: str, number: int) -> tuple[str, bool]:
    with closing(SqlLedger(url)) as ledger:
        release, made = ledger.admit(asked(str(number)), later(number))
    return release.release_id, made


def acquire_once(url: str, number: int) -> tuple[str, bool]:
    with closing(SqlLedger(url)) as ledger:
        try:
            epoch = ledger.acquire("defects", f"driver-{number}", NOW, 10)
        except Conflict:
            return "", False
    return str(epoch), True


def write_much(url: str, number: int) -> tuple[str, bool]:
    with closing(SqlLedger(url)) as ledger:
        release, made = ledger.admit(asked(workload=f"job-{number}"), NOW)
        for n in range(10):
            ledger.put(release.release_id, "evidence", n, b"x" * 2000, 0)
            ledger.note(release.release_id, f"line {n}", NOW)
            ledger.take_start("north", 30, NOW)
    return release.release_id, made


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(3, multiprocessing.get_context("forkserver")) as pool:
        yield pool


@pytest.fixture(scope="module")
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture(params=["threads", "processes"])
def crowd(request: pytest.FixtureRequest) -> Executor:
    pool: Executor = request.getfixturevalue(request.param)
    return pool


Deed = Callable[[str, int], tuple[str, bool]]


def all_at_once(crowd: Executor, deed: Deed, url: str, count: int) -> list[tuple[str, bool]]:
    """Do it at once from ledgers of their own, on a database that nobody has opened before."""
    futures = [crowd.submit(deed, url, number) for number in range(count)]
    return [future.result(timeout=60) for future in futures]


def test_eight_admissions_of_one_version_make_one_release(crowd: Executor, url: str) -> None:
    answers = all_at_once(crowd, admit_once, url, 8)
    assert {release_id for release_id, _ in answers} == {"defects-1"}
    assert [made for _, made in answers].count(True) == 1


def test_eight_admissions_of_eight_versions_count_without_a_gap(crowd: Executor, url: str) -> None:
    answers = all_at_once(crowd, admit_own, url, 8)
    assert sorted(answers) == [(f"defects-{n}", True) for n in range(1, 9)]


def test_of_two_that_want_a_lease_one_gets_it(crowd: Executor, url: str) -> None:
    assert sorted(all_at_once(crowd, acquire_once, url, 2)) == [("", False), ("1", True)]


def test_writers_wait_for_each_other_and_lose_nothing(crowd: Executor, url: str) -> None:
    answers = all_at_once(crowd, write_much, url, 8)
    with closing(SqlLedger(url)) as ledger:
        for release_id, _ in answers:
            assert len(ledger.all(release_id, "evidence")) == 10
            assert len(ledger.journal(release_id)) == 11


# --- pins -----------------------------------------------------------------------------------------


def pinned(release_id: str = "defects-1", reason: str = "the old camera") -> Pin:
    return Pin(release_id, reason, "Ada", NOW)


def test_a_node_is_pinned_pinned_anew_and_let_go(ledger: Ledger) -> None:
    assert ledger.pins("defects") == {}
    ledger.pin("defects", ("n1", "n2"), pinned())
    ledger.pin("defects", ("n2",), pinned("defects-3", "a wish"))
    assert ledger.pins("defects") == {"n1": pinned(), "n2": pinned("defects-3", "a wish")}
    ledger.unpin("defects", ("n1", "never pinned"))
    assert ledger.pins("defects") == {"n2": pinned("defects-3", "a wish")}


def test_pins_are_of_one_workload(ledger: Ledger) -> None:
    ledger.pin("defects", ("n1",), pinned())
    ledger.pin("vibration", ("n1",), pinned("vibration-2"))
    ledger.unpin("vibration", ("n1",))
    assert ledger.pins("vibration") == {}
    assert ledger.pins("defects") == {"n1": pinned()}


def pin_once(url: str, number: int) -> tuple[str, bool]:
    with closing(SqlLedger(url)) as ledger:
        ledger.pin("defects", ("n1", "n2"), pinned(f"defects-{number}"))
    return "", True


def test_of_eight_pins_of_the_same_nodes_one_stays(crowd: Executor, url: str) -> None:
    all_at_once(crowd, pin_once, url, 8)
    with closing(SqlLedger(url)) as ledger:
        kept = ledger.pins("defects")
    assert kept["n1"] == kept["n2"]


# --- the file, and what it stands on --------------------------------------------------------------


def test_a_ledger_outlives_its_process(url: str) -> None:
    with closing(SqlLedger(url)) as before:
        made, _ = before.admit(asked(), NOW)
    with closing(SqlLedger(url)) as after:
        assert after.release(made.release_id) == made


def test_a_file_that_is_no_database_is_unreachable_and_a_memory_url_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database, whatever its name" * 100)
    with pytest.raises(Unreachable, match=r"ledger\.db: file is not a database"):
        SqlLedger(f"sqlite:///{tmp_path}/ledger.db").releases()
    with pytest.raises(Refused, match="memory"):
        SqlLedger("sqlite://")


def test_naive_times_are_no_times(ledger: Ledger) -> None:
    with pytest.raises(Exception, match="has no zone"):
        ledger.admit(asked(), NOW.replace(tzinfo=None))


def test_a_driver_killed_after_a_move_finds_it_done(ledger: Ledger, release: Release) -> None:
    class Killed(BaseException):
        pass

    def hook(when: str, call: str) -> None:
        if (when, call) == ("after", "SqlLedger.move"):
            raise Killed

    with pytest.raises(Killed):
        watched(ledger, hook).move(
            release.release_id, Phase.QUALIFYING, Signal.DONE, "found", 0, later(1)
        )
    assert ledger.release(release.release_id).phase is Phase.PLANNED
