"""What happens, while it happens: a picture in a terminal, plain lines where there is none.

A thread reads the ledger and the plant's totals twice a second, and the fleet at most once a second
and never for more than a tenth of the time. It reads only; what it cannot read it says and tries
again, so that a view never ends a demo.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.live import Live

from edgefleet.cli.demo.screen import Counts, Moment, draw, line
from edgefleet.cli.output import OUT
from edgefleet.documents import decode
from edgefleet.fleet.inventory import Inventory
from edgefleet.ports import Ledger
from edgefleet.report.gather import package_names

_TICK_S: Final = 0.5
_LOOK_S: Final = 1.0
_REST: Final = 10.0
"""A snapshot that took t seconds is followed by a rest of ten times t."""


class LiveView:
    """Shows one release after the other; use it in `with`."""

    def __init__(
        self,
        addresses: Mapping[str, str],
        ledger: Ledger,
        look: Callable[[], Inventory],
        totals: Path,
        plain: bool = False,  # noqa: FBT001, FBT002 - the last argument, and read as a word
        console: Console = OUT,
    ) -> None:
        self._ledger, self._look, self._totals, self._console = ledger, look, totals, console
        self._plain = plain or not console.is_terminal
        self._moment = Moment("", timedelta(), addresses)
        self._release_id = ""
        self._printed = 0
        self._begun = time.monotonic()
        self._next_look = 0.0
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live view", daemon=True)
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._plain:
            for name, url in self._moment.addresses.items():
                self._console.print(f"{name}: {url}", soft_wrap=True)
        else:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self._tick()
        if not self._plain:
            self._live.stop()

    def address(self, name: str, url: str) -> None:
        """Show one more address."""
        self._tick()
        with self._lock:
            addresses = {**self._moment.addresses, name: url}
            self._moment = replace(self._moment, addresses=addresses)
            if self._plain:
                self._console.print(f"{name}: {url}", soft_wrap=True)

    def story(self, title: str) -> None:
        """Begin the next story: the lines of the one before are all shown first."""
        self._tick()
        with self._lock:
            self._release_id, self._printed = "", 0
            self._moment = replace(self._moment, story=title, release=None, journal=())
            if self._plain:
                self._console.print(f"\n[bold]{title}[/bold]", soft_wrap=True)

    def follow(self, release_id: str) -> None:
        """Show this release from now on."""
        self._tick()
        with self._lock:
            self._release_id, self._printed = release_id, 0
        self._tick()

    def _run(self) -> None:
        while not self._stopped.wait(_TICK_S):
            self._tick()

    def _tick(self) -> None:
        """Read once and show it."""
        with self._lock:
            trouble = ""
            try:
                self._read()
            except Exception as error:  # noqa: BLE001 - the loop's boundary: shown, and tried again
                trouble = f"cannot be read just now: {error}"
            ran = timedelta(seconds=time.monotonic() - self._begun)
            self._moment = replace(self._moment, ran=ran, trouble=trouble)
            if self._plain:
                self._print()
            else:
                self._live.update(draw(self._moment), refresh=True)

    def _print(self) -> None:
        for entry in self._moment.journal[self._printed :]:
            self._console.print(line(entry), soft_wrap=True)
        self._printed = len(self._moment.journal)

    def _read(self) -> None:
        if self._release_id:
            release = self._ledger.release(self._release_id)
            journal = self._ledger.journal(self._release_id)
            self._moment = replace(self._moment, release=release, journal=journal)
        if self._plain:
            return
        if self._totals.exists():
            counts = decode(self._totals.read_bytes(), Counts)
            self._moment = replace(self._moment, counts=counts)
        if time.monotonic() >= self._next_look:
            before = time.monotonic()
            try:
                nodes = self._look().nodes
            finally:
                took = time.monotonic() - before
                self._next_look = time.monotonic() + max(_LOOK_S, _REST * took)
            self._name({view.serving.digest for view in nodes if view.serving})
            self._moment = replace(self._moment, nodes=nodes, digests=dict(self._names))

    def _name(self, digests: set[str]) -> None:
        """Call each digest by the version that a release packed it from."""
        new = digests - self._names.keys()
        if not new:
            return
        known = {str(digest): name for digest, name in package_names(self._ledger).items()}
        for digest in (*known, *sorted(new)):
            if digest in new:
                self._names.setdefault(digest, known.get(digest, digest[:19]))
