"""What kubectl makes of the agents of two factories in one cluster."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes.cluster.binaries import Missing, program
from tests.kubernetes.cluster.remains import run

pytestmark = pytest.mark.kubernetes

INFRA = Path(__file__).parents[2] / "infra"


def agents(factory: str, folder: Path) -> dict[str, Any]:
    """Do what docs/kubeedge.md says; return what would be applied, by kind."""
    try:
        kubectl = program("kubectl")
    except Missing as missing:
        pytest.skip(str(missing))
    copy = folder / factory
    shutil.copytree(INFRA / "kubeedge", copy)
    run("sed", "-i", f"s/FACTORY/{factory}/", *copy.iterdir())
    return {
        made["kind"]: made for made in yaml.safe_load_all(run(kubectl, "kustomize", copy).stdout)
    }


def test_the_agents_of_one_factory_leave_another_s_alone(tmp_path: Path) -> None:
    linz, brno = (agents(factory, tmp_path) for factory in ("linz", "brno"))
    kinds = {"ServiceAccount", "Role", "RoleBinding", "ConfigMap", "DaemonSet"}
    assert linz.keys() == brno.keys() == kinds
    for kind in kinds:
        assert linz[kind]["metadata"]["name"] != brno[kind]["metadata"]["name"]
    selectors = [one["DaemonSet"]["spec"]["selector"]["matchLabels"] for one in (linz, brno)]
    assert [selector["edgefleet.org/factory"] for selector in selectors] == ["linz", "brno"]


def test_the_agents_of_a_factory_are_of_one_piece(tmp_path: Path) -> None:
    linz = agents("linz", tmp_path)
    names = {kind: made["metadata"]["name"] for kind, made in linz.items()}
    spec = linz["DaemonSet"]["spec"]
    pod = spec["template"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert pod["serviceAccountName"] == names["ServiceAccount"]
    assert pod["volumes"][0]["configMap"]["name"] == names["ConfigMap"]
    assert pod["nodeSelector"]["factory"] == "linz"
    assert linz["RoleBinding"]["roleRef"]["name"] == names["Role"]
    [subject] = linz["RoleBinding"]["subjects"]
    assert subject["name"] == names["ServiceAccount"]
    assert "factory: linz" in linz["ConfigMap"]["data"]["agent.yml"]
