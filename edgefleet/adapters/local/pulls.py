"""Images on one node: brought in order, checked on arrival, kept while held or in use.

A pull goes on after the supervisor was restarted, and over a cut link it waits. The first node of a
factory to ask without a seed carries the image over the WAN into the factory's mirror; all others
copy from there. A pull that failed says why, and is tried again when it is ordered again.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import msgspec

from edgefleet.adapters.local.disk import read_whole, tree_bytes, write_whole
from edgefleet.adapters.local.links import Link
from edgefleet.adapters.local.store import Store
from edgefleet.adapters.oci_layout import OciLayout
from edgefleet.edge.contract import Digest
from edgefleet.edge.errors import PackageError
from edgefleet.edge.trust import verify
from edgefleet.errors import Refused
from edgefleet.fleet.inventory import Pull, PullSource, PullState

_LOOK_S: Final = 0.2
_MB: Final = 1_000_000


class _Ordered(msgspec.Struct, frozen=True):
    pull: Pull
    seed: str | None


@dataclass(frozen=True, slots=True)
class Wires:
    """What the nodes of a factory share for their pulls."""

    central: Store
    mirror: Store
    wan: Link
    lan: Link
    trust_dir: Path
    margin_mb: int


class Reach(Protocol):
    """What a pull must know of its node."""

    name: str

    @property
    def offline(self) -> bool:
        """Whether the node's link is cut."""
        ...

    def seeder_failed(self, seed: str, digest: Digest) -> str:
        """Return why the seeder's own pull failed, empty if it did not."""
        ...


class Pulls:
    """The images of one node."""

    def __init__(
        self, folder: Path, disk_mb: int, wires: Wires, node: Reach, arrived: Callable[[], None]
    ) -> None:
        """Read what was ordered before; `resume` goes on with it."""
        self._folder = folder
        self._images = folder / "images"
        self._images.mkdir(parents=True, exist_ok=True)
        self._store = Store(folder / "store")
        self._disk_mb = disk_mb
        self._wires = wires
        self._node = node
        self._arrived = arrived
        self._file = folder / "pulls.json"
        listed = read_whole(self._file, tuple[_Ordered, ...], ())
        self._orders = {order.pull.digest: order for order in listed}
        self._tasks: dict[Digest, asyncio.Task[None]] = {}
        self._used = tree_bytes(folder)

    def resume(self) -> None:
        """Go on with what a supervisor before this one had begun."""
        for digest, order in self._orders.items():
            if order.pull.state is PullState.PULLING:
                self._tasks[digest] = asyncio.create_task(self._pull(digest, order.seed))

    def listed(self) -> tuple[Pull, ...]:
        """Return every ordered pull, as far as it is."""
        return tuple(order.pull for order in self._orders.values())

    def held(self) -> frozenset[Digest]:
        """Return what must not be removed."""
        return frozenset(self._orders)

    def folder_of(self, digest: Digest) -> Path:
        """Return where a package is, or would be."""
        return self._images / digest.removeprefix("sha256:")

    def _arriving(self, digest: Digest) -> Path:
        return self._images / f".arriving-{self.folder_of(digest).name}"

    def present(self, digest: Digest) -> bool:
        """Say whether a package is here, checked."""
        return self.folder_of(digest).exists()

    def pulling(self, digest: Digest) -> bool:
        """Say whether a package is on its way."""
        order = self._orders.get(digest)
        return order is not None and order.pull.state is PullState.PULLING

    @property
    def free_mb(self) -> int:
        """Room for images, by the node's own limit and by the real disk."""
        real = shutil.disk_usage(self._folder).free
        return max(0, min(self._disk_mb * _MB - self._used, real) // _MB)

    def hold(self, digest: Digest, seed: str | None) -> None:
        """Bring a package and keep it; nothing happens while it is here or on its way."""
        order = self._orders.get(digest)
        if order is not None and order.pull.state is PullState.PRESENT and self.present(digest):
            return
        if order is not None and order.pull.state is PullState.PULLING:
            if order.seed == seed and digest in self._tasks:
                return
            # Another seeder was chosen: the wait for the first one would never end.
            self._cancel(digest)
        self._put(Pull(digest, PullState.PULLING), seed)
        self._tasks[digest] = asyncio.create_task(self._pull(digest, seed))

    def release(self, digest: Digest) -> None:
        """Let a package go; `collect` removes it."""
        self._cancel(digest)
        if self._orders.pop(digest, None) is not None:
            self._save()

    def collect(self, in_use: frozenset[Digest]) -> None:
        """Remove every package that is neither held nor in use."""
        keep = {self.folder_of(digest).name for digest in in_use | self.held()}
        keep |= {self._arriving(digest).name for digest in self.held()}
        gone = [path for path in self._images.iterdir() if path.name not in keep]
        for path in gone:
            shutil.rmtree(path, ignore_errors=True)
        if gone:
            self._used = tree_bytes(self._folder)

    async def close(self) -> None:
        """Stop pulling; what was ordered is on disk."""
        tasks = list(self._tasks.values())
        for digest in tuple(self._tasks):
            self._cancel(digest)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pull(self, digest: Digest, seed: str | None) -> None:
        begun = time.monotonic()
        try:
            source, carried = await self._bring(digest, seed)
        except (Refused, PackageError, OSError) as error:
            ended = replace(self._orders[digest].pull, state=PullState.FAILED, reason=str(error))
        else:
            ended = Pull(digest, PullState.PRESENT, "", carried, 0.0, source)
        self._used = await asyncio.to_thread(tree_bytes, self._folder)
        self._put(replace(ended, seconds=round(time.monotonic() - begun, 3)), seed)
        self._tasks.pop(digest, None)
        self._arrived()

    async def _bring(self, digest: Digest, seed: str | None) -> tuple[PullSource, int]:
        await self._link()
        wires = self._wires
        if self.present(digest):
            return PullSource.NONE, 0
        crossed = 0
        if not wires.mirror.complete(digest):
            if seed not in {None, self._node.name}:
                await self._seeder(str(seed), digest)
            else:
                self._room(digest, wires.central)
                crossed = await self._over_wan(digest)
        self._room(digest, wires.mirror)
        copied = await self._over_lan(digest, counted=crossed == 0)
        await asyncio.to_thread(self._unpack, digest)
        return (PullSource.WAN, crossed) if crossed else (PullSource.MIRROR, copied)

    async def _link(self) -> None:
        while self._node.offline:  # noqa: ASYNC110 - people make and remove the file
            await asyncio.sleep(_LOOK_S)

    async def _seeder(self, seed: str, digest: Digest) -> None:
        while not self._wires.mirror.complete(digest):
            reason = self._node.seeder_failed(seed, digest)
            if reason:
                subject = f"seeder {seed}"
                raise Refused(subject, reason, "Name another seeder")
            await asyncio.sleep(_LOOK_S)

    async def _over_wan(self, digest: Digest) -> int:
        counter = self._counter(digest, PullSource.WAN)
        before = self._orders[digest].pull.transferred_bytes
        wires = self._wires
        await wires.mirror.bring(digest, wires.central, wires.wan, counter)
        return self._orders[digest].pull.transferred_bytes - before

    async def _over_lan(self, digest: Digest, *, counted: bool) -> int:
        counter = self._counter(digest, PullSource.MIRROR) if counted else lambda _size: None
        before = self._orders[digest].pull.transferred_bytes
        await self._store.bring(digest, self._wires.mirror, self._wires.lan, counter)
        return self._orders[digest].pull.transferred_bytes - before

    def _unpack(self, digest: Digest) -> None:
        """Unpack the model layer, check who signed it, and make it visible whole."""
        partial = self._arriving(digest)
        shutil.rmtree(partial, ignore_errors=True)
        try:
            OciLayout(self._store.folder).fetch(digest, partial)
            verify(partial, self._wires.trust_dir)
            partial.replace(self.folder_of(digest))
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _room(self, digest: Digest, source: Store) -> None:
        needs = -(-self._store.missing_bytes(digest, source) // _MB)
        if self.free_mb < needs + self._wires.margin_mb:
            subject = f"node {self._node.name}"
            raise Refused(
                subject,
                f"{self.free_mb} MB of disk free, image {digest[:19]} needs {needs} MB "
                f"and a margin of {self._wires.margin_mb} MB",
                "Free space on the node, or release images that it holds",
            )

    def _counter(self, digest: Digest, source: PullSource) -> Callable[[int], None]:
        def seen(size: int) -> None:
            # In memory only: progress is worth nothing after a restart.
            order = self._orders[digest]
            total = order.pull.transferred_bytes + size
            pull = replace(order.pull, transferred_bytes=total, source=source)
            self._orders[digest] = _Ordered(pull, order.seed)

        return seen

    def _cancel(self, digest: Digest) -> None:
        task = self._tasks.pop(digest, None)
        if task is not None:
            task.cancel()

    def _put(self, pull: Pull, seed: str | None) -> None:
        self._orders[pull.digest] = _Ordered(pull, seed)
        self._save()

    def _save(self) -> None:
        write_whole(self._file, tuple(self._orders.values()))


def failed_reason(pulls: tuple[Pull, ...], digest: Digest) -> str:
    """Return why a package did not arrive, empty if it did not fail."""
    failed = (pull for pull in pulls if pull.state is PullState.FAILED)
    return next((pull.reason for pull in failed if pull.digest == digest), "")
