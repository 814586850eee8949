"""A real PostgreSQL, for as long as a block: Debian's programs on a folder and a port of its own.

It listens on a loopback port that the kernel chose and asks for passwords. Whoever uses it gets no
superuser, but a role as docs/postgres.md asks for: it may log in and create databases.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

ROLE = "edgefleet"
PASSWORD = "p@ss/w%rd: planted"
"""With everything that a URL or a format string could trip over; searched for where it must not
be."""
START_S = 120.0
MISSING = "PostgreSQL is not on this machine: run `make setup-postgres` as root"


@dataclass
class Postgres:
    """A server that can be killed and started again on the same files and port."""

    binaries: Path
    folder: Path
    port: int
    _server: subprocess.Popen[bytes] | None = field(default=None)

    def url(self, database: str = "", password: str = PASSWORD) -> str:
        """As a user writes it; the password in it is quoted, empty: there is none in it."""
        login = f"{ROLE}:{quote(password, safe='')}" if password else ROLE
        return f"postgresql://{login}@127.0.0.1:{self.port}/{database}"

    def database(self, name: str) -> str:
        """Make an empty database; return its URL."""
        with closing(self.login()) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name).replace("postgresql:", "postgresql+psycopg:")

    def login(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=5)

    def start(self) -> None:
        """Return once it takes logins; what a killed one left behind may cost a few tries."""
        deadline = time.monotonic() + START_S
        while not self._taking_logins():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def _taking_logins(self) -> bool:
        if self._server is None or self._server.poll() is not None:
            self._server = subprocess.Popen(self._command(), stdout=self._log(), stderr=-2)
        try:
            self.login().close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()

    def stop(self) -> None:
        """End it, whoever is still connected."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait(START_S)

    def _command(self) -> list[str]:
        chosen = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",  # only the server is ever killed, never the kernel
            "max_connections": 100,
        }
        words = [f"--{name}={value}" for name, value in chosen.items()]
        return [*as_nobody(), str(self.binaries / "postgres"), "-D", f"{self.folder}/data", *words]

    def _log(self) -> int:
        return os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL, None if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: int(one.parts[-2]))
    on_path = shutil.which("initdb")
    return found[-1] if found else Path(on_path).resolve().parent if on_path else None


def as_nobody() -> list[str]:
    """Return what to put before a command: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]


@contextmanager
def running() -> Iterator[Postgres]:
    """Run a server; skips the test where PostgreSQL is not installed."""
    found = binaries()
    if found is None:
        pytest.skip(MISSING)
    with tempfile.TemporaryDirectory(prefix="edgefleet-postgres-") as name:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            for path in (folder, folder / "password"):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        options = ["--auth=scram-sha-256", f"--pwfile={folder}/password", "--username=postgres"]
        made = [*as_nobody(), str(found / "initdb"), "-D", f"{folder}/data", "-E", "UTF8"]
        subprocess.run([*made, "--no-sync", "--locale=C", *options], check=True, cwd="/", stdout=-3)
        server = Postgres(found, folder, free_port())
        _with_role(server)
        try:
            yield server
        finally:
            server.stop()


def _with_role(server: Postgres) -> None:
    """Start it and make the role, as its administrator does."""
    words = f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{PASSWORD}'"
    command = [str(server.binaries / "postgres"), "--single", "-D", f"{server.folder}/data"]
    subprocess.run(
        [*as_nobody(), *command, "postgres"], input=words.encode(), check=True, stdout=-3, cwd="/"
    )
    server.start()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
