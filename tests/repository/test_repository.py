"""What a stranger takes for granted about the tree: its commands, its pins, its names."""

import ast
import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml

from edgefleet.spec import load_spec

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt", "requirements-edge.txt")
TARGETS = {
    "help",
    "demo",
    "rehearse",
    "test",
    "check",
    "golden",
    "screenshots",
    "bench-quantize",
    "lock",
    "setup-browser",
    "clean",
}
CODE = sorted(
    file for part in ("edgefleet", "flows", "tasks") for file in (ROOT / part).rglob("*.py")
)


def make(*arguments: str) -> str:
    command = ("make", "--no-print-directory", *arguments)
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def pins(name: str) -> set[tuple[str, str]]:
    """Return name and version; a name may come twice, for two versions of Python."""
    text = (ROOT / name).read_text()
    return set(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def wanted(requirements: list[object]) -> set[str]:
    names = {re.match(r"[A-Za-z0-9._-]+", one) for one in requirements if isinstance(one, str)}
    return {re.sub(r"[._-]+", "-", found.group()).lower() for found in names if found}


def test_help_lists_every_target_and_every_target_has_a_recipe() -> None:
    listed = set(re.findall(r"^  make (\S+)", make("help"), re.MULTILINE))
    assert listed >= TARGETS
    for target in sorted(listed - {"help"}):
        assert make("--dry-run", "--always-make", target)


def test_the_demo_asks_in_the_ui_when_told_to() -> None:
    assert "edgefleet.cli demo --approve ui" in make("--dry-run", "demo", "APPROVE=ui")
    assert "--approve" not in make("--dry-run", "demo")


def test_an_old_python_is_refused_in_words(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\ntest "$1" = -V && echo Python 3.9.2\nexit 1\n')
    old.chmod(0o755)
    command = ("make", "--always-make", ".venv/.made", f"PYTHON={old}")
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode != 0
    assert "is Python 3.9.2: edgefleet needs Python 3.11, 3.12 or 3.13" in told.stdout


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_name_no_host_and_hash_every_file(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"://|^-|^\s*--(?!hash=sha256:[0-9a-f]{64})|file:", text, re.MULTILINE)
    entries = re.split(r"\n(?=\S)", text.strip())
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert len(entries) == len(pins(name))


def test_requirements_hold_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    centre, dev, edge = (pins(name) for name in REQUIREMENTS)
    assert wanted(project["project"]["dependencies"]) <= dict(centre).keys()
    assert wanted(groups["edge"]) <= dict(edge).keys()
    assert wanted(groups["dev"]) | wanted(groups["train"]) <= dict(dev).keys()
    assert edge <= centre <= dev
    assert not {"prefect", "mlflow", "kubernetes", "pydantic"} & dict(edge).keys()


def test_no_lock_file_is_committed() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"uv.lock", "pylock.toml"} <= set(ignored)


@pytest.mark.parametrize("file", CODE, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_holds_one_idea(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= 300
    assert file.stem not in {"utils", "helpers", "manager", "common", "data", "info", "process"}
    assert ast.get_docstring(ast.parse(text))


def test_every_deployment_starts_at_a_flow_that_is_there() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert deployments
    for deployment in deployments:
        module, _, name = deployment["entrypoint"].rpartition(".")
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
        functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        assert name in functions, deployment["entrypoint"]


def test_task_names_are_unique() -> None:
    names = Counter(
        name
        for file in CODE
        for name in re.findall(r'^@task\(\s*name="([^"]+)"', file.read_text(), re.MULTILINE)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_every_spec_parses_and_is_named_after_its_workload() -> None:
    specs = sorted((ROOT / "deployments" / "specs").glob("*.yaml"))
    assert [load_spec(spec).workload for spec in specs] == [spec.stem for spec in specs]
