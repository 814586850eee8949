"""The sites of a file of clusters: several factories may share one, which is watched once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgefleet.adapters.kubernetes.api import Api
from edgefleet.adapters.kubernetes.cable import Cable
from edgefleet.adapters.kubernetes.cluster import Cluster
from edgefleet.adapters.kubernetes.config import Clusters
from edgefleet.adapters.kubernetes.forwarded import Ask
from edgefleet.adapters.kubernetes.site import KubernetesSite
from edgefleet.edge.contract import Digest
from edgefleet.errors import Refused
from edgefleet.ports import Image


def sites_of(
    file: Clusters,
    repository: str,
    describe: Callable[[Digest], Image],
    keys: Mapping[str, str],
    ask: Ask | None = None,
) -> dict[str, KubernetesSite]:
    """Return the site of every factory, by name.

    `repository`, `describe` and `keys`: of the packages, as `Manner` and `Cluster` have them;
    `ask`: the central Prometheus, None: there is none.

    Raises:
        Refused: a kubeconfig or its context is not there, or a Prometheus that a cluster needs.
    """
    sites = {}
    for entry in file.clusters:
        if entry.answers == "prometheus" and ask is None:
            problem = "its pods' answers come through Prometheus, and none is named"
            raise Refused(entry.name, problem, "Set EDGEFLEET_PROMETHEUS_URL")
        through = ask if entry.answers == "prometheus" else None
        api = Api.of_context(entry.name, entry.kubeconfig, entry.context)
        manner = entry.manner(repository)
        cluster = Cluster(api, manner, describe, keys, entry.settle_s, through)
        cable = Cable(entry.unplug, entry.notice_s)
        for factory in entry.sites():
            sites[factory.name] = KubernetesSite(factory.name, cluster, factory.selector, cable)
    return sites
