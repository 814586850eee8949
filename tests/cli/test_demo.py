"""What the demo is asked for on the command line; none is run here."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from edgefleet.cli import app

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("typed", ["ui", "UI", "Ui"])
def test_the_demo_waits_for_a_click_however_that_is_spelled(typed: str) -> None:
    asked = COMMANDS["demo"].make_context("demo", ["--approve", typed])
    assert asked.params["approve"] == "ui"


def test_a_misspelt_way_to_approve_is_refused_and_nothing_is_approved() -> None:
    said = CliRunner().invoke(app, ["demo", "--approve", "u1"])
    assert said.exit_code == 2
    assert "'u1' is not one of 'auto', 'ui'" in said.output


def test_every_command_can_speak_json() -> None:
    silent = {
        name
        for name, command in COMMANDS.items()
        if not any("--json" in one.opts for one in command.params)
    }
    assert silent == set()
