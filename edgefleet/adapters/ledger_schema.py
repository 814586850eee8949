"""The ledger's tables, as this edgefleet reads and writes them.

A database gets them by the revisions in `migrations/`: a table or a column that is added here and
in no revision fails a test, which prints the revision that is missing.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    Column,
    DateTime,
    Dialect,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)


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

fence = Table(
    # An edgefleet from before the revisions refuses a ledger with another number than its own, 1.
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True),
)

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

watches = Table(
    "watches",
    metadata,
    Column("workload", String(63), primary_key=True),
    Column("model", String(255), primary_key=True),
    Column("trigger", String(16), primary_key=True),
    # Up to this version of the model none is released by itself.
    Column("past", Integer, nullable=False),
)

pins = Table(
    "pins",
    metadata,
    Column("workload", String(63), primary_key=True),
    Column("node", String(255), primary_key=True),
    Column("release_id", String(80), nullable=False),
    Column("reason", Text, nullable=False),
    Column("asked_by", String(255), nullable=False),
    Column("at", UtcTime, nullable=False),
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
