"""How the ledger's database is opened: all in which SQLite and PostgreSQL differ.

The schema is made, or brought up to date, on first use, and an older edgefleet refuses a newer
ledger instead of misreading it. On SQLite a writing transaction takes the write lock at its BEGIN:
one that began as a reader could not be upgraded safely and would fail with "database is locked".
On PostgreSQL a session is ended by the server when its client is gone with a row locked, be it by a
power cut: no lease waits for a dead machine.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from edgefleet.adapters.migrations import migrate
from edgefleet.errors import Refused, Unreachable

BUSY_MS: Final = 30_000
"""How long a writer waits for the one before it; longer means that the disk hangs."""

_MIGRATING: Final = 0x65666C74
"""PostgreSQL's advisory lock for making tables: `CREATE TABLE` of two sessions at once collides."""

_POSTGRES: Final[dict[str, Any]] = {
    "pool_pre_ping": True,
    "connect_args": {
        "connect_timeout": 10,
        # A server that vanished is noticed by a client that waits for its answer, in ms.
        "tcp_user_timeout": BUSY_MS,
        "application_name": "edgefleet",
        "options": f"-c lock_timeout={BUSY_MS} -c idle_in_transaction_session_timeout={BUSY_MS}",
    },
}


class Database:
    """Transactions on a database whose schema is there; nothing is dialled before the first one.

    Raises:
        Refused: the URL is none, or names a database that lives in one process.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError as error:  # its text may hold a password
            remedy = "Write it as postgresql+psycopg://user@host:5432/name, or sqlite:///file"
            raise Refused("EDGEFLEET_LEDGER_URL", "not a database's URL", remedy) from error
        self._name = parsed.render_as_string(hide_password=True)
        self._file: Path | None = None
        if parsed.get_backend_name() == "sqlite":
            if parsed.database in {None, "", ":memory:"}:
                raise Refused(url, "lives in one process's memory", "Name a file or a server")
            self._file = Path(str(parsed.database))
            self._engine = create_engine(parsed, connect_args={"timeout": BUSY_MS / 1000})
            event.listen(self._engine, "connect", _prepare_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        else:
            self._engine = create_engine(parsed, **_POSTGRES)
        self._lock = threading.Lock()
        self._ready = False

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that writes: all of it holds, or nothing.

        Raises:
            Unreachable: the database did not answer; if it went away in the last moment, then all
                of it may hold.
            Refused: it was made by a newer edgefleet.
        """
        with self._translated():
            self._make_ready()
            with self._transaction() as connection:
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that reads; raises as `writing`."""
        with self._translated():
            self._make_ready()
            with self._engine.connect() as connection, connection.begin():
                yield connection

    def close(self) -> None:
        """Close the idle connections; the next transaction opens new ones."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._engine.connect() as raw:
            connection = raw.execution_options(edgefleet_writes=True)
            with connection.begin():
                yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except (DBAPIError, PoolTimeoutError) as error:
            cause = " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())
            message = f"ledger {self._name}: {cause}; retry later, and read again what holds"
            raise Unreachable(message) from error

    def _make_ready(self) -> None:
        with self._lock:
            if self._ready:
                return
            with self._alone(), self._transaction() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
                migrate(connection, self._name)
            self._ready = True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold off other processes on the same file: switching to WAL ignores the busy timeout."""
        if self._file is None:
            yield
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            guard = self._file.with_name(f"{self._file.name}.lock").open("w", encoding="ascii")
        except OSError as error:
            message = f"ledger {self._name}: {error.strerror}; make its folder writable"
            raise Unreachable(message) from error
        with guard:
            fcntl.flock(guard, fcntl.LOCK_EX)  # given back when the file is closed
            yield


def _prepare_sqlite(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _begin_sqlite does
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # a move that was answered survives a power cut


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("edgefleet_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
