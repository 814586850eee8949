"""The ledger on SQLite or PostgreSQL: the same plain SQL on both, one transaction per call.

A writer for a workload first locks the workload's row (`FOR UPDATE`; on SQLite the whole file), so
generation, epoch and phase cannot change between the look and the write. What it does not do: judge
whether a release may start, or act on anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from sqlalchemy import Table, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from edgefleet.adapters.ledger_database import Database
from edgefleet.adapters.ledger_rows import (
    among,
    equal,
    find,
    find_fenced,
    lock_workload,
    pin_row,
    row_of,
    set_lease,
    to_pin,
    to_release,
    write_line,
    write_release,
)
from edgefleet.adapters.ledger_schema import (
    buckets,
    documents,
    journal,
    pins,
    releases,
    watches,
    workloads,
)
from edgefleet.errors import Conflict, Fenced
from edgefleet.fleet.drivers import Lease
from edgefleet.fleet.pacing import BURST, Bucket, take
from edgefleet.fleet.pins import Pin
from edgefleet.fleet.release import Admission, Phase, Release, Signal, advance
from edgefleet.ports import Entry
from edgefleet.spec import On


class SqlLedger:
    """Implements `ports.Ledger` behind an SQLAlchemy URL; safe for threads and processes."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def close(self) -> None:
        """Close the idle connections; the ledger stays usable."""
        self._database.close()

    # --- releases ---------------------------------------------------------------------------------

    def admit(self, admission: Admission, now: datetime) -> tuple[Release, bool]:
        """Return the release of a registration, and whether this call made it (a unique row)."""
        asked = (
            releases.c.workload == admission.workload,
            releases.c.model == admission.model,
            releases.c.version == admission.version,
            releases.c.attempt == admission.attempt,
        )
        self._make_row(workloads, workload=admission.workload)
        with self._database.writing() as connection:
            row = lock_workload(connection, admission.workload)
            known = connection.execute(select(releases).where(*asked)).mappings().one_or_none()
            if known is not None:
                return to_release(known), False
            generation = int(row["generation"]) + 1
            connection.execute(
                update(workloads)
                .where(workloads.c.workload == admission.workload)
                .values(generation=generation)
            )
            return write_release(connection, admission, generation, now), True

    def release(self, release_id: str) -> Release:
        """Return a release; Refused when there is none of that id."""
        with self._database.reading() as connection:
            return find(connection, release_id)

    def releases(self, workload: str | None = None) -> tuple[Release, ...]:
        """Return all releases (of a workload), newest first."""
        query = select(releases).order_by(
            releases.c.admitted_at.desc(), releases.c.generation.desc(), releases.c.workload
        )
        if workload is not None:
            query = query.where(releases.c.workload == workload)
        with self._database.reading() as connection:
            return tuple(to_release(row) for row in connection.execute(query).mappings())

    def spec(self, release_id: str) -> str:
        """Return the spec's text as it was admitted; Refused when there is no such release."""
        with self._database.reading() as connection:
            return str(row_of(connection, release_id)["spec"])

    def move(
        self, release_id: str, phase: Phase, signal: Signal, reason: str, epoch: int, now: datetime
    ) -> Release:
        """Advance from `phase` by `signal`, and write the journal, in one transaction.

        Raises:
            Fenced: the workload's lease has a higher epoch.
            Conflict: the release is in another phase, or the signal means nothing there.
        """
        with self._database.writing() as connection:
            current = find_fenced(connection, release_id, epoch)
            if current.phase is not phase:
                message = (
                    f"release {release_id} is {current.phase}, expected {phase} for {signal}: "
                    "read it again and go on from there"
                )
                raise Conflict(message)
            after = advance(phase, signal)
            connection.execute(
                update(releases)
                .where(releases.c.release_id == release_id)
                .values(phase=after.value, changed_at=now, reason=reason, epoch=epoch)
            )
            write_line(connection, release_id, after, f"{phase} {signal}: {reason}", now)
            return find(connection, release_id)

    def ask_abort(self, release_id: str, why: str, now: datetime) -> Release:
        """Record that an abort is wanted; the first wish stays, an ended release takes none."""
        with self._database.writing() as connection:
            current = find(connection, release_id, lock=True)
            if current.abort_asked or not current.live:
                return current
            connection.execute(
                update(releases).where(releases.c.release_id == release_id).values(abort_asked=why)
            )
            write_line(connection, release_id, current.phase, f"abort asked: {why}", now)
            return find(connection, release_id)

    # --- journal and documents --------------------------------------------------------------------

    def note(self, release_id: str, text: str, now: datetime) -> None:
        """Add a line to the journal, stamped with the current phase."""
        with self._database.writing() as connection:
            phase = find(connection, release_id).phase
            write_line(connection, release_id, phase, text, now)

    def journal(self, release_id: str) -> tuple[Entry, ...]:
        """Return the journal, oldest first."""
        query = select(journal).where(journal.c.release_id == release_id).order_by(journal.c.line)
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings()
            return tuple(Entry(row["at"], row["phase"], row["text"]) for row in rows)

    def put(self, release_id: str, kind: str, number: int, body: bytes, epoch: int) -> None:
        """Store a document; the same key is replaced. Fenced as `move`."""
        key = {"release_id": release_id, "kind": kind, "number": number}
        with self._database.writing() as connection:
            find_fenced(connection, release_id, epoch)
            replaced = connection.execute(
                update(documents).where(*equal(documents, key)).values(body=body)
            )
            if not replaced.rowcount:
                connection.execute(insert(documents).values(**key, body=body))

    def get(self, release_id: str, kind: str, number: int) -> bytes | None:
        """Return a document, None if there is none."""
        key = {"release_id": release_id, "kind": kind, "number": number}
        query = select(documents.c.body).where(*equal(documents, key))
        with self._database.reading() as connection:
            body = connection.execute(query).scalar_one_or_none()
            return None if body is None else bytes(body)

    def all(self, release_id: str, kind: str) -> Mapping[int, bytes]:
        """Return all documents of a kind by number, ascending."""
        query = (
            select(documents.c.number, documents.c.body)
            .where(documents.c.release_id == release_id, documents.c.kind == kind)
            .order_by(documents.c.number)
        )
        with self._database.reading() as connection:
            return {int(number): bytes(body) for number, body in connection.execute(query)}

    # --- registrations ----------------------------------------------------------------------------

    def past(self, workload: str, model: str, on: On) -> int | None:
        """Return the version up to which none is released by itself; None: never watched so far."""
        key = {"workload": workload, "model": model, "trigger": on}
        query = select(watches.c.past).where(*equal(watches, key))
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one_or_none()

    def set_past(self, workload: str, model: str, on: On, version: int) -> None:
        """Record it; it never goes down."""
        key = {"workload": workload, "model": model, "trigger": on}
        self._make_row(watches, **key, past=version)
        lower = (*equal(watches, key), watches.c.past < version)
        with self._database.writing() as connection:
            connection.execute(update(watches).where(*lower).values(past=version))

    # --- pins -------------------------------------------------------------------------------------

    def pin(self, workload: str, nodes: Collection[str], pin: Pin) -> None:
        """Keep nodes at a release's package from now on; an older pin of theirs is replaced."""
        self._make_row(workloads, workload=workload)
        with self._database.writing() as connection:
            lock_workload(connection, workload)
            connection.execute(delete(pins).where(*among(workload, nodes)))
            for node in nodes:
                connection.execute(insert(pins).values(pin_row(workload, node, pin)))

    def unpin(self, workload: str, nodes: Collection[str]) -> None:
        """Let nodes follow the champion again; nothing happens to those that do."""
        with self._database.writing() as connection:
            connection.execute(delete(pins).where(*among(workload, nodes)))

    def pins(self, workload: str) -> Mapping[str, Pin]:
        """Return the workload's pins by node."""
        query = select(pins).where(pins.c.workload == workload).order_by(pins.c.node)
        with self._database.reading() as connection:
            return {row["node"]: to_pin(row) for row in connection.execute(query).mappings()}

    # --- leases and buckets -----------------------------------------------------------------------

    def acquire(self, workload: str, holder: str, now: datetime, lease_s: float) -> int:
        """Take the workload's lease and return the new epoch; Conflict while another holds it."""
        self._make_row(workloads, workload=workload)
        with self._database.writing() as connection:
            row = lock_workload(connection, workload)
            expires_at: datetime | None = row["expires_at"]
            if row["holder"] not in {"", holder} and expires_at is not None and now < expires_at:
                left_s = (expires_at - now).total_seconds()
                message = (
                    f"workload {workload} is driven by {row['holder']} for {left_s:.1f} s more: "
                    "wait for its lease to run out"
                )
                raise Conflict(message)
            epoch = int(row["epoch"]) + 1
            set_lease(connection, workload, holder, epoch, now + timedelta(seconds=lease_s))
            return epoch

    def renew(self, workload: str, holder: str, epoch: int, now: datetime, lease_s: float) -> None:
        """Extend the lease, also a lapsed one that nobody took since; Fenced when it is lost."""
        with self._database.writing() as connection:
            row = lock_workload(connection, workload)
            if (row["holder"], row["epoch"]) != (holder, epoch):
                message = (
                    f"workload {workload}: {holder} lost its lease of epoch {epoch}, "
                    f"{row['holder'] or 'nobody'} has epoch {row['epoch']}: stop driving"
                )
                raise Fenced(message)
            set_lease(connection, workload, holder, epoch, now + timedelta(seconds=lease_s))

    def leave(self, workload: str, holder: str, epoch: int) -> None:
        """Give the lease back; its epoch stays the highest. Nothing happens when it is not held."""
        held = {"workload": workload, "holder": holder, "epoch": epoch}
        with self._database.writing() as connection:
            connection.execute(
                update(workloads).where(*equal(workloads, held)).values(holder="", expires_at=None)
            )

    def leases(self) -> Mapping[str, Lease]:
        """Return the lease of every workload that has one, or had."""
        with self._database.reading() as connection:
            rows = connection.execute(select(workloads)).mappings()
            return {
                row["workload"]: Lease(row["holder"], row["epoch"], row["expires_at"])
                for row in rows
            }

    def take_start(self, factory: str, starts_per_min: float, now: datetime) -> bool:
        """Take a pull's start from the factory's token bucket, shared by all workloads."""
        self._make_row(buckets, factory=factory, tokens=BURST, at=now)
        mine = buckets.c.factory == factory
        with self._database.writing() as connection:
            row = connection.execute(select(buckets).where(mine).with_for_update()).mappings().one()
            before = Bucket(float(row["tokens"]), row["at"])
            after, taken = take(before, starts_per_min, BURST, now)
            connection.execute(update(buckets).where(mine).values(tokens=after.tokens, at=after.at))
            return taken

    def _make_row(self, table: Table, **values: object) -> None:
        """Make sure that a row to lock is there, by a transaction of its own: no upsert needed."""
        key = {name: value for name, value in values.items() if name in table.primary_key.columns}
        with self._database.reading() as connection:
            if connection.execute(select(table).where(*equal(table, key))).first() is not None:
                return
        try:
            with self._database.writing() as connection:
                connection.execute(insert(table).values(**values))
        except IntegrityError:
            return  # another driver was quicker
