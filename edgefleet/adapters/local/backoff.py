"""How long to wait before the same thing is tried again."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgefleet.edge.contract import Digest


@dataclass(slots=True)
class Backoff:
    """Waiting times that double from `first_s` to `most_s`, per package."""

    first_s: float
    most_s: float
    _failures: dict[Digest, int] = field(default_factory=dict)
    _due: dict[Digest, float] = field(default_factory=dict)

    def failed(self, digest: Digest, now: float) -> None:
        """Note a failure."""
        count = self._failures.get(digest, 0)
        self._failures[digest] = count + 1
        self._due[digest] = now + min(self.first_s * 2.0**count, self.most_s)

    def forget(self, digest: Digest) -> None:
        """It works, or somebody orders it anew: the next failure is a first one."""
        self._failures.pop(digest, None)
        self._due.pop(digest, None)

    def wait_s(self, digest: Digest, now: float) -> float:
        """Return how long to wait still; 0: try now."""
        return max(0.0, self._due.get(digest, now) - now)
