"""Real Prometheus processes on the very configurations that are shipped, for tests."""

from __future__ import annotations

import http
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest
import urllib3
import yaml

from tests.edge.tiny import wait_for

PROGRAM: Final = "prometheus"
CONFIGURATIONS: Final = Path(__file__).resolve().parents[2] / "infra/prometheus"
FACTORY: Final = "graz"
_META: Final = "__meta_kubernetes_pod"

Pod = Mapping[str, str]
"""Addresses, by the name of the port."""


def need_program() -> None:
    """Skip the test where there is no Prometheus to run."""
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"{PROGRAM} is not on this machine: run `make setup-kubernetes` as root")


def shipped(name: str) -> dict[str, Any]:
    """The content of a configuration in infra/prometheus."""
    content: dict[str, Any] = yaml.safe_load((CONFIGURATIONS / name).read_text())
    return content


class Server:
    """One Prometheus; started at once, and again on the same port and folder after a stop."""

    def __init__(self, folder: Path, config: Mapping[str, Any], *flags: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._port = Port()
        self.address = self._port.address
        self.url = f"http://{self.address}"
        file = folder / "config.yml"
        file.write_text(json.dumps(config))
        self._command = (
            PROGRAM,
            f"--config.file={file}",
            f"--web.listen-address={self.address}",
            *flags,
        )
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Run, and return when it is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_for(self._ready, f"{PROGRAM} in {self.folder} is ready")

    def stop(self) -> None:
        """End it, and wait for its end."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None

    def close(self) -> None:
        """End it and give its port back."""
        self.stop()
        self._port.close()

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            answer = urllib3.request("GET", f"{self.url}/-/ready", retries=False, timeout=5)
        except urllib3.exceptions.HTTPError:
            return False
        return answer.status == http.HTTPStatus.OK

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def central(folder: Path) -> Server:
    """The Prometheus of the centre, as shipped."""
    flags = ("--web.enable-remote-write-receiver", f"--storage.tsdb.path={folder / 'data'}")
    return Server(folder, shipped("central.yml"), *flags)


class Agent(Server):
    """A factory's agent, as shipped but for its pace, its centre, and who names the targets.

    Debian's Prometheus is built without Kubernetes: a file stands for the API server, with the
    labels that this would give, so that the shipped relabelling is what is tried.
    """

    def __init__(self, folder: Path, centre: str, pods: Mapping[str, Pod], workload: str) -> None:
        """`pods`: of which node each is, and its ports."""
        folder.mkdir(parents=True, exist_ok=True)
        targets = folder / "targets.json"
        targets.write_text(json.dumps(list(_found(pods, workload))))
        config = shipped("agent.yml")
        config["global"] |= {
            "scrape_interval": "1s",
            "scrape_timeout": "1s",
            "external_labels": {"factory": FACTORY},
        }
        [scrape] = config["scrape_configs"]
        assert scrape.pop("kubernetes_sd_configs")
        scrape["file_sd_configs"] = [{"files": [str(targets)]}]
        [write] = config["remote_write"]
        write["url"] = f"{centre}/api/v1/write"
        write["queue_config"] |= {"batch_send_deadline": "200ms", "max_backoff": "500ms"}
        super().__init__(
            folder, config, "--enable-feature=agent", f"--storage.agent.path={folder / 'data'}"
        )
        # It takes in what it finds every five seconds.
        wait_for(self.asked, "targets")

    def asked(self) -> set[str]:
        """The addresses that it scrapes."""
        answer = urllib3.request("GET", f"{self.url}/api/v1/targets", timeout=5).json()
        return {target["labels"]["instance"] for target in answer["data"]["activeTargets"]}


def _found(pods: Mapping[str, Pod], workload: str) -> Iterator[Mapping[str, Any]]:
    for node, ports in pods.items():
        for port, address in ports.items():
            yield {
                "targets": [address],
                "labels": {
                    f"{_META}_container_port_name": port,
                    f"{_META}_label_edgefleet_org_workload": workload,
                    f"{_META}_annotation_edgefleet_org_node": node,
                    f"{_META}_name": f"{workload}-{node}",
                },
            }


class Port:
    """A port that the kernel gives to nobody else.

    It is bound and never listening: a server that sets SO_REUSEADDR as we do may listen on it, and
    another one after it.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.number}"

    def close(self) -> None:
        """Give it back."""
        self._socket.close()
