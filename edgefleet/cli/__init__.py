"""The command line: `edgefleet --help` lists it, cli/output.py states the exit codes."""

from __future__ import annotations

import os

import typer

# Nothing is told to anybody outside. Prefect reads this when it is imported, which comes next.
os.environ.setdefault("DO_NOT_TRACK", "1")

from edgefleet.cli import (
    bridge,
    demo,
    deploying,
    drills,
    local,
    nodes,
    proxy,
    registration,
    rehearsal,
    releases,
    rollbacks,
    rulings,
)

app = typer.Typer(
    name="edgefleet",
    help="Brings AI models to edge nodes, and back, on evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for part in (
    local,
    deploying,
    registration,
    releases,
    nodes,
    drills,
    rulings,
    rollbacks,
    bridge,
    proxy,
    rehearsal,
    demo,
):
    part.join(app)


def main() -> None:
    """Run the command line."""
    app()
