"""The agents of all kinds of factories forward the same, by the same labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

INFRA = Path(__file__).parents[2] / "infra"


def config(of: str) -> Any:
    return yaml.safe_load((INFRA / of / "agent.yml").read_text())


def test_an_edge_s_agent_differs_only_in_how_it_finds_pods() -> None:
    factory, edge = config("prometheus"), config("kubeedge")
    [found] = edge["scrape_configs"][0]["kubernetes_sd_configs"]
    for own in ("api_server", "authorization", "tls_config"):
        del found[own]
    assert factory == edge


def test_kinds_of_factories_run_their_agents_with_the_same_flags_but_for_the_door() -> None:
    def flags(of: str, kind: str) -> set[str]:
        for one in yaml.safe_load_all((INFRA / of / "agent.yaml").read_text()):
            if one["kind"] == kind:
                [container] = one["spec"]["template"]["spec"]["containers"]
                return {arg for arg in container["args"] if "listen-address" not in arg}
        raise LookupError(kind)

    assert flags("prometheus", "Deployment") == flags("kubeedge", "DaemonSet")


@pytest.mark.parametrize("of", ["prometheus", "kubeedge"])
def test_what_is_said_of_an_agent_s_version_is_true_of_its_flags(of: str) -> None:
    """Prometheus 3 ends at once with the flag of 2.x."""
    flag, later = "--enable-feature=agent", "--agent"
    words = (INFRA / of / "kustomization.yaml").read_text()
    [image] = yaml.safe_load(words)["images"]
    assert image["newTag"].startswith("v2.")
    assert f"- {flag} # on Prometheus 3.x: {later}" in (INFRA / of / "agent.yaml").read_text()
    assert "2.39 to 2.x" in words
    assert f"`{later}`" in words


def test_the_agents_of_a_factory_of_many_carry_its_name() -> None:
    """What kubectl makes of it is seen in tests/kubernetes/test_agents.py."""
    made = yaml.safe_load((INFRA / "kubeedge" / "kustomization.yaml").read_text())
    assert made["nameSuffix"] == "-FACTORY"
    own = {"pairs": {"edgefleet.org/factory": "FACTORY"}, "includeSelectors": True}
    assert made["labels"] == [own]
