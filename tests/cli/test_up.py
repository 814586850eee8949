"""What `edgefleet up` and the demo start, and for whom; nothing is started here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from edgefleet.adapters.servers.embedded import ROOT
from edgefleet.cli.demo.story import alone
from edgefleet.cli.deploying import Deployed
from edgefleet.cli.local import came_up, load_fleet, programs
from edgefleet.settings import Settings

SERVERS = ["prefect", "mlflow", "worker"]
LOCAL = ["fleet", "plant-defect-detection"]
A_CENTRE = {
    "EDGEFLEET_CLUSTERS": "plants.yaml",
    "EDGEFLEET_LEDGER_URL": "postgresql://db.plant.example/ledger",
    "EDGEFLEET_MLFLOW_URL": "http://mlflow.plant.example",
    "EDGEFLEET_NOTIFY_URL": "json://chat.plant.example",
    "EDGEFLEET_POSTGRES_URL": "postgresql://db.plant.example",
    "EDGEFLEET_PROMETHEUS_URL": "http://prometheus.plant.example",
    "EDGEFLEET_REGISTRY_URL": "https://registry.plant.example/edge",
    "EDGEFLEET_SUPERVISOR_URL": "http://127.0.0.1:9",
}


def started(settings: Settings) -> list[str]:
    fleet = load_fleet(ROOT / "deployments" / "fleet.yaml")
    return [program.name for program in programs(settings, fleet)]


def put(patch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        patch.setenv(name, value)


def test_without_clusters_the_local_fleet_is_started(tmp_path: Path) -> None:
    assert started(Settings(home=tmp_path)) == SERVERS + LOCAL


def test_a_centre_of_clusters_has_its_key_and_starts_no_local_fleet(tmp_path: Path) -> None:
    assert started(Settings(home=tmp_path, clusters=tmp_path / "plants.yaml")) == SERVERS
    assert list((tmp_path / "keys" / "trust").iterdir())
    assert not (tmp_path / "fleet").exists()


def test_a_demo_at_a_centre_of_clusters_has_a_fleet_of_its_own_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, A_CENTRE)
    put(monkeypatch, alone(tmp_path))
    settings = Settings()
    changed = {
        name
        for name, field in Settings.model_fields.items()
        if getattr(settings, name) != field.get_default()
    }
    assert changed == {"home"}
    assert started(settings) == SERVERS + LOCAL


@pytest.mark.parametrize(
    ("messages", "deleted", "lines"),
    [
        ((), (), ["messages: none are sent: EDGEFLEET_NOTIFY_URL is empty"]),
        (("a", "b"), ("old",), ["messages: a, b", "deleted: old"]),
    ],
)
def test_who_calls_up_reads_where_things_are_and_whether_anybody_is_told(
    messages: tuple[str, ...], deleted: tuple[str, ...], lines: list[str]
) -> None:
    made = Deployed(("release",), (), messages, deleted)
    said = came_up({"prefect_ui": "http://here"}, made).splitlines()
    assert said == ["prefect_ui       http://here", *lines]
