"""A node is of one factory, or the file of the clusters is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefleet.adapters.kubernetes.config import load_clusters
from edgefleet.errors import Refused

CENTRE = "clusters: [{name: centre, factories: [%s]}]"


def written(folder: Path, *factories: str) -> Path:
    file = folder / "clusters.yaml"
    file.write_text(CENTRE % ", ".join(factories))
    return file


def test_factories_of_one_api_are_told_apart_by_a_label(tmp_path: Path) -> None:
    linz = "{name: linz, selector: {factory: linz, line: camera}}"
    brno = "{name: brno, selector: {factory: brno}}"
    [centre] = load_clusters(written(tmp_path, linz, brno)).clusters
    assert [site.name for site in centre.sites()] == ["linz", "brno"]


@pytest.mark.parametrize(
    "other",
    [
        "{name: brno}",
        "{name: brno, selector: {site: brno}}",
        "{name: brno, selector: {factory: linz, line: camera}}",
    ],
)
def test_two_factories_that_may_have_a_node_in_common_are_refused(
    tmp_path: Path, other: str
) -> None:
    linz = "{name: linz, selector: {factory: linz}}"
    with pytest.raises(Refused, match="a node may be of linz and of brno"):
        load_clusters(written(tmp_path, linz, other))


def test_a_cluster_may_name_what_unplugs_its_nodes(tmp_path: Path) -> None:
    file = tmp_path / "clusters.yaml"
    file.write_text("clusters: [{name: linz, unplug: [/bin/unplug, switch-3], notice_s: 45}]")
    [linz] = load_clusters(file).clusters
    assert (linz.unplug, linz.notice_s) == (("/bin/unplug", "switch-3"), 45)


def test_workloads_of_a_cluster_have_node_ports_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "clusters.yaml"
    file.write_text("clusters: [{name: linz, pods: {node_port: {caps: 30080, lids: 30081}}}]")
    [linz] = load_clusters(file).clusters
    manner = linz.manner("packages")
    ports = [manner.node_port_of(workload) for workload in ("caps", "lids", "seals")]
    assert ports == [30080, 30081, None]


def test_a_node_port_of_two_workloads_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "clusters.yaml"
    file.write_text("clusters: [{name: linz, pods: {node_port: {caps: 30080, lids: 30080}}}]")
    with pytest.raises(Refused, match="node_port: caps and lids both have 30080"):
        load_clusters(file)


def test_a_node_port_out_of_their_range_is_refused_by_its_workload(tmp_path: Path) -> None:
    file = tmp_path / "clusters.yaml"
    file.write_text("clusters: [{name: linz, pods: {node_port: {caps: 80}}}]")
    with pytest.raises(Refused, match=r"node_port.*caps: .*30000.*got 80"):
        load_clusters(file)


def test_what_unplugs_nodes_is_a_list_since_no_shell_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "clusters.yaml"
    file.write_text("clusters: [{name: linz, unplug: /bin/unplug switch-3}]")
    with pytest.raises(Refused, match=r"clusters\.0\.unplug"):
        load_clusters(file)
