"""A control plane that exists: KUBECONFIG's. What is made in it is taken away again."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import urllib3
from kubernetes import config

from tests.kubernetes.cluster.binaries import program
from tests.kubernetes.cluster.hollow_pods import SWITCH
from tests.kubernetes.cluster.remains import Program, Remains, run

_CALLS: Final = 8


class Occupied(RuntimeError):
    """The cluster holds things that would be taken for the tests' own."""


class GivenPlane:
    """Somebody's cluster, as the current context of a kubeconfig file names it."""

    def __init__(self, remains: Remains, name: str, kubeconfig: Path, namespace: str) -> None:
        """Note how all that a hollow fleet makes is taken away, once nothing of it is there.

        Raises:
            Occupied: the namespace, kwok's stages or our nodes are there already.
        """
        self.name, self.kubeconfig = name, kubeconfig
        self.folder = remains.root / name
        self.folder.mkdir()
        self.programs: dict[str, Program] = {}
        self._client = config.new_client_from_config(config_file=str(kubeconfig))
        self.url: str = self._client.configuration.host
        made = (
            ("namespace", namespace),
            ("node", "--selector", SWITCH),
            ("customresourcedefinition", "stages.kwok.x-k8s.io"),
        )
        for words in made:
            found = run(*self._kubectl("get", *words, "--ignore-not-found", "--output=name"))
            if found.stdout.strip():
                raise Occupied(
                    f"{self.url} ({kubeconfig}) has {found.stdout.split()}: tests would take that "
                    "for their own. Name another cluster by KUBECONFIG, or delete it if an earlier "
                    "test left it"
                )
        for words in reversed(made):  # the namespace goes while its pods' nodes still end them
            undo = ("delete", *words, "--ignore-not-found", "--timeout=60s")
            remains.undo(*self._kubectl(*undo))

    def connections(self, **options: object) -> urllib3.PoolManager:
        """Return connections that may do what the kubeconfig's user may."""
        mine = dict(self._client.rest_client.pool_manager.connection_pool_kw)
        known = self._client.configuration.auth_settings().values()
        headers = {one["key"]: one["value"] for one in known if one["in"] == "header"}
        return urllib3.PoolManager(headers=headers, **{**mine, **options})

    def _kubectl(self, *words: str) -> tuple[str, ...]:
        return (str(program("kubectl")), f"--kubeconfig={self.kubeconfig}", *words)
