"""What people ask about releases, on a ledger whose releases have ended; no server runs."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edgefleet.adapters.memory.faults import parse_fault
from edgefleet.cli import app
from edgefleet.edge.contract import Digest
from edgefleet.fleet.inventory import NodeView, Serving
from edgefleet.fleet.summary import FactoryCount, count_factory
from edgefleet.rehearsal import stage
from edgefleet.spec import load_spec
from edgefleet.wiring import installed

NEW = Digest("sha256:" + "a" * 64)
OTHER = Digest("sha256:" + "b" * 64)


def asked(home: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> Result:
    monkeypatch.setenv("EDGEFLEET_HOME", str(home))
    return CliRunner().invoke(app, list(words))


def test_status_in_an_empty_home_says_how_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = asked(tmp_path, monkeypatch, "status")
    assert said.exit_code == 0
    assert "no release yet" in said.output
    assert "edgefleet up" in said.output


def test_status_as_json_is_one_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = json.loads(asked(tmp_path, monkeypatch, "status", "--json").stdout)
    assert said["releases"] == []
    assert said["factories"] == []
    assert "nodes cannot be seen" in said["trouble"]


@pytest.mark.parametrize("command", [("show", "r-9"), ("abort", "r-9"), ("why", "n-9")])
def test_what_nobody_knows_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, str]
) -> None:
    said = asked(tmp_path, monkeypatch, *command)
    assert said.exit_code == 2
    assert "refused" in said.output


@pytest.mark.parametrize(
    "words",
    [(), ("--version", "3", "--base-only"), ("--base-only", "--urgent", "the plant stands")],
)
def test_a_release_is_of_a_version_or_of_a_new_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    said = asked(tmp_path, monkeypatch, "release", "defect-detection", *words)
    assert said.exit_code == 2
    assert "needs a --version, or --base-only" in " ".join(said.output.split())


def view(
    node: str, digest: Digest | None, *, online: bool = True, hold: str | None = None
) -> NodeView:
    serving = digest and Serving(digest, ready=True, self_check_passed=True, boot="b", url="")
    return NodeView(
        node=node,
        factory="graz",
        labels={"line": "camera"},
        online=online,
        serving=serving or None,
        ordered=digest,
        hold_reason=hold,
        pulls=(),
        disk_free_mb=1,
    )


def test_a_factory_is_counted_by_what_its_online_nodes_serve() -> None:
    views = (
        view("n1", NEW),
        view("n2", NEW, hold="maintenance"),
        view("n3", OTHER),
        view("n4", None),
        view("n5", NEW, online=False),
    )
    expected = FactoryCount(
        "graz", "w", 5, 1, 1, {"model 2": 2, "nothing": 1, "sha256:bbbbbbbbbbbb": 1}
    )
    assert expected == count_factory("graz", "w", {"line": "camera"}, views, {NEW: "model 2"})
    assert count_factory("graz", "w", {"line": "sensors"}, views, {}).nodes == 0


def test_a_factory_that_does_not_answer_is_named_and_the_others_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_spec(Path("deployments/specs/defect-detection.yaml"))
    made = stage(spec, tmp_path, nodes=12, factories=3)
    made.strike([parse_fault("site_down:factory-02")])
    with installed(made.world):
        said = json.loads(asked(tmp_path, monkeypatch, "status", "--json").stdout)
    counted = {row["factory"]: row["nodes"] for row in said["factories"] if row["nodes"]}
    assert len(counted) == 2
    assert "factory-02" not in counted
    assert "factory-02 cannot be seen" in said["trouble"]
