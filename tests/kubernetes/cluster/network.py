"""A factory's network: a bridge on this machine, and a namespace with a cable for each node."""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.kubernetes.cluster.remains import Remains, run

_NUMBERS = range(60, 110)


@contextmanager
def _unused() -> Iterator[int]:
    """Yield the number of a range that nobody has, to be taken before another may look for one."""
    with (Path(tempfile.gettempdir()) / "ef-networks.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        taken = run("ip", "-4", "-oneline", "addr").stdout + run("ip", "route").stdout
        yield next(number for number in _NUMBERS if f"10.{number}." not in taken)


@dataclass
class Cable:
    """One node's own network namespace, joined to the bridge."""

    namespace: str
    link: str
    address: str
    pods: str
    """The subnet of its pods, as 10.77.10."""

    @property
    def inside(self) -> list[str]:
        """Words before a command that runs in the namespace.

        Not `ip netns exec`: that mounts /sys anew, and hides the cgroups.
        """
        return ["nsenter", f"--net=/run/netns/{self.namespace}"]

    def cut(self) -> None:
        run("ip", "link", "set", self.link, "down")

    def mend(self) -> None:
        run("ip", "link", "set", self.link, "up")

    def slow(self, mbit: float) -> None:
        """Let no more than so much through, towards the node."""
        rate = ("rate", f"{mbit}mbit", "burst", "64kb", "latency", "400ms")
        run("tc", "qdisc", "replace", "dev", self.link, "root", "tbf", *rate)


@dataclass
class Network:
    """The bridge; its own address is where API server and registry listen."""

    remains: Remains
    number: int = field(init=False)
    bridge: str = field(init=False)
    address: str = field(init=False)

    def __post_init__(self) -> None:
        self._counter = itertools.count(10)
        with _unused() as self.number:
            self.bridge = f"ef{self.number}-{os.getpid() % 100000}"
            self.address = f"10.{self.number}.0.1"
            self.remains.note("link", self.bridge)
            run("ip", "link", "add", self.bridge, "type", "bridge")
            run("ip", "addr", "add", f"{self.address}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")

    def cable(self) -> Cable:
        """Return a new node's cable, plugged in."""
        host = next(self._counter)
        name = f"{self.bridge}-{host}"
        made = Cable(
            namespace=name,
            link=f"v{self.number}-{host}-{os.getpid() % 100000}",
            address=f"10.{self.number}.0.{host}",
            pods=f"10.{self.number}.{host}",
        )
        self.remains.note("netns", name)
        run("ip", "netns", "add", name)
        self.remains.note("link", made.link)
        peer = ("peer", "name", "eth0", "netns", name)
        run("ip", "link", "add", made.link, "type", "veth", *peer)
        run("ip", "link", "set", made.link, "master", self.bridge, "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{made.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", self.address),
        ):
            run("ip", "-n", name, *words)
        run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        route = f"{made.pods}.0/24 via {made.address} dev {self.bridge}"
        self.remains.note("route", route)
        run("ip", "route", "replace", *route.split())
        return made
