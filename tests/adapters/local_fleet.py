"""A real supervisor in a test's folder, with tiny packages in a real OCI layout."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from edgefleet.adapters.local.config import FactoryConfig, NodeConfig, SupervisorConfig
from edgefleet.adapters.local.disk import read_whole
from edgefleet.adapters.local.site import LocalSite
from edgefleet.adapters.local.supervisor import ADDRESS_FILE, Address
from edgefleet.adapters.oci_layout import OciLayout
from edgefleet.edge.contract import Digest
from edgefleet.fleet.inventory import Change, NodeView, PullState, Serving
from tests.edge.tiny import DARK, NAME, tiny_package, wait_for

WORKLOAD = "inspection"


@dataclass(frozen=True)
class Shelf:
    """Images in one layout: `old` and `new` are trusted, `forged` is signed by another key,
    `wrong` is trusted and does not agree with its own golden answers."""

    images: OciLayout
    images_dir: Path
    trust_dir: Path
    old: Digest
    new: Digest
    forged: Digest
    wrong: Digest


def make_shelf(root: Path) -> Shelf:
    """Package, sign and push."""
    images = OciLayout(root / "images")

    def pushed(name: str, keys: str, **changes: Any) -> Digest:
        tiny_package(root / name, root / keys, **changes)
        return images.push(root / name, name)

    return Shelf(
        images,
        root / "images",
        root / "keys/trust",
        old=pushed("old", "keys"),
        new=pushed("new", "keys", bias=4.0, version="2"),
        forged=pushed("forged", "other-keys", bias=1.0, version="3"),
        wrong=pushed("wrong", "keys", golden_shift=0.5, version="4"),
    )


@dataclass
class Fleet:
    """A supervisor process that may be killed and started again."""

    config: SupervisorConfig
    shelf: Shelf
    process: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> Path:
        return Path(self.config.root)

    @property
    def url(self) -> str:
        return read_whole(self.root / ADDRESS_FILE, Address, Address()).url

    def start(self) -> None:
        file = self.root / "config.json"
        file.write_bytes(msgspec.json.encode(self.config))
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edgefleet.adapters.local.supervisor", str(file)],
                stdout=log,
                stderr=log,
            )
        pid = self.process.pid
        address = self.root / ADDRESS_FILE
        wait_for(
            lambda: read_whole(address, Address, Address()).pid == pid,
            (self.root / "log").read_text(),
        )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def site(self, factory: str = "linz") -> LocalSite:
        return LocalSite(factory, self.url)

    def view(self, node: str, factory: str = "linz") -> NodeView:
        views = {view.node: view for view in self.site(factory).snapshot(WORKLOAD)}
        return views[node]

    def serving(self, node: str) -> Serving:
        found = self.view(node).serving
        assert found is not None
        return found

    def cameras(self, node: str) -> str:
        """Where a node's cameras send to: not through its link, so while the supervisor is away."""
        listed = httpx.get(f"{self.url}/plant").json()
        return next(str(line["url"]) for line in listed if line["node"] == node)

    def folder(self, node: str, factory: str = "linz") -> Path:
        return self.root / "factories" / factory / "nodes" / node

    def server_pids(self) -> list[int]:
        """Every edge server of this fleet, by what the disk says."""
        files = self.root.glob("factories/*/nodes/*/jobs/*/running.json")
        listed = (msgspec.json.decode(file.read_bytes())["servers"] for file in files)
        pids = [record["pid"] for records in listed for record in records]
        return [pid for pid in pids if alive(pid)]

    def events(self) -> list[dict[str, Any]]:
        file = self.root / "events.jsonl"
        lines = file.read_bytes().splitlines() if file.exists() else []
        return [msgspec.json.decode(line) for line in lines]

    def bring(self, node: str, digest: Digest, seed: str | None = None) -> None:
        """Hold a package and wait for it."""
        self.site().hold(node, digest, seed)

        def arrived() -> bool:
            pull = self.view(node).pull_of(digest)
            assert pull is not None
            assert pull.state is not PullState.FAILED, pull.reason
            return pull.state is PullState.PRESENT

        wait_for(arrived, f"{digest} on {node}")

    def change(self, node: str, want: Digest | None, was: Digest | None, epoch: int = 1) -> None:
        self.site().apply(Change(WORKLOAD, node, "linz", want, was, epoch))

    def serve(self, node: str, want: Digest, was: Digest | None = None, epoch: int = 1) -> None:
        """Hold, change, and wait until the node itself says so."""
        self.bring(node, want)
        self.change(node, want, was, epoch)
        wait_for(lambda: self.view(node).serves(want), f"{want} serving on {node}")


@contextmanager
def fleet(root: Path, shelf: Shelf, nodes: int = 1, **changes: Any) -> Iterator[Fleet]:
    """Run a supervisor with one factory; everything that it started has ended afterwards."""
    root.mkdir(parents=True, exist_ok=True)
    wan_mbit = changes.pop("wan_mbit", 1000.0)
    listed = tuple(
        NodeConfig(name=f"n{number}", labels={"line": "camera"}, **changes.pop(f"n{number}", {}))
        for number in range(1, nodes + 1)
    )
    config = SupervisorConfig(
        root=str(root),
        images_dir=str(shelf.images_dir),
        trust_dir=str(shelf.trust_dir),
        factories=(FactoryConfig(name="linz", nodes=listed, wan_mbit=wan_mbit),),
        **{"window_s": 1.0, "label_rate": 0.5, "ready_timeout_s": 30.0, **changes},
    )
    running = Fleet(config, shelf)
    running.start()
    try:
        yield running
    finally:
        if running.process is not None and running.process.poll() is None:
            running.stop()
        for pid in running.server_pids():
            os.kill(pid, signal.SIGKILL)
    assert not running.server_pids()


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


PAUSE_S = 0.05
"""Between two requests of a client who must not leave a gap by itself, on a machine that does much
else."""


@dataclass
class Load:
    """Keep-alive clients that never retry."""

    url: str
    pause_s: float
    ok: int = 0
    failed: list[str] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)
    _end: threading.Event = field(default_factory=threading.Event)

    def _client(self) -> None:
        host = urlsplit(self.url).netloc
        connection = http.client.HTTPConnection(host, timeout=10)
        while not self._end.is_set():
            try:
                connection.request("POST", f"/v2/models/{NAME}/raw", DARK)
                response = connection.getresponse()
                response.read()
            except OSError as error:
                self.failed.append(repr(error))
                connection.close()
                continue
            if response.status == 200:
                self.ok += 1
                self.digests.add(response.headers["x-edge-digest"])
            else:
                self.failed.append(str(response.status))
            self._end.wait(self.pause_s)
        connection.close()


@contextmanager
def load(url: str, clients: int = 3, pause_s: float = 0.004) -> Iterator[Load]:
    """Send requests for a while; each client waits for so long after an answer."""
    running = Load(url, pause_s)
    threads = [threading.Thread(target=running._client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: running.ok > 20, "first answers")
        yield running
    finally:
        running._end.set()
        for thread in threads:
            thread.join()


def passed(seconds: float) -> None:
    """Return when the load has gone on for so long."""
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > end, "time")
