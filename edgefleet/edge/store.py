"""A node's store of packages for one workload: a folder that outlives processes and pods.

    packages/<64 hex>/   a package, by its digest; made whole or not at all
    order.json           which of them is to serve, with its fencing epoch; errands write it
    state.json           what the server did, and what it refused; only the server writes it
    lock                 held by whoever changes packages/ or order.json

A document is written whole, by rename, and is on the disk before the next step is taken, so that a
process or the node may end at any moment. Errands use it too: numpy and onnxruntime are not
imported.
"""

from __future__ import annotations

import fcntl
import filecmp
import os
import shutil
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from edgefleet.edge.contract import PACKAGE_FILES, Digest
from edgefleet.edge.errors import Fenced, PackageError
from edgefleet.edge.trust import verify

ORDER_FILE: Final = "order.json"
STATE_FILE: Final = "state.json"
_PACKAGES: Final = "packages"
_LOCK: Final = "lock"

Sha: TypeAlias = Annotated[Digest, msgspec.Meta(pattern="^sha256:[0-9a-f]{64}$")]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Which package is to serve."""

    want: Sha
    epoch: int
    number: int = 0
    """Counts orders up: the same want and epoch may be ordered again after another one."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What the server did; `epoch` and `number` are those of the order that it acted on last."""

    serving: Sha | None = None
    """What serves, or last did; None: nothing ever has."""
    model: str = ""
    """Its card's name: another model is never swapped in, its clients would find nothing."""
    previous: Sha | None = None
    """What served before it and is kept as the way back."""
    epoch: int = 0
    number: int = 0
    want: Sha | None = None
    """What that order wanted, if it was refused."""
    reason: str = ""
    """Why it was refused, in words; empty: it was not."""
    trying: int = 0
    """Number of the order that is, or was last, acted on ..."""
    tries: int = 0
    """... and how often that was begun without coming to an end."""

    def settles(self, order: Order) -> bool:
        """Say whether it is known what became of an order."""
        acted = (self.epoch, self.number, self.want or self.serving)
        return acted == (order.epoch, order.number, order.want)

    def deaths(self, order: Order) -> int:
        """Return how many processes ended, one after the other, while they acted on an order."""
        return self.tries if self.trying == order.number else 0

    def begun(self, order: Order) -> State:
        """Return the state in which an order is acted on: to be on the disk before it is."""
        return replace(self, trying=order.number, tries=self.deaths(order) + 1)

    def refused(self, order: Order, reason: str) -> State:
        """Return the state in which an order was refused and what served goes on."""
        found = replace(self, want=order.want, reason=reason)
        return replace(found, epoch=order.epoch, number=order.number)

    def served(self, order: Order) -> State:
        """Return the state in which what serves is what an order wants."""
        found = replace(self, want=None, reason="", tries=0)
        return replace(found, epoch=order.epoch, number=order.number)


_ORDERS: Final = msgspec.json.Decoder(Order)
_STATES: Final = msgspec.json.Decoder(State)


@dataclass(frozen=True, slots=True)
class Store:
    """The folder; its methods block, for as long as the disk takes."""

    root: Path

    def package(self, digest: Digest) -> Path:
        """Return where a package is, or would be."""
        return self.root / _PACKAGES / digest.removeprefix("sha256:")

    def order(self) -> Order | None:
        """Return the last order; None: there never was one.

        Raises:
            PackageError: the file is no order.
        """
        path = self.root / ORDER_FILE
        try:
            return _ORDERS.decode(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise PackageError(path, f"is no order ({error})", "Remove it, order again") from error

    def order_seen(self) -> tuple[int, int] | None:
        """Return what differs once there is another order; it costs one look at the file."""
        try:
            found = (self.root / ORDER_FILE).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def state(self) -> State:
        """Return what the server last said; one that cannot be read says nothing."""
        try:
            return _STATES.decode((self.root / STATE_FILE).read_bytes())
        except (OSError, msgspec.DecodeError):
            return State()

    def write_state(self, state: State) -> None:
        """Say what the server did; it is the only writer."""
        self.root.mkdir(parents=True, exist_ok=True)
        _write_whole(self.root / STATE_FILE, msgspec.json.encode(state))

    @contextmanager
    def locked(self, *, wait: bool = True) -> Iterator[None]:
        """Keep others from changing packages and order, until this ends or its process does.

        Raises:
            BlockingIOError: somebody else has it, and `wait` is False.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.root / _LOCK, os.O_RDONLY | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(handle)

    def put(self, package: Path, trust_dir: Path, digest: Digest) -> None:
        """Copy a package in, locked by the caller; one that is there and whole stays.

        Raises:
            PackageError: its signature does not hold, or the digest names another package already.
        """
        verify(package, trust_dir)
        target = self.package(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._sweep()
        if target.exists():
            try:
                verify(target, trust_dir)
            except PackageError:
                # Renamed first: half of a package must never stand under its name.
                target.rename(target.with_name(f".{target.name}.broken"))
            else:
                _expect_same(package, target)
                return
        draft = target.with_name(f".{target.name}.draft")
        draft.mkdir()
        for name in PACKAGE_FILES:
            shutil.copyfile(package / name, draft / name)
            _to_disk(draft / name)
        _to_disk(draft)
        draft.rename(target)
        _to_disk(target.parent)
        self._sweep()

    def fence(self, epoch: int) -> Order | None:
        """Return the last order, locked by the caller, if one of `epoch` may follow it.

        Raises:
            Fenced: its epoch is higher.
            PackageError: the file is no order.
        """
        before = self.order()
        if before is not None and epoch < before.epoch:
            raise Fenced(
                f"fenced: an order of epoch {epoch} came after one of epoch {before.epoch} for "
                f"{before.want}: whoever gives it has been replaced, nothing was changed"
            )
        return before

    def give(self, want: Digest, epoch: int) -> Order:
        """Write an order, locked by the caller, unless it is the last one already; return it.

        Raises:
            Fenced: there is one of a higher epoch.
            PackageError: the package is not in the store.
        """
        before = self.fence(epoch)
        if before is not None and (before.want, before.epoch) == (want, epoch):
            return before
        if not self.package(want).is_dir():
            raise PackageError(
                self.package(want), "is not in this node's store", "Put the package there first"
            )
        last = max(self.state().number, 0 if before is None else before.number)
        order = Order(want=want, epoch=epoch, number=last + 1)
        _write_whole(self.root / ORDER_FILE, msgspec.json.encode(order))
        return order

    def tidy(self, keep: AbstractSet[Digest]) -> None:
        """Remove all other packages, but for what the last order wants.

        Raises:
            BlockingIOError: an errand is at work: try again later.
        """
        with self.locked(wait=False):
            order = self.order()
            names = {self.package(digest).name for digest in keep}
            if order is not None:
                names.add(self.package(order.want).name)
            for path in self._entries():
                if path.name not in names and not path.name.startswith("."):
                    path.rename(path.with_name(f".{path.name}.gone"))
            self._sweep()

    def _sweep(self) -> None:
        """Remove what is on its way out, or was left by who was killed; locked by the caller."""
        for path in self._entries():
            if path.name.startswith("."):
                shutil.rmtree(path)

    def _entries(self) -> list[Path]:
        packages = self.root / _PACKAGES
        return list(packages.iterdir()) if packages.is_dir() else []


def _expect_same(package: Path, target: Path) -> None:
    for name in PACKAGE_FILES:
        if not filecmp.cmp(package / name, target / name, shallow=False):
            raise PackageError(
                target / name,
                f"differs from {package / name}, and both are signed: two packages of one digest",
                "Put the package under its own digest",
            )


def _write_whole(path: Path, content: bytes) -> None:
    # Each document has one writer at a time; a draft of one that was killed is overwritten.
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(content)
    _to_disk(draft)
    draft.replace(path)
    _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
