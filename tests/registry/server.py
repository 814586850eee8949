"""A real registry (Debian's docker-registry) for tests: its own folder, port and process."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

PROGRAM: Final = "docker-registry"
_LONGEST_S: Final = 30.0
_LOOK_S: Final = 0.02
_SERVED: Final = re.compile(
    r'"GET /v2/(?P<repository>\S+?)/(?:blobs|manifests)/(?P<digest>sha256:[0-9a-f]{64})'
    r' HTTP/[0-9.]+" 20[06] (?P<size>\d+)'
)


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of a server's certificate."""

    certificate: Path
    key: Path


def need_program() -> None:
    """Skip the test where there is no registry to run."""
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"{PROGRAM} is not on this machine: apt-get install {PROGRAM}")


class RegistryServer:
    """One registry process; started at once, and again on the same port after a stop."""

    def __init__(
        self,
        folder: Path,
        host: str = "127.0.0.1",
        auth: Mapping[str, Mapping[str, str]] | None = None,
        tls: Tls | None = None,
        proxy_of: str | None = None,
    ) -> None:
        """Keep everything in `folder`.

        `auth` is the registry's own section of that name; `proxy_of` is the URL of a registry that
        this one mirrors, pulling what it lacks.
        """
        self.folder = folder
        self.blobs = folder / "data" / "docker" / "registry" / "v2" / "blobs"
        folder.mkdir(parents=True, exist_ok=True)
        # Bound and never listening: the kernel gives the port to nobody else, and the registry,
        # which sets SO_REUSEADDR as we do, may listen on it.
        self._port = socket.socket()
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._port.bind((host, 0))
        self.address = f"{host}:{self._port.getsockname()[1]}"
        self.url = f"{'https' if tls else 'http'}://{self.address}"
        self._config = folder / "config.yml"
        self._config.write_text(json.dumps(self._settings(auth, tls, proxy_of)))
        self._log = folder / "registry.log"
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self._port.close()
            raise

    def start(self) -> None:
        """Run, and return when it accepts connections."""
        host, _, port = self.address.rpartition(":")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "serve", str(self._config)], stdout=log, stderr=subprocess.STDOUT
            )
        ends = time.monotonic() + _LONGEST_S
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=_LONGEST_S).close()
            except ConnectionRefusedError:
                if self._process.poll() is not None or time.monotonic() > ends:
                    self.stop()
                    tail = self._log.read_text()[-2000:]
                    raise AssertionError(f"the registry does not start: {tail}") from None
                time.sleep(_LOOK_S)
            else:
                return

    def stop(self) -> None:
        """Kill it, as a power cut would; what it stored stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Stop for good and let the port go."""
        self.stop()
        self._port.close()

    def bytes_served(self) -> dict[str, int]:
        """Return how many bytes of each blob and manifest went out, by `repository/digest`.

        A line is written after its answer: what was read a moment ago may still be missing, see
        `wait_served`.
        """
        served: Counter[str] = Counter()
        for found in _SERVED.finditer(self._log.read_text(errors="replace")):
            served[f"{found['repository']}/{found['digest']}"] += int(found["size"])
        return dict(served)

    def wait_served(self, name: str, size: int) -> None:
        """Wait until so many bytes of `repository/digest` have gone out, or more."""
        ends = time.monotonic() + _LONGEST_S
        while (served := self.bytes_served().get(name, 0)) < size:
            assert time.monotonic() < ends, f"{name}: {served} of {size} bytes went out"
            time.sleep(_LOOK_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _settings(
        self, auth: Mapping[str, Mapping[str, str]] | None, tls: Tls | None, proxy_of: str | None
    ) -> dict[str, object]:
        http: dict[str, object] = {
            "addr": self.address,
            # Fixed, so that it knows its own uploads after a restart.
            "secret": "of this test",
        }
        if tls:
            http["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key)}
        settings: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "info"},
            "storage": {
                "filesystem": {"rootdirectory": str(self.folder / "data")},
                "delete": {"enabled": True},
            },
            "http": http,
        }
        if auth:
            settings["auth"] = auth
        if proxy_of:
            settings["proxy"] = {"remoteurl": proxy_of}
        return settings
