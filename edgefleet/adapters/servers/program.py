"""A program as data, and the addresses that programs give.

In `argv`, `env`, `ready_urls` and `endpoints` the text `{port}` stands for the port that the kernel
chose for the program, and `{name}` for an endpoint of a program named in `after`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edgefleet.errors import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to start, and how to see that it serves."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Beside the caller's environment, without the caller's PREFECT_* and MLFLOW_*."""
    ready_urls: tuple[str, ...] = ()
    """Ready when a GET answers 200 at each of them."""
    ready_auth: str = field(default="", repr=False)
    """`user:password` that those GETs show; in no record. Empty: none."""
    ready_file: Path | None = None
    """JSON that the program writes once it serves; its text values become endpoints. None: no file
    is waited for."""
    endpoints: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    """Programs that must be ready before this one starts."""
    start_s: float = 300.0
    """How long it may take to become ready."""
    stop_s: float = 15.0
    """How long it may take to end by itself after SIGTERM."""

    @property
    def fingerprint(self) -> str:
        """Changes when the description does: then a running process is replaced."""
        text = json.dumps(asdict(self), default=str, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with every `{name}` replaced by its value; other braces stay as they are."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The addresses of what is up, by name."""

    known: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        """Return an address.

        Raises:
            Refused: no program that is up gives it.
        """
        try:
            return self.known[name]
        except KeyError:
            given = ", ".join(sorted(self.known)) or "none"
            problem = f"given by no program that is up (given: {given})"
            raise Refused(name, problem, "Start its program with `edgefleet up`") from None

    @property
    def prefect_api(self) -> str:
        """Prefect's API, for PREFECT_API_URL."""
        return self["prefect_api"]

    @property
    def prefect_ui(self) -> str:
        """Prefect's pages."""
        return self["prefect_ui"]

    @property
    def mlflow_url(self) -> str:
        """MLflow's tracking server and pages."""
        return self["mlflow_url"]
