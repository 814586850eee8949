"""How every command speaks: rich text for people, one JSON document with --json, an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import msgspec
import typer
from rich.console import Console

from edgefleet.errors import Conflict, EdgefleetError, Fenced, Refused, Unreachable

OUT: Final = Console()
ERR: Final = Console(stderr=True)

MEANINGS: Final[Mapping[int, str]] = {
    0: "done as asked",
    1: "it ended otherwise: a release that was not released, a demo that did not end as it should, "
    "a drill in which a node failed",
    2: "refused, nothing moved: change the request",
    3: "something outside does not answer: try again later",
    4: "the world is not as assumed: look, then decide again",
}
"""What the exit codes say."""
ENDED_OTHERWISE: Final = 1
EXIT_CODES: Final[dict[type[EdgefleetError], int]] = {
    Refused: 2,
    Unreachable: 3,
    Conflict: 4,
    Fenced: 4,
}

Json = typer.Option(False, "--json", help="One JSON document on standard output.")


def say(content: object, *, as_json: bool, draw: Callable[[], object]) -> None:
    """Print `content` as JSON, or what `draw` makes for people."""
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(content)).decode() + "\n")
        return
    drawn = draw()
    if drawn is not None:
        OUT.print(drawn)


@contextmanager
def told() -> Iterator[None]:
    """Turn our errors into a message and an exit code; others are bugs and keep their traceback."""
    try:
        yield
    except EdgefleetError as error:
        ERR.print(f"[red]{type(error).__name__.lower()}[/red] {error}", highlight=False)
        raise typer.Exit(EXIT_CODES.get(type(error), ENDED_OTHERWISE)) from error
