"""The ledger's rows: how a release, a lease and a journal line are read, locked, written.

Functions on an open transaction; `SqlLedger` decides which of them make one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, insert, select, update

from edgefleet.adapters.ledger_schema import journal, pins, releases, workloads
from edgefleet.errors import Fenced, Refused
from edgefleet.fleet.pins import Pin
from edgefleet.fleet.release import Admission, Phase, Release


def equal(table: Table, values: Mapping[str, object]) -> list[ColumnElement[bool]]:
    """Return the conditions that every named column has its value."""
    return [table.c[name] == value for name, value in values.items()]


def lock_workload(connection: Connection, workload: str) -> RowMapping:
    """Return a workload's row, locked until the transaction ends; Fenced when there is none."""
    query = select(workloads).where(workloads.c.workload == workload).with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        message = f"workload {workload}: nobody ever took its lease: acquire it first"
        raise Fenced(message)
    return row


def row_of(connection: Connection, release_id: str, *, lock: bool = False) -> RowMapping:
    """Return a release's row; Refused when there is none of that id."""
    query = select(releases).where(releases.c.release_id == release_id)
    found = connection.execute(query.with_for_update() if lock else query)
    row = found.mappings().one_or_none()
    if row is None:
        raise Refused(release_id, "the ledger knows no such release", "List what there is")
    return row


def find(connection: Connection, release_id: str, *, lock: bool = False) -> Release:
    """Return a release, its row locked if wanted; Refused when there is none of that id."""
    return to_release(row_of(connection, release_id, lock=lock))


def to_release(row: RowMapping) -> Release:
    """Return a row of `releases` as the domain's value."""
    fields = {name: row[name] for name in Release.__slots__ if name != "phase"}
    return Release(phase=Phase(row["phase"]), **fields)


def write_release(
    connection: Connection, admission: Admission, generation: int, now: datetime
) -> Release:
    """Add an admitted release, and the first line of its journal; return it."""
    release_id = f"{admission.workload}-{generation}"
    reason = f"{admission.model} {admission.version} admitted, asked by {admission.asked_by}"
    connection.execute(
        insert(releases).values(
            **asdict(admission),
            release_id=release_id,
            generation=generation,
            phase=Phase.QUALIFYING.value,
            admitted_at=now,
            changed_at=now,
            epoch=0,
            reason=reason,
            abort_asked="",
        )
    )
    write_line(connection, release_id, Phase.QUALIFYING, reason, now)
    return find(connection, release_id)


def find_fenced(connection: Connection, release_id: str, epoch: int) -> Release:
    """Return a release whose workload is locked and has no higher epoch than the one given."""
    current = find(connection, release_id)
    highest = int(lock_workload(connection, current.workload)["epoch"])
    if highest > epoch:
        message = (
            f"release {release_id}: written under epoch {epoch}, the lease is at {highest}: "
            "another driver has taken over, stop"
        )
        raise Fenced(message)
    return find(connection, release_id, lock=True)


def set_lease(
    connection: Connection, workload: str, holder: str, epoch: int, until: datetime
) -> None:
    """Write who holds a workload's lease, under which epoch, until when."""
    connection.execute(
        update(workloads)
        .where(workloads.c.workload == workload)
        .values(holder=holder, epoch=epoch, expires_at=until)
    )


def write_line(
    connection: Connection, release_id: str, phase: Phase, text: str, now: datetime
) -> None:
    """Add a line to a release's journal."""
    connection.execute(
        insert(journal).values(release_id=release_id, at=now, phase=phase.value, text=text)
    )


def among(workload: str, nodes: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that a pin is of a workload and of one of the nodes."""
    return pins.c.workload == workload, pins.c.node.in_(nodes)


def pin_row(workload: str, node: str, pin: Pin) -> Mapping[str, object]:
    """Return the row of a pin."""
    return {"workload": workload, "node": node, **asdict(pin)}


def to_pin(row: RowMapping) -> Pin:
    """Return a row of `pins` as the domain's value."""
    return Pin(row["release_id"], row["reason"], row["asked_by"], row["at"])
