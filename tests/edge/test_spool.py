"""The node's file of windows outlives processes, and stays short."""

from __future__ import annotations

import asyncio
import fcntl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edgefleet.edge.bookkeeping import SPOOL_FILE, Bookkeeper
from edgefleet.edge.contract import Digest, Evidence, ServerSettings
from edgefleet.edge.spool import KEPT_WINDOWS, Spool

DIGEST = Digest("sha256:" + "a" * 64)


def record(window: int, boot: str = "a", ok: int = 1) -> Evidence:
    return Evidence(window=window, digest=DIGEST, boot=boot, ok=ok)


def test_what_two_writers_append_at_once_while_it_is_rewritten_is_all_there(
    tmp_path: Path,
) -> None:
    def write(boot: str) -> None:
        spool = Spool(tmp_path / "windows.jsonl")
        for number in range(200):
            spool.append([record(number % 10, boot)])
            if number % 20 == 0:
                spool.shorten()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ["old", "new"]))
    found = Spool(tmp_path / "windows.jsonl").read(after=-1)
    assert {(window, boot): 20 for window in range(10) for boot in ("old", "new")} == {
        (each.window, each.boot): each.ok for each in found
    }


def test_reading_after_a_window_leaves_out_that_window_and_those_before(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "windows.jsonl")
    spool.append([record(window) for window in range(5)])
    assert [each.window for each in spool.read(after=2)] == [3, 4]


def test_the_newest_windows_are_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "windows.jsonl")
    spool.append([record(window) for window in range(1000)])
    spool.shorten()
    assert len(spool.path.read_bytes().splitlines()) == KEPT_WINDOWS
    assert list(range(1000 - KEPT_WINDOWS, 1000)) == [e.window for e in spool.read(after=-1)]


def test_a_large_spool_is_shortened_by_itself(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "windows.jsonl")
    for start in range(0, 40_000, 4000):
        spool.append([record(start + number, ok=10**6) for number in range(4000)])
    assert spool.path.stat().st_size < 1_500_000


def test_a_torn_line_costs_that_line_only(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "windows.jsonl")
    spool.append([record(1)])
    with spool.path.open("ab") as file:
        file.write(b'{"window":2,"dig\n')
    spool.append([record(3)])
    assert [each.window for each in spool.read(after=-1)] == [1, 3]


def test_a_digest_that_goes_while_windows_are_written_leaves_its_counts(tmp_path: Path) -> None:
    other = Digest("sha256:" + "b" * 64)
    settings = ServerSettings(
        workload="w",
        node="n",
        digest=DIGEST,
        package_dir="",
        trust_dir="",
        state_dir=str(tmp_path),
        window_s=10,
    )

    async def scene() -> None:
        books = Bookkeeper(settings, "a")
        books.begin(DIGEST, 1000)
        books.book.at(100).sums["ok"] += 1
        spool = Spool(tmp_path / SPOOL_FILE)
        with spool._locked(fcntl.LOCK_EX):
            writing = asyncio.create_task(books.tick(1011))
            while not books._unwritten:  # noqa: ASYNC110 - until it waits for the lock
                await asyncio.sleep(0)
            books.book.at(101).sums["ok"] += 2
            books.begin(other, 1015)
            assert not writing.done()
        await writing
        await books.end(1016)

    asyncio.run(scene())
    found = Spool(tmp_path / SPOOL_FILE).read(after=-1)
    assert [(each.window, each.ok) for each in found if each.digest == DIGEST] == [
        (100, 1),
        (101, 2),
    ]


def test_a_spool_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    assert Spool(tmp_path / "windows.jsonl").read(after=-1) == ()
