"""Where counts and answers go: the book in memory, the spool and the answers on disk.

Requests only add numbers and append to a list. A tick, four times a second, writes what has
gathered in one transaction and closes windows that are over, in a thread of its own, so that a slow
disk never delays an inference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, TypeVar

from edgefleet.edge.answers import Answer, Answers
from edgefleet.edge.contract import Digest, Evidence, SelfCheck, ServerSettings, Windows
from edgefleet.edge.errors import Declined
from edgefleet.edge.gauges import exposition
from edgefleet.edge.recent import Recent
from edgefleet.edge.spool import Spool
from edgefleet.edge.tally import Book, Counts, Key, Term

SPOOL_FILE: Final = "windows.jsonl"
ANSWERS_FILE: Final = "answers.sqlite"
TICK_S: Final = 0.25
_ELSEWHERE_S: Final = 3 * TICK_S
"""How long an answer may take to reach the disk, from this process or the one before."""
_PRUNE_EVERY: Final = 240
_MOST_UNWRITTEN: Final = 1000

Result = TypeVar("Result")


class Bookkeeper:
    """The evidence of one server process; its methods belong to the event loop's thread."""

    def __init__(self, settings: ServerSettings, boot: str) -> None:
        state = Path(settings.state_dir)
        state.mkdir(parents=True, exist_ok=True)
        self.book = Book.empty(settings.digest, boot, settings.window_s, settings.warmup_windows)
        self.gauges = exposition((), settings.window_s)
        """The newest closed windows, as Prometheus reads them; renewed by the tick."""
        self._spool = Spool(state / SPOOL_FILE)
        self._recent = Recent(state / SPOOL_FILE)
        self._answers = Answers(state / ANSWERS_FILE)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._pending: list[Answer] = []
        self._ticks = 0
        self._closed: int | None = None
        self._unwritten: list[Evidence] = []

    def begin(self, digest: Digest, now: float) -> Term:
        """Begin the term of a digest: its answers count from now, those before are written."""
        self._unwritten += self.book.begin(digest, now)
        return self.book.term

    def check(self, digest: Digest, found: SelfCheck, now: float) -> None:
        """Count the golden set's answers, whether the digest serves or is refused for them."""
        window = self.book.window(now)
        term = self.book.term
        own = term if digest == term.digest else replace(term, digest=digest, first=None)
        sums = self.book.of(own.key(window)).sums
        sums["golden_total"] += found.total
        sums["golden_agreed"] += found.agreed

    def keep(self, answer: Answer) -> None:
        """Remember an answer for a label that may come."""
        self._pending.append(answer)

    async def label(self, request_id: str, label: str) -> Literal["wanted", "other"]:
        """Count the true label of an earlier answer, in that answer's window.

        Raises:
            Declined: 404 nobody knows the request any more, 409 it has a label already.
        """
        answer = await self._label(request_id, label)
        if answer is None and not await self._on_disk(self._answers.known, request_id):
            # The other process, in a handover, or the shadow may not have written it yet.
            await asyncio.sleep(_ELSEWHERE_S)
            answer = await self._label(request_id, label)
            if answer is None and not await self._on_disk(self._answers.known, request_id):
                raise Declined(404, f"request {request_id!r}: no answer is kept under this id")
        if answer is None:
            raise Declined(409, f"request {request_id!r}: it has a label already")
        counts = self.book.of(Key(answer.window, answer.digest, answer.boot, answer.warm))
        count_label(counts, answer, label)
        return "wanted" if answer.wanted else "other"

    async def answered_by(self, request_id: str) -> Digest | None:
        """Return the digest that answered a request; None: it is not, or not yet, known."""
        for answer in self._pending:
            if answer.id == request_id:
                return answer.digest
        return await self._on_disk(self._answers.answered_by, request_id)

    async def open_disagreements(self, limit: int) -> list[str]:
        """Return the ids of unlabelled disagreements, newest first."""
        return await self._on_disk(self._answers.open_disagreements, limit)

    async def windows(self, after: int, now: float) -> Windows:
        """Return the node's closed windows."""
        records = await self._on_disk(self._spool.read, after)
        return Windows(now=now, window_s=self.book.window_s, records=records)

    async def tick(self, now: float) -> None:
        """Write what has gathered; close windows that are over; renew what is scraped of them."""
        self._ticks += 1
        pending = self._take_pending()
        if pending:
            await self._on_disk(self._answers.keep, pending)
        if self._ticks % _PRUNE_EVERY == 0:
            await self._on_disk(self._answers.prune, now)
        # A little later than its end: the last requests of a window are still being answered.
        over = self.book.window(now - min(TICK_S, self.book.window_s / 10))
        if self._closed is None or over > self._closed:
            self._closed = over
            self._unwritten += self.book.close(over)
        if self._unwritten:
            await self._write_windows()
        shown = await self._on_disk(self._shown, self.book.window(now))
        self.gauges = self.gauges if shown is None else shown

    async def end(self, now: float) -> None:
        """Write everything, the current window too, and close the files."""
        await self.tick(now)
        self._unwritten += self.book.close(self.book.window(now) + 1)
        await self._write_windows()
        await self._on_disk(self._answers.close)
        self._thread.shutdown()

    async def _write_windows(self) -> None:
        # Kept until they are written: a disk that is full for a while costs no window.
        count = len(self._unwritten)
        await self._on_disk(self._spool.append, self._unwritten[-_MOST_UNWRITTEN:])
        # A term that ended meanwhile has added its records.
        del self._unwritten[:count]

    def _shown(self, current: int) -> bytes | None:
        """Return the newest windows, as Prometheus reads them; None: they are as they were."""
        records = self._recent.look(current)
        return None if records is None else exposition(records, self.book.window_s)

    async def _label(self, request_id: str, label: str) -> Answer | None:
        pending = self._take_pending()

        def work() -> Answer | None:
            if pending:
                self._answers.keep(pending)
            return self._answers.label(request_id, label)

        return await self._on_disk(work)

    def _take_pending(self) -> list[Answer]:
        pending, self._pending = self._pending, []
        return pending

    async def _on_disk(self, work: Callable[..., Result], *arguments: object) -> Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, work, *arguments)


def count_label(counts: Counts, answer: Answer, label: str) -> None:
    """Add a label to the counts of its request's window.

    Only labels that the server asked for enter accuracy and pairs; a labelled disagreement counts
    as such whoever asked, since it answers what the disagreement was worth.
    """
    sums = counts.sums
    right = answer.answer == label
    if answer.wanted:
        sums["labelled"] += 1
        sums["correct"] += right
    else:
        sums["other_labelled"] += 1
        sums["other_correct"] += right
    if answer.shadow is None:
        return
    reference_right = answer.shadow == label
    gain, loss = right and not reference_right, reference_right and not right
    sums["disagreed_labelled"] += answer.shadow != answer.answer
    sums["shadow_gains"] += gain
    sums["shadow_losses"] += loss
    if answer.wanted:
        sums["paired"] += 1
        sums["gains"] += gain
        sums["losses"] += loss
