"""What every Telemetry adapter has to do, and that a central Prometheus tells what nodes tell."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec
import pytest

from edgefleet.adapters.kubernetes.forwarded import Forwarded
from edgefleet.adapters.kubernetes.objects import Pod
from edgefleet.adapters.prometheus import MARGIN_S, Prometheus
from edgefleet.adapters.prometheus_http import PrometheusHttp
from edgefleet.adapters.scrape import Scrape
from edgefleet.edge.contract import Digest, Evidence, ShadowOrder
from edgefleet.edge.gauges import SHOWN
from edgefleet.errors import Unreachable
from edgefleet.fleet.inventory import NodeView, Serving
from edgefleet.fleet.manifest_names import NODE
from edgefleet.fleet.manifest_names import WORKLOAD as WORKLOAD_LABEL
from edgefleet.ports import Telemetry
from tests.contract.prometheus_servers import FACTORY, Agent, Port, Server, central, need_program
from tests.edge.tiny import BRIGHT, DARK, Running, server, tiny_package, wait_for

WORKLOAD: Final = "inspection"
WINDOW_S: Final = 1.0
NODES: Final = 8
_names: Final = (f"cam.{number}" for number in range(NODES))

Book = Mapping[str, tuple[Evidence, ...]]


@dataclass(frozen=True)
class Plant:
    """A factory with an agent, and the centre that it forwards to."""

    root: Path
    agent: Agent
    centre: Server
    packages: Mapping[str, Digest]
    doors: Mapping[str, Port]
    """Of the status doors of the nodes that there may be."""

    def telemetry(self, skew_s: float = 0.0) -> Prometheus:
        return Prometheus(PrometheusHttp(self.centre.url), lambda: time.time() + skew_s)


@dataclass(frozen=True)
class Node:
    """One node; its state and its address outlive its servers."""

    plant: Plant
    name: str
    stack: ExitStack
    running: Running

    @classmethod
    def start(cls, plant: Plant, stack: ExitStack, name: str = "", package: str = "old") -> Node:
        name = name or next(_names)
        orders = plant.root / f"{name}.json"
        orders.write_bytes(msgspec.json.encode(ShadowOrder(against="self", rate=0.5)))
        running = stack.enter_context(
            server(
                plant.root / name,
                plant.root / package,
                plant.packages[package],
                trust_dir=str(plant.root / "keys/trust"),
                window_s=WINDOW_S,
                label_rate=1.0,
                drain_s=1.0,
                status_port=plant.doors[name].number,
                status_host="127.0.0.1",
                shadow_order_file=str(orders),
            )
        )
        running.wait_ready()
        return cls(plant, name, stack, running)

    @property
    def view(self) -> NodeView:
        digest = self.running.settings.digest
        url = f"http://{self.plant.doors[self.name].address}"
        return NodeView(self.name, FACTORY, {}, True, Serving(digest, True, True, "", url), digest)

    def restarted(self, package: str) -> Node:
        """Drain the server; start another one on the same state."""
        assert self.running.drain() == 0
        return Node.start(self.plant, self.stack, self.name, package)

    def send(self, count: int, prefix: str) -> None:
        """Answer `count` images; one more request is nonsense."""
        for number in range(count):
            image = DARK if number % 2 else BRIGHT
            assert self.running.raw(image, f"{prefix}{number}").status == 200
        assert self.running.public("POST", "/v2/models/tiny/raw", b"short").status == 400

    def label(self, request: str, label: str) -> None:
        body = json.dumps({"id": request, "label": label}).encode()
        assert self.running.public("POST", "/feedback", body).status == 200

    @property
    def pod(self) -> Pod:
        """As Kubernetes shows it; named as the agent's targets are."""
        named = {"name": f"{WORKLOAD}-{self.name}", "uid": self.name}
        notes = {"annotations": {NODE: self.name}, "labels": {WORKLOAD_LABEL: WORKLOAD}}
        shown = {"metadata": {**named, **notes}, "status": {"phase": "Running"}}
        return msgspec.convert(shown, Pod)


def total(records: tuple[Evidence, ...], name: str) -> int:
    return sum(getattr(record, name) for record in records)


def now() -> int:
    return int(time.time() // WINDOW_S)


def until(book: Book, last: int) -> Book:
    return {
        node: tuple(record for record in records if record.window <= last)
        for node, records in book.items()
    }


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    need_program()
    root = tmp_path_factory.mktemp("plant")
    packages = {
        "old": tiny_package(root / "old", root / "keys"),
        "new": tiny_package(root / "new", root / "keys", bias=4.0, version="2"),
    }
    with ExitStack() as stack:
        doors = {f"cam.{number}": stack.enter_context(closing(Port())) for number in range(NODES)}
        # Each pod has two ports; the other one would answer, too.
        pods = {
            node: {"status": door.address, "http": "127.0.0.1:9"} for node, door in doors.items()
        }
        centre = stack.enter_context(central(root / "central"))
        agent = stack.enter_context(Agent(root / "agent", centre.url, pods, WORKLOAD))
        yield Plant(root, agent, centre, packages, doors)


def test_the_agent_scrapes_the_status_ports_alone(plant: Plant) -> None:
    assert {door.address for door in plant.doors.values()} == plant.agent.asked()


@pytest.fixture(scope="module")
def node(plant: Plant) -> Iterator[Node]:
    with ExitStack() as stack:
        yield Node.start(plant, stack)


@pytest.fixture(params=["scrape", "prometheus"])
def telemetry(request: pytest.FixtureRequest, plant: Plant) -> Telemetry:
    return Scrape() if request.param == "scrape" else plant.telemetry()


def test_a_server_s_own_word_comes_through_a_prometheus_where_its_pod_is_out_of_reach(
    plant: Plant,
) -> None:
    with ExitStack() as stack:
        node = Node.start(plant, stack)

        def said() -> tuple[Digest, bool, bool, str] | None:
            # Each time anew, as a driver that has just started.
            answers = Forwarded(PrometheusHttp(plant.centre.url).ask, 8081)
            found = answers.of([(node.pod, None)]).get(node.name)
            if found is None:
                return None
            summary = found.summary
            return summary.digest, summary.ready, summary.self_check.passed, summary.boot

        wait_for(said, "what the server showed")
        first = said()
        assert first is not None
        assert first[:3] == (plant.packages["old"], True, True)
        node = node.restarted("new")
        wait_for(lambda: (said() or first)[0] == plant.packages["new"], "what the next one showed")
        second = said()
        assert second is not None
        assert second[3] != first[3]


def test_a_request_and_its_late_label_are_in_the_window_in_which_it_came(
    telemetry: Telemetry, node: Node
) -> None:
    after = now() - 1

    def found(after: int = after) -> tuple[Evidence, ...]:
        return telemetry.collect(WORKLOAD, [node.view], after).get(node.name, ())

    prefix = type(telemetry).__name__
    node.send(4, prefix)
    wait_for(lambda: total(found(), "ok") == 4, "the answers")
    came = {record.window for record in found() if record.ok}
    wait_for(lambda: found()[-1].window > max(came) + 1, "two windows later")
    assert total(found(), "labelled") == 0
    node.label(f"{prefix}0", "dent")
    node.label(f"{prefix}1", "dent")
    wait_for(lambda: total(found(), "labelled") == 2, "the labels")
    labelled = [record for record in found() if record.labelled]
    assert {record.window for record in labelled} <= came
    assert (total(found(), "correct"), total(found(), "client_errors")) == (1, 1)
    assert total(found(), "ok") == sum(n for each in found() for _, n in each.latency) == 4
    last = found()[-1].window
    assert all(record.window >= last for record in found(last - 1))


def test_who_is_not_there_is_absent_and_who_is_not_asked_gives_zeros(
    telemetry: Telemetry, node: Node
) -> None:
    after = now()
    assert node.view.serving is not None
    nowhere = replace(node.view.serving, url="http://127.0.0.1:9")
    gone = replace(node.view, node="gone", serving=nowhere)
    nodes = [node.view, gone]

    def found() -> Book:
        return telemetry.collect(WORKLOAD, nodes, after)

    wait_for(lambda: len(found().get(node.name, ())) >= 2, "two windows")
    assert set(found()) == {node.name}
    assert total(found()[node.name], "ok") == 0
    assert telemetry.collect(WORKLOAD, [], -1) == {}


def test_another_process_and_another_package_have_records_of_their_own(
    telemetry: Telemetry, plant: Plant
) -> None:
    after = now() - 1
    stack = ExitStack()

    def answers() -> Mapping[Digest, int]:
        records = telemetry.collect(WORKLOAD, [later.view], after).get(node.name, ())
        digests = {record.digest for record in records}
        return {
            digest: total(tuple(r for r in records if r.digest == digest), "ok")
            for digest in digests
        }

    with stack:
        node = Node.start(plant, stack)
        node.send(3, "a")
        later = node.restarted("new")
        later.send(5, "b")
        expected = {plant.packages["old"]: 3, plant.packages["new"]: 5}
        wait_for(lambda: answers() == expected, "the answers of both")
        records = telemetry.collect(WORKLOAD, [later.view], after)[node.name]
        assert len({(record.digest, record.boot) for record in records}) == 2


def test_a_central_prometheus_tells_what_the_nodes_tell_even_if_it_was_away(plant: Plant) -> None:
    direct, looking = Scrape(), plant.telemetry()
    after = now() - 1
    with ExitStack() as stack:
        nodes = [Node.start(plant, stack), Node.start(plant, stack, package="new")]
        nodes[0].send(5, "early")
        nodes[1].send(3, "early")
        looks = {
            "as it went on": looking,
            "for the first time": plant.telemetry(),
            "by a clock that is behind": plant.telemetry(-0.3 * MARGIN_S),
            "by a clock that is ahead": plant.telemetry(0.3 * MARGIN_S),
        }

        def agree(which: Telemetry) -> Book:
            """Wait until all windows that are closed by now are told alike."""
            views = [node.view for node in nodes]
            told: Book = {}

            def all_told() -> bool:
                nonlocal told
                told = direct.collect(WORKLOAD, views, after)
                return all(told.get(node.name) for node in nodes)

            wait_for(all_told, "windows of all nodes")
            last = min(records[-1].window for records in told.values())
            expected = until(told, last)
            end, found = time.monotonic() + SHOWN * WINDOW_S + 10, None
            while found != expected and time.monotonic() < end:
                found = until(which.collect(WORKLOAD, views, after), last)
            assert expected == found
            return expected

        agree(looking)
        plant.centre.stop()
        with pytest.raises(Unreachable, match=plant.centre.address):
            looking.collect(WORKLOAD, [node.view for node in nodes], after)
        # More windows than are shown at once: these are with the agent alone.
        nodes[0].send(2, "before")
        nodes[0] = nodes[0].restarted("new")
        nodes[0].label("before1", "ok")
        nodes[0].send(4, "unheard")
        nodes[1].send(2, "unheard")
        away = now()
        wait_for(lambda: now() > away + SHOWN + 1, "more windows than are shown")
        plant.centre.start()
        for name, which in looks.items():
            expected = agree(which)
            assert total(expected[nodes[0].name], "ok") == 11, name
            assert total(expected[nodes[0].name], "labelled") == 1
            assert total(expected[nodes[1].name], "ok") == 5
            assert total(expected[nodes[1].name], "shadowed") > 0
        assert len({record.boot for record in expected[nodes[0].name]}) == 2
