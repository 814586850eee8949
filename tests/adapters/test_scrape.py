"""Evidence comes from nodes that answer; all others are absent."""

from __future__ import annotations

import socketserver
import threading
from dataclasses import replace
from pathlib import Path

from edgefleet.adapters.scrape import Scrape
from edgefleet.fleet.inventory import NodeView, Serving
from tests.adapters.local_fleet import WORKLOAD, Shelf, fleet, load
from tests.edge.tiny import wait_for


class _Nonsense(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(4096)
        self.request.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")


def elsewhere(view: NodeView, name: str, url: str) -> NodeView:
    assert view.serving is not None
    serving: Serving = replace(view.serving, url=url)
    return replace(view, node=name, serving=serving)


def test_windows_of_a_node_are_read_and_silent_nodes_are_absent(
    tmp_path: Path, shelf: Shelf
) -> None:
    scrape = Scrape(timeout_s=2.0)
    with (
        fleet(tmp_path / "fleet", shelf, window_s=0.5) as local,
        socketserver.TCPServer(("127.0.0.1", 0), _Nonsense) as odd,
    ):
        thread = threading.Thread(target=odd.serve_forever)
        thread.start()
        local.serve("n1", shelf.old)
        view = local.view("n1")
        assert view.serving is not None
        nodes = (
            view,
            replace(view, node="silent", serving=None),
            elsewhere(view, "gone", "http://127.0.0.1:9"),
            elsewhere(view, "odd", f"http://127.0.0.1:{odd.server_address[1]}"),
        )
        with load(view.serving.url, clients=1) as sent:
            wait_for(
                lambda: sum(r.ok for r in scrape.collect(WORKLOAD, nodes, -1)["n1"]) > 50, "counts"
            )
        found = scrape.collect(WORKLOAD, nodes, -1)
        odd.shutdown()
        thread.join()
        assert {"n1"} == set(found)
        assert sum(record.ok for record in found["n1"]) <= sent.ok
        last = max(record.window for record in found["n1"])
        later = scrape.collect(WORKLOAD, nodes[:1], last - 1)["n1"]
        assert all(record.window >= last for record in later)
    assert scrape.collect(WORKLOAD, nodes[:1], -1) == {}


def test_no_nodes_give_no_evidence() -> None:
    assert Scrape().collect(WORKLOAD, (), -1) == {}
