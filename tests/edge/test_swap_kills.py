"""Killed at any moment of a swap, a node comes back with something good."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from edgefleet.edge.bringing import MOST_DEATHS
from edgefleet.edge.contract import Digest, SelfCheck, ServerSettings
from edgefleet.edge.loading import Loaded, take_over
from edgefleet.edge.node import Node
from edgefleet.edge.slots import Slot, load
from edgefleet.edge.store import Order, State
from edgefleet.edge.swap import Swapper
from tests.edge.conftest import Shelf
from tests.edge.swaps import Bench, answers, summary, told
from tests.edge.tiny import Running, wait_for


@pytest.fixture
def bench(shelf: Shelf, tmp_path: Path) -> Bench:
    return Bench(shelf, tmp_path)


def at_once(_bench: Bench, _running: Running, _order: Order) -> bool:
    return True


def while_loading(bench: Bench, _running: Running, order: Order) -> bool:
    state = bench.store.state()
    # It lasts for some milliseconds: on a busy machine it may be over before it is seen.
    return state.deaths(order) == 1 or state.settles(order)


def after_the_switch(_bench: Bench, running: Running, order: Order) -> bool:
    return answers(running)[0] == order.want


def as_it_is_said(bench: Bench, _running: Running, order: Order) -> bool:
    return bench.store.state().settles(order)


Moment = Callable[[Bench, Running, Order], bool]
MOMENTS: tuple[Moment, ...] = (at_once, while_loading, after_the_switch, as_it_is_said)


def test_killed_at_any_moment_of_a_swap_it_comes_back_with_something_good(
    bench: Bench, shelf: Shelf
) -> None:
    drawn = random.Random(11)  # noqa: S311 - the same delays every time
    delays = [drawn.uniform(0, 0.4) for _ in range(4)]
    label = {shelf.old: "ok", shelf.new: "scratch"}
    moments: list[Moment | float] = [*MOMENTS, *delays]
    order: Order | None = None
    for epoch, moment in enumerate(moments):
        with bench.server() as running:
            running.wait_ready()
            digest, answer = answers(running)
            # The last good one or the ordered one, and it answers as it should.
            assert label[digest] == answer
            if order is not None:
                assert bench.settled(order).reason == ""
                assert answers(running)[0] == order.want
            wanted = shelf.new if epoch % 2 == 0 else shelf.old
            order = bench.order(wanted, epoch)
            if isinstance(moment, float):
                threading.Event().wait(moment)
            else:
                end = time.monotonic() + 30
                # Asked without a pause, since it may be short.
                while not moment(bench, running, order):
                    assert time.monotonic() < end, moment.__name__
            running.process.kill()
            running.process.wait(10)


def test_an_order_that_a_process_ended_on_comes_after_what_served_last(
    bench: Bench, shelf: Shelf
) -> None:
    order = bench.order(shelf.new)
    bench.store.write_state(State(serving=shelf.old, model="tiny").begun(order))
    with bench.server() as running:
        running.wait_ready()
        # It may have been followed by now, but the old one was there before.
        assert bench.settled(order).previous == shelf.old
        wait_for(lambda: answers(running)[0] == shelf.new, "it is followed")


def test_a_package_that_ends_every_process_is_given_up_and_the_old_one_serves(
    bench: Bench, shelf: Shelf
) -> None:
    order = bench.order(shelf.new)
    state = State(serving=shelf.old, model="tiny")
    for _ in range(MOST_DEATHS):
        state = state.begun(order)
    bench.store.write_state(state)
    for _ in range(2):
        with bench.server() as running:
            running.wait_ready()
            settled = bench.settled(order)
            assert settled.serving == shelf.old
            assert f"the server ended {MOST_DEATHS} times" in settled.reason
            assert answers(running)[0] == shelf.old
            wait_for(lambda: "ended" in told(running).reason, "it says so")
            running.process.kill()


def test_an_order_that_a_process_ended_on_serves_if_nothing_else_may(
    bench: Bench, shelf: Shelf
) -> None:
    order = bench.order(shelf.new)
    bench.store.write_state(State().begun(order))
    with bench.server(bench.root / "nowhere") as running:
        running.wait_ready()
        assert answers(running)[0] == shelf.new
        assert bench.settled(order).reason == ""


@pytest.mark.parametrize("lost", ["the order's", "all in the store"])
def test_a_start_serves_the_next_best_and_says_what_failed(
    bench: Bench, shelf: Shelf, lost: str
) -> None:
    third = bench.package("3")
    with bench.server() as running:
        running.wait_ready()
        bench.swap(third, epoch=1)
        bench.swap(shelf.new, epoch=2)
        running.process.kill()
    gone = [shelf.new] if lost == "the order's" else [shelf.new, third]
    if lost == "the order's":
        bench.store.write_state(replace(bench.store.state(), serving=third, previous=shelf.new))
    for digest in gone:
        for path in bench.store.package(digest).iterdir():
            path.write_bytes(b"")
    with bench.server() as running:
        running.wait_ready()
        best = third if lost == "the order's" else shelf.old
        assert answers(running)[0] == best
        assert summary(running).digest == best
        assert "is not a signature bundle" in told(running).reason
        order = bench.store.order()
        assert order is not None
        assert bench.settled(order).want == shelf.new


def test_a_session_is_destroyed_in_a_thread_once_its_last_request_is_answered(
    bench: Bench, shelf: Shelf
) -> None:
    ended: list[tuple[str, str]] = []

    class Session:
        """Says where it is destroyed."""

        def __init__(self, name: str) -> None:
            self.name = name

        def __del__(self) -> None:
            ended.append((self.name, threading.current_thread().name.partition("_")[0]))

    model = load(bench.packages[shelf.old], bench.trust, shelf.old, threads=1)

    def loaded(name: str) -> Loaded:
        slot = Slot(
            digest=Digest(name),
            card=model.card,
            session=Session(name),
            golden_inputs=model.golden_inputs,
            golden_outputs=model.golden_outputs,
        )
        return Loaded(slot, SelfCheck(passed=True, agreed=1, total=1), quick=True)

    def ordered(number: int, name: str) -> Order:
        return Order(want=Digest(name), epoch=1, number=number)

    settings = ServerSettings(
        workload="w",
        node="n",
        digest=shelf.old,
        package_dir="",
        trust_dir="",
        state_dir=str(bench.root / "state"),
    )

    async def scene() -> None:
        node = Node.start(settings)
        swapper = Swapper(node, bench.store)
        swapper._started = True
        take_over(node, loaded("first"), None)
        node.current.in_flight = 1
        begun = node.current
        swapper._conclude(ordered(1, "second"), loaded("second"))
        swapper._bury()
        assert swapper._retired is begun
        begun.in_flight = 0
        del begun
        swapper._bury()
        # Still the way back.
        swapper._drop.submit(str).result(10)
        assert ended == []
        swapper._conclude(ordered(2, "third"), loaded("third"))
        swapper._bury()
        swapper._drop.submit(str).result(10)
        assert ended == [("first", "drop")]

    asyncio.run(scene())
