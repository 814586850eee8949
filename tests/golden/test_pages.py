"""The manual's reference pages say what the code says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgefleet.adapters.kubernetes.config import Clusters
from edgefleet.adapters.local.config import SupervisorConfig
from edgefleet.cli import app
from edgefleet.cli.local import LocalFleet
from edgefleet.cli.output import ENDED_OTHERWISE, EXIT_CODES, MEANINGS
from edgefleet.plant.config import PlantConfig
from edgefleet.settings import Settings
from edgefleet.spec import Spec, parse_spec
from edgefleet.written import parse
from tests.golden.files import same_as_golden
from tests.golden.pages import MARK, Entry, commands, entries, first_sentence, sections, table_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
HANDED_ON = {entry.name: entry.meaning for entry in entries(SupervisorConfig)}


def same_as_page(name: str, *parts: str) -> None:
    page = DOCS / name
    introduction = page.read_text(encoding="utf-8").partition(MARK)[0]
    same_as_golden(introduction + "\n\n".join((MARK, *parts)), page)


def spec_parts() -> list[str]:
    return [
        f"## {path or 'The fields of a spec'}\n\n{first_sentence(part)}\n\n"
        + table_of(entries(part), path)
        for path, part in sections(Spec)
    ]


def fleet_entries() -> list[Entry]:
    """Return the file's fields: the supervisor's are handed on to it, plants have their own."""
    found = [
        replace(one, meaning=one.meaning or HANDED_ON[one.name]) for one in entries(LocalFleet)
    ]
    plants = {"part": PlantConfig, "values": "list:", "meaning": first_sentence(PlantConfig)}
    return [replace(one, **plants) if one.name == "plants" else one for one in found]


def plant_entries() -> list[Entry]:
    return [entry for entry in entries(PlantConfig) if entry.name != "root"]


def test_every_field_of_a_spec_is_described() -> None:
    same_as_page("spec.md", *spec_parts())


def test_every_setting_is_described() -> None:
    variables = [
        replace(entry, name=f"EDGEFLEET_{entry.name.upper()}") for entry in entries(Settings)
    ]
    same_as_page("settings.md", table_of(variables).replace("| field |", "| variable |"))


def test_every_field_of_the_local_fleet_is_described() -> None:
    inner = [(path, entries(part)) for path, part in sections(LocalFleet) if path]
    same_as_page(
        "fleet.md",
        f"## The fields of the file\n\n{table_of(fleet_entries())}",
        *(f"## {path}\n\n{table_of(found, path)}" for path, found in inner),
        f"## plants\n\n{table_of(plant_entries(), 'plants')}",
    )


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_no_page_shows_what_a_library_calls_a_missing_value(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [word for word in ("PydanticUndefined", "NODEFAULT", "UNSET") if word in text] == []


def test_every_field_of_the_clusters_is_described() -> None:
    inner = [
        f"## {path or 'The fields of the file'}\n\n{table_of(entries(part), path)}"
        for path, part in sections(Clusters)
    ]
    same_as_page("clusters.md", *inner)


def test_the_clusters_that_the_page_begins_with_are_whole_ones() -> None:
    example = (DOCS / "clusters.md").read_text(encoding="utf-8").split("```")[1]
    found = parse(Clusters, example.removeprefix("yaml"), "docs/clusters.md", "", "")
    sites = [site.name for cluster in found.clusters for site in cluster.sites()]
    assert sites == ["graz", "linz", "brno"]


def test_every_command_is_described() -> None:
    codes = [f"| {code} | {meaning} |" for code, meaning in sorted(MEANINGS.items())]
    table = "\n".join(["| code | meaning |", "|---|---|", *codes])
    same_as_page("cli.md", f"## Exit codes\n\n{table}", commands(app))


def test_every_exit_code_has_a_meaning() -> None:
    assert {0, ENDED_OTHERWISE, *EXIT_CODES.values()} == MEANINGS.keys()


def test_the_spec_that_the_page_begins_with_is_a_whole_one() -> None:
    example = (DOCS / "spec.md").read_text(encoding="utf-8").split("```")[1].removeprefix("yaml")
    assert parse_spec(example, "docs/spec.md").gates.floors.accuracy == 0.8


@pytest.mark.parametrize(
    "found",
    [
        *(pytest.param(entries(part), id=path or "spec") for path, part in sections(Spec)),
        pytest.param(entries(Settings), id="settings"),
        pytest.param(fleet_entries(), id="fleet"),
        *(pytest.param(entries(part), id=path) for path, part in sections(Clusters)),
        pytest.param(plant_entries(), id="plants"),
        *(pytest.param(entries(part), id=path) for path, part in sections(LocalFleet) if path),
    ],
)
def test_no_field_is_without_a_meaning(found: list[Entry]) -> None:
    assert [entry.name for entry in found if not entry.meaning] == []
