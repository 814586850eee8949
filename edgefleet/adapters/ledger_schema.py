"""The ledger's tables, and how a database is opened: all in which SQLite and PostgreSQL differ.

The schema is made on first use and carries a version, so that an older edgefleet refuses a newer
ledger instead of misreading it. On SQLite a writing transaction takes the write lock at its BEGIN:
one that began as a reader could not be upgraded safely and would fail with "database is locked".
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    create_engine,
    event,
    func,
    insert,
    make_url,
    select,
)
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from edgefleet.errors import Refused, Unreachable

VERSION: Final = 1
BUSY_MS: Final = 30_000
"""How long a writer waits for the one before it; longer means that the disk hangs."""


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite keeps no zone, so it is put back when read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the time to store; a naive one is a programmer's error."""
        if value is not None and value.tzinfo is None:
            message = f"time {value.isoformat()} has no zone: the ledger keeps aware times only"
            raise ValueError(message)
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return an aware time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

schema = Table("schema_version", metadata, Column("version", Integer, primary_key=True))

workloads = Table(
    "workloads",
    metadata,
    # One row per workload: its counter and its lease. Whoever writes for it locks this row first.
    Column("workload", String(63), primary_key=True),
    Column("generation", Integer, nullable=False, default=0),
    Column("holder", String(255), nullable=False, default=""),
    Column("epoch", Integer, nullable=False, default=0),
    Column("expires_at", UtcTime, nullable=True),
)

releases = Table(
    "releases",
    metadata,
    Column("release_id", String(80), primary_key=True),
    Column("workload", String(63), nullable=False),
    Column("fleet", String(255), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("model", String(255), nullable=False),
    Column("version", String(255), nullable=False),
    Column("attempt", String(255), nullable=False),
    Column("phase", String(32), nullable=False),
    Column("admitted_at", UtcTime, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
    Column("asked_by", String(255), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("abort_asked", Text, nullable=False),
    Column("spec", Text, nullable=False),
    UniqueConstraint("workload", "model", "version", "attempt", name="one_release_per_attempt"),
    UniqueConstraint("workload", "generation", name="one_release_per_generation"),
)

journal = Table(
    "journal",
    metadata,
    Column("line", Integer, primary_key=True, autoincrement=True),
    Column("release_id", String(80), nullable=False, index=True),
    Column("at", UtcTime, nullable=False),
    Column("phase", String(32), nullable=False),
    Column("text", Text, nullable=False),
)

documents = Table(
    "documents",
    metadata,
    Column("release_id", String(80), primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)

buckets = Table(
    "buckets",
    metadata,
    Column("factory", String(255), primary_key=True),
    Column("tokens", Float, nullable=False),
    Column("at", UtcTime, nullable=False),
)


class Database:
    """Transactions on a database whose schema is there; nothing is dialled before the first one."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
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
            self._engine = create_engine(parsed, pool_pre_ping=True)
        self._lock = threading.Lock()
        self._ready = False

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that writes: all of it holds, or nothing.

        Raises:
            Unreachable: the database did not answer.
            Refused: it was made by a newer edgefleet.
        """
        with self._translated():
            self._make_ready()
            with self._engine.connect() as raw:
                connection = raw.execution_options(edgefleet_writes=True)
                with connection.begin():
                    yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that reads one consistent state; raises as `writing`."""
        with self._translated():
            self._make_ready()
            with self._engine.connect() as connection, connection.begin():
                yield connection

    def close(self) -> None:
        """Close the idle connections; the next transaction opens new ones."""
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except (DBAPIError, PoolTimeoutError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            message = f"ledger {self._name}: {cause}; nothing was written, retry later"
            raise Unreachable(message) from error

    def _make_ready(self) -> None:
        with self._lock:
            if self._ready:
                return
            with self._alone():
                _create(self._engine, self._name)
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


def _create(engine: Engine, name: str) -> None:
    with engine.connect() as raw:
        connection = raw.execution_options(edgefleet_writes=True)
        with connection.begin():
            if engine.dialect.name == "postgresql":
                # CREATE TABLE IF NOT EXISTS of two sessions at once collides; this does not.
                connection.execute(select(func.pg_advisory_xact_lock(0x65666C74)))
            metadata.create_all(connection)
            found = connection.execute(select(schema.c.version)).scalar_one_or_none()
            if found is None:
                connection.execute(insert(schema).values(version=VERSION))
            elif found != VERSION:
                raise Refused(
                    name,
                    f"its schema has version {found}, this edgefleet knows {VERSION}",
                    "Run the edgefleet that made it, or migrate it",
                )


def _prepare_sqlite(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _begin_sqlite does
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # a move that was answered survives a power cut


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("edgefleet_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
