"""The model is swapped in the process, and whatever goes wrong something good serves."""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefleet.edge.contract import DIGEST_HEADER, MODEL_FILE, Digest
from edgefleet.edge.store import ORDER_FILE
from tests.edge.conftest import Shelf
from tests.edge.swaps import Bench, answers, summary, threads, told, windows
from tests.edge.test_errands import errand
from tests.edge.test_evidence import feedback, order
from tests.edge.test_lifecycle import RAW, Client, settled
from tests.edge.tiny import BRIGHT, DARK, Running, tiny_package, wait_for


@pytest.fixture
def bench(shelf: Shelf, tmp_path: Path) -> Bench:
    return Bench(shelf, tmp_path)


def address(running: Running) -> tuple[str, int]:
    host, _, port = running.private("GET", "/health").json["address"].rpartition(":")
    return host, int(port)


def test_a_swap_and_back_under_load_lose_no_request_and_both_answer(
    bench: Bench, shelf: Shelf
) -> None:
    stop = threading.Event()
    with bench.server(window_s=0.5) as running:
        running.wait_ready()
        clients = [Client(address(running), pause, stop) for pause in (0, 0, 0.01, 0.03, 0.1)]
        cameras = [threading.Thread(target=client.run) for client in clients]

        def answered(digest: Digest) -> int:
            return sum(client.answered.get(digest, 0) for client in clients)

        try:
            for camera in cameras:
                camera.start()
            for digest in (shelf.new, shelf.old, shelf.new):
                trust = shelf.root / "keys/trust"
                asked = ("swap", bench.packages[digest], trust, bench.store.root, digest, 1)
                before = answered(digest)
                done = errand(*asked, "--wait", 30)
                assert (done.returncode, done.stderr) == (0, "")
                wait_for(lambda d=digest, n=before: answered(d) > n + 50, "it answers")
        finally:
            stop.set()
            for camera in cameras:
                camera.join(20)
        assert [failure for client in clients for failure in client.failed] == []
        assert running.drain() == 0
    lines = (bench.root / "state/windows.jsonl").read_text().splitlines()
    counted = dict.fromkeys((shelf.old, shelf.new), 0)
    for record in map(json.loads, lines):
        counted[record["digest"]] += record.get("ok", 0)
    assert {digest: answered(digest) for digest in counted} == counted


def test_after_a_swap_everything_names_the_new_digest_and_the_old_package_stays(
    bench: Bench, shelf: Shelf
) -> None:
    third = bench.package("3")
    with bench.server() as running:
        running.wait_ready()
        assert (told(running).want, told(running).pending) == (None, False)
        assert answers(running) == (shelf.old, "ok")
        bench.swap(third, epoch=3)
        bench.swap(shelf.new, epoch=4)
        assert answers(running) == (shelf.new, "scratch")
        said = summary(running)
        assert (said.digest, said.total.digest, said.ready) == (shelf.new, shelf.new, True)
        assert said.self_check.passed
        swap = told(running)
        assert (swap.want, swap.epoch, swap.reason, swap.pending) == (shelf.new, 4, "", False)
        assert running.private("GET", "/health").json["digest"] == shelf.new
        assert running.public("GET", "/v2/models/tiny").json["versions"] == ["2"]
        infer = {"name": "image", "shape": [1, 1, 8, 8], "datatype": "UINT8", "data": [0] * 64}
        body = json.dumps({"inputs": [infer]}).encode()
        reply = running.public("POST", "/v2/models/tiny/infer", body)
        assert (reply.json["model_version"], reply.headers[DIGEST_HEADER]) == ("2", shelf.new)
        text = running.public("GET", "/metrics").body.decode()
        assert re.findall('edge_server_info{.*digest="(sha256:[0-9a-f]{64})"', text) == [shelf.new]
        names = {bench.store.package(digest).name for digest in (third, shelf.new)}
        kept = bench.store.root / "packages"
        wait_for(lambda: {path.name for path in kept.iterdir()} == names, "it is tidy")


def test_a_request_that_has_begun_is_answered_and_counted_by_what_it_began_with(
    bench: Bench, shelf: Shelf
) -> None:
    with bench.server(drain_s=20.0) as running:
        running.wait_ready()
        with socket.create_connection(address(running), timeout=30) as slow:
            head = f"POST {RAW} HTTP/1.1\r\nHost: n\r\nContent-Length: {len(DARK)}\r\n\r\n"
            slow.sendall(head.encode() + DARK[:1])
            wait_for(lambda: summary(running).queue_depth == 1, "it has begun")
            bench.swap(shelf.new)
            assert answers(running) == (shelf.new, "scratch")
            slow.sendall(DARK[1:])
            reply = b""
            while b'"label"' not in reply:
                received = slow.recv(4096)
                assert received
                reply += received
        assert f"{DIGEST_HEADER}: {shelf.old}".encode() in reply
        assert b'"label":"ok"' in reply
        assert summary(running).total.ok == 1
        assert running.drain() == 0
    lines = (bench.root / "state/windows.jsonl").read_text().splitlines()
    ok = {
        digest: sum(r.get("ok", 0) for r in map(json.loads, lines) if r["digest"] == digest)
        for digest in (shelf.old, shelf.new)
    }
    assert ok == {shelf.old: 1, shelf.new: 1}


def broken(folder: Path, shelf: Shelf) -> str:
    shutil.copytree(shelf.root / "new", folder)
    with (folder / MODEL_FILE).open("ab") as model:
        model.write(b"\0")
    return "model.onnx: signed was sha256:"


def foreign(folder: Path, _shelf: Shelf) -> str:
    tiny_package(folder, folder.parent.parent.parent / "other-keys", version="2")
    return "signed by none of the trusted keys"


def of_other_hardware(folder: Path, shelf: Shelf) -> str:
    tiny_package(folder, shelf.root / "keys", version="2", golden_shift=0.25)
    return "golden set: 0 of 20 answers agree, largest difference 0.25"


def of_another_workload(folder: Path, shelf: Shelf) -> str:
    tiny_package(folder, shelf.root / "keys", name="sorter")
    return "is a model named 'sorter', and clients of this node ask for 'tiny'"


@pytest.mark.parametrize("make", [broken, foreign, of_other_hardware, of_another_workload])
def test_what_must_not_serve_leaves_the_old_one_serving_and_the_node_says_why(
    bench: Bench, shelf: Shelf, make: Callable[[Path, Shelf], str]
) -> None:
    bad = Digest("sha256:" + "b" * 64)
    bench.store.package(bad).parent.mkdir(parents=True)
    words = make(bench.store.package(bad), shelf)
    with bench.server(window_s=0.5) as running:
        running.wait_ready()
        boot = summary(running).boot
        ended = errand("order", bench.store.root, bad, 2, "--wait", 30)
        assert ended.returncode == 4
        assert words in ended.stderr
        wait_for(lambda: not told(running).pending, "the summary has it")
        swap = told(running)
        assert (swap.want, swap.epoch) == (bad, 2)
        assert words in swap.reason
        said = summary(running)
        assert (said.digest, said.ready, said.boot) == (shelf.old, True, boot)
        assert said.self_check.passed
        assert answers(running) == (shelf.old, "ok")
        if make is of_other_hardware:
            wait_for(
                lambda: (
                    [r.golden_agreed for r in windows(running).records if r.digest == bad] == [0]
                ),
                "its golden set is evidence against it",
            )
        # Nothing is worn out: the next order is followed.
        bench.swap(shelf.new, epoch=3)
        assert answers(running)[0] == shelf.new
        assert told(running).reason == ""
    # A server that starts with such an order serves what served last, and says why.
    shutil.rmtree(bench.store.package(bad), ignore_errors=True)
    make(bench.store.package(bad), shelf)
    with bench.store.locked():
        refused = bench.store.give(bad, 4)
    with bench.server() as running:
        running.wait_ready()
        assert answers(running)[0] == shelf.new
        assert words in told(running).reason
        state = bench.settled(refused)
        assert (state.serving, state.want) == (shelf.new, bad)


def test_the_slot_before_serves_again_without_being_loaded(bench: Bench, shelf: Shelf) -> None:
    with bench.server() as running:
        running.wait_ready()
        bench.order(shelf.old)
        bench.swap(shelf.new, epoch=2)
        # A package that could not be loaded any more.
        (bench.store.package(shelf.old) / MODEL_FILE).write_bytes(b"")
        with bench.store.locked():
            back = bench.store.give(shelf.old, 3)
        assert bench.settled(back).reason == ""
        assert answers(running) == (shelf.old, "ok")
        assert (bench.settled(back).previous, summary(running).digest) == (shelf.new, shelf.old)


def test_what_served_before_a_swap_is_its_shadow_also_after_a_restart(
    bench: Bench, shelf: Shelf
) -> None:
    orders = bench.root / "shadow.json"
    order(orders, "previous", 1.0)
    third = bench.package("3")
    with bench.server(shadow_order_file=str(orders)) as running:
        running.wait_ready()
        assert summary(running).shadow is None
        bench.swap(shelf.new)
        wait_for(lambda: summary(running).shadow == shelf.old, "the old one is the reference")
        answers(running)
        wait_for(lambda: summary(running).total.shadowed == 1, "it is shadowed")
        assert summary(running).total.disagreed == 1
        bench.swap(third, epoch=2)
        assert summary(running).shadow == shelf.new
        running.process.kill()
    with bench.server(shadow_order_file=str(orders)) as running:
        running.wait_ready()
        assert (summary(running).digest, summary(running).shadow) == (third, shelf.new)


def test_evidence_is_split_by_digest_and_a_late_label_belongs_to_who_answered(
    bench: Bench, shelf: Shelf
) -> None:
    with bench.server(window_s=0.5, warmup_windows=1, label_rate=1.0) as running:
        running.wait_ready()
        wait_for(lambda: summary(running).warm, "it is warm")
        for number in range(5):
            assert answers(running, BRIGHT, f"a{number}")[0] == shelf.old
        bench.swap(shelf.new)
        assert not summary(running).warm
        assert summary(running).total.ok == 0
        for number in range(3):
            assert answers(running, BRIGHT, f"b{number}")[0] == shelf.new
        assert feedback(running, "a0", "dent") == (200, "wanted")
        assert feedback(running, "b0", "ok") == (200, "wanted")
        wait_for(
            lambda: any(r.warm for r in windows(running).records if r.digest == shelf.new),
            "it is warm again",
        )
        total = summary(running).total
        assert (total.ok, total.labelled, total.correct) == (3, 1, 0)
        records = windows(running).records
        mine = {d: [r for r in records if r.digest == d] for d in (shelf.old, shelf.new)}
        sums = {
            digest: tuple(sum(getattr(r, n) for r in own) for n in ("ok", "labelled", "correct"))
            for digest, own in mine.items()
        }
        assert sums == {shelf.old: (5, 1, 1), shelf.new: (3, 1, 0)}
        assert {record.boot for record in records} == {total.boot}
        assert {record.warm for record in mine[shelf.old] if record.ok} == {True}
        # The swap's own window and one more are not warm.
        cold = {record.window for record in mine[shelf.new] if not record.warm}
        assert len(cold) == 2
        assert min(cold) == min(record.window for record in mine[shelf.new])
        # At most the window of the swap has a record of both.
        assert max(r.window for r in mine[shelf.old]) <= min(cold)
        text = running.public("GET", "/metrics").body.decode()
        assert 'edge_requests_total{outcome="ok"} 3.0' in text


def test_a_label_means_the_classes_of_the_model_that_answered(bench: Bench, shelf: Shelf) -> None:
    folder = bench.root / "package-turned"
    labels = ("dent", "scratch", "ok", "rust")
    turned = tiny_package(folder, shelf.root / "keys", version="4", labels=labels)
    bench.packages[turned] = folder
    with bench.server(label_rate=1.0) as running:
        running.wait_ready()
        assert answers(running, BRIGHT, "r1")[1] == "dent"
        assert answers(running, BRIGHT, "r2")[1] == "dent"
        bench.swap(turned)
        assert answers(running, DARK, "r3")[0] == turned
        assert feedback(running, "r1", 2) == (200, "wanted")
        assert feedback(running, "r2", "rust")[0] == 400
        assert feedback(running, "r3", "rust") == (200, "wanted")
        running.drain()
    lines = (bench.root / "state/windows.jsonl").read_text().splitlines()
    own = [record for record in map(json.loads, lines) if record["digest"] == shelf.old]
    assert sum(record.get("correct", 0) for record in own) == 1


def test_after_many_swaps_two_sessions_are_loaded(bench: Bench, shelf: Shelf) -> None:
    versions = [shelf.new, *(bench.package(str(number)) for number in (3, 4))]
    # Each session has threads of its own, one less than it uses.
    own = 7
    with bench.server(threads=own + 1) as running:
        running.wait_ready()
        one = threads(running)
        for epoch in range(5):
            bench.swap(versions[epoch % 3], epoch=epoch)
        wait_for(lambda: own <= threads(running) - one < 2 * own, "the others are destroyed")


def test_a_node_on_which_nothing_may_serve_is_helped_by_the_next_order(
    bench: Bench, shelf: Shelf
) -> None:
    with bench.server(bench.root / "nowhere") as running:
        assert "nowhere" in settled(running)["self_check"]["reason"]
        assert running.private("GET", "/health").status == 503
        bench.order(shelf.new)
        running.wait_ready()
        assert answers(running)[0] == shelf.new
        assert running.drain() == 0


def test_a_disk_that_refuses_keeps_no_order_from_being_followed_and_is_asked_again(
    bench: Bench, shelf: Shelf
) -> None:
    # What the document is written to first cannot be a file.
    obstacle = bench.store.root / ".state.json.draft"
    obstacle.mkdir(parents=True)
    with bench.server() as running:
        running.wait_ready()
        order = bench.order(shelf.new)
        wait_for(lambda: answers(running)[0] == shelf.new, "it is followed")
        assert bench.store.state().serving is None
        obstacle.rmdir()
        assert (bench.settled(order).serving, bench.settled(order).reason) == (shelf.new, "")


def test_an_order_that_cannot_be_read_is_named_and_the_next_one_is_followed(
    bench: Bench, shelf: Shelf
) -> None:
    bench.order(shelf.old)
    path = bench.store.root / ORDER_FILE
    path.write_text("{")
    with bench.server() as running:
        running.wait_ready()
        wait_for(lambda: "order.json: is no order" in told(running).reason, "it says so")
        assert answers(running)[0] == shelf.old
        path.unlink()
        wait_for(lambda: told(running).reason == "", "there is no order")
        bench.swap(shelf.new)
        assert answers(running)[0] == shelf.new


def test_a_server_without_a_store_says_nothing_of_swaps(running: Running) -> None:
    assert summary(running).swap is None


def test_a_drain_while_an_order_is_followed_ends_with_success(bench: Bench, shelf: Shelf) -> None:
    with bench.server() as running:
        running.wait_ready()
        bench.order(shelf.new)
        wait_for(lambda: told(running).want == shelf.new, "it has seen the order")
        assert running.drain() == 0
    with bench.server() as running:
        running.wait_ready()
        wait_for(lambda: answers(running)[0] == shelf.new, "it is followed")
