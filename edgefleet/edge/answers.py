"""The answers that were given, kept so that a label that comes later finds its request.

One SQLite file of the node, shared by the old and the new process: a label that arrives at the new
one finds the answer of the old one. Kept is what feedback needs and no input; the newest
`KEPT_ANSWERS`, for `KEPT_HOURS`. A power cut may lose the last seconds (synchronous=OFF): those
labels then get a 404 and are simply not counted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from edgefleet.edge.contract import Digest

KEPT_ANSWERS: Final = 200_000
KEPT_HOURS: Final = 72.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS answers (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at REAL NOT NULL, window INTEGER NOT NULL,
  digest TEXT NOT NULL, boot TEXT NOT NULL, warm INTEGER NOT NULL, answer TEXT NOT NULL,
  shadow TEXT, wanted INTEGER NOT NULL, label TEXT
);
CREATE INDEX IF NOT EXISTS open_disagreements ON answers (number)
  WHERE label IS NULL AND shadow IS NOT NULL AND shadow <> answer;
"""


class Answer(NamedTuple):
    """One answered request, classes by name."""

    id: str
    at: float
    window: int
    digest: Digest
    boot: str
    warm: bool
    answer: str
    shadow: str | None
    """What the reference model said; None: it was not asked."""
    wanted: bool


class Answers:
    """The kept answers; every method blocks for less than a millisecond as a rule.

    Used from one thread (any, but one at a time).
    """

    def __init__(self, path: Path) -> None:
        # No isolation level: each statement is its own transaction unless BEGIN is said.
        self._db = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)

    def keep(self, answers: Iterable[Answer]) -> None:
        """Store answers in one transaction; of two with the same id the later is kept."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "INSERT OR REPLACE INTO answers"
            " (id, at, window, digest, boot, warm, answer, shadow, wanted)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            answers,
        )
        self._db.execute("COMMIT")

    def label(self, request_id: str, label: str) -> Answer | None:
        """Write the first label of an answer and return the answer; None: labelled, or unknown."""
        row = self._db.execute(
            "UPDATE answers SET label = ? WHERE id = ? AND label IS NULL"
            " RETURNING id, at, window, digest, boot, warm, answer, shadow, wanted",
            (label, request_id),
        ).fetchone()
        if row is None:
            return None
        # SQLite has no booleans.
        answer = Answer(*row)
        return answer._replace(warm=bool(answer.warm), wanted=bool(answer.wanted))

    def known(self, request_id: str) -> bool:
        """Say whether an answer to this request is kept."""
        query = "SELECT 1 FROM answers WHERE id = ?"
        return self._db.execute(query, (request_id,)).fetchone() is not None

    def answered_by(self, request_id: str) -> Digest | None:
        """Return the digest that gave a kept answer; None: there is no such answer."""
        query = "SELECT digest FROM answers WHERE id = ?"
        row = self._db.execute(query, (request_id,)).fetchone()
        return None if row is None else Digest(row[0])

    def open_disagreements(self, limit: int) -> list[str]:
        """Return ids of the newest requests that both models answered, differently, unlabelled."""
        rows = self._db.execute(
            "SELECT id FROM answers"
            " WHERE label IS NULL AND shadow IS NOT NULL AND shadow <> answer"
            " ORDER BY number DESC LIMIT ?",
            (limit,),
        )
        return [row[0] for row in rows]

    def prune(self, now: float) -> None:
        """Drop what is too old or too many."""
        # `at` rises with `number`, but for clock steps: look at the oldest thousand rows only.
        self._db.execute(
            "DELETE FROM answers WHERE number <= (SELECT max(number) FROM answers) - ?"
            " OR number IN (SELECT number FROM"
            "   (SELECT number, at FROM answers ORDER BY number LIMIT 1000) WHERE at < ?)",
            (KEPT_ANSWERS, now - KEPT_HOURS * 3600),
        )

    def close(self) -> None:
        """Close the file; nothing is pending."""
        self._db.close()
