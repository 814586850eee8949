"""A world in memory, copied whole: its parts as they are, its ledger's file, locks made anew."""

import io
import pickle
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgefleet.adapters.ledger import SqlLedger
from edgefleet.rehearsal import Stage

LEDGER = "ledger.db"


class Copy:
    """One moment of a stage, from which any number of stages can go on."""

    def __init__(self, made: Stage, folder: Path) -> None:
        self._ledger = folder / LEDGER
        buffer = io.BytesIO()
        pickler = pickle.Pickler(buffer)
        pickler.dispatch_table = {
            type(threading.Lock()): lambda _: (threading.Lock, ()),
            type(threading.RLock()): lambda _: (threading.RLock, ()),
            MappingProxyType: lambda proxy: (read_only, (dict(proxy),)),
            SqlLedger: lambda _: (SqlLedger, (f"sqlite:///{folder}/{LEDGER}",)),
        }
        pickler.dump(made)
        self._body = buffer.getvalue()

    def stage(self, folder: Path) -> Stage:
        """Return a stage of its own below `folder`."""
        with (
            closing(sqlite3.connect(self._ledger)) as ours,
            closing(sqlite3.connect(folder / LEDGER)) as theirs,
        ):
            ours.backup(theirs)
        made: Any = pickle.loads(self._body)  # noqa: S301 - our own, of this process
        ledger = SqlLedger(f"sqlite:///{folder}/{LEDGER}")
        world = replace(made.world, ledger=ledger, work_dir=folder / "work")
        copied: Stage = replace(made, world=world)
        return copied


def read_only(known: dict[str, str]) -> MappingProxyType[str, str]:
    """Return what pickle cannot name by itself."""
    return MappingProxyType(known)
