"""The edge's errors: a package that must not serve, an order, a request that gets a 4xx or 503."""

from __future__ import annotations


class PackageError(Exception):
    """A package that must not serve, in words: which file, what is wrong with it, the remedy."""

    def __init__(self, subject: object, problem: str, remedy: str) -> None:
        """Keep the three parts; `subject` is the file or folder, as a path."""
        super().__init__(f"{subject}: {problem}. {remedy}")
        self.subject = str(subject)
        self.problem = problem
        self.remedy = remedy


class Fenced(Exception):
    """An order of somebody who has been replaced; what to do is the other's business."""


class Refused(Exception):
    """The server did not follow an order and says why; the same order again changes nothing."""


class NotYet(Exception):
    """It is not known in time what became of an order; asking again may tell."""


class Declined(Exception):
    """A request that is answered with an error, and the words the sender gets."""

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None) -> None:
        """Keep the HTTP status; `retry_after_s` becomes a Retry-After header."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s
