"""Every error of edgefleet. The class answers one question: shall I retry?

    EdgefleetError
    |-- Refused          the request itself cannot work: nothing moved; change it, do not retry
    |-- Fenced           a newer driver holds the workload: stop, the ledger has moved on
    |-- Conflict         the world is not as the order assumed: read again, then decide again
    `-- Unreachable      an outside system did not answer: nothing is known; retry later

Any other exception that leaves a flow means that we do not know what holds; the release stays where
the ledger says and whoever resumes it goes on from there.
"""

from __future__ import annotations


class EdgefleetError(Exception):
    """The root: catch it at a boundary to show the message, never to go on."""


class Refused(EdgefleetError):
    """A request that cannot work, in words: subject, problem with numbers, remedy."""

    def __init__(self, subject: str, problem: str, remedy: str) -> None:
        """Keep the three parts, so that a form or JSON can show them apart."""
        super().__init__(f"{subject}: {problem}. {remedy}")
        self.subject = subject
        self.problem = problem
        self.remedy = remedy


class Fenced(EdgefleetError):
    """An order carried an epoch lower than one already seen, or its lease is lost."""


class Conflict(EdgefleetError):
    """An order's `was`, or an expected phase, does not hold any more."""


class Unreachable(EdgefleetError):
    """An outside system gave no answer within its time."""
