"""The command line: `edgefleet --help` lists it, cli/output.py states the exit codes."""

from __future__ import annotations

import typer

from edgefleet.cli import demo, local, rehearsal, releases

app = typer.Typer(
    name="edgefleet",
    help="Brings AI models to edge nodes, and back, on evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for part in (local, releases, rehearsal, demo):
    part.join(app)


def main() -> None:
    """Run the command line."""
    app()
