"""Who may order, and what the others are told: drivers that slept, and a second operator."""

from __future__ import annotations

import subprocess
import threading
import urllib.error
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from edgefleet.adapters.kubernetes.api import Api
from edgefleet.adapters.kubernetes.cluster import Cluster
from edgefleet.adapters.kubernetes.owners import GIVE_BACK
from edgefleet.adapters.kubernetes.site import KubernetesSite
from edgefleet.edge.contract import Digest, Needs
from edgefleet.errors import Conflict, Fenced
from edgefleet.fleet import manifests
from edgefleet.fleet.inventory import Change
from edgefleet.fleet.manifest_names import MANAGER, object_name
from edgefleet.ports import Image
from tests.kubernetes.cluster.binaries import program
from tests.kubernetes.cluster.factory import NAMESPACE, Factory
from tests.kubernetes.cluster.remains import wait_for

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(180)]

OLD, NEW, OTHER = (Digest(f"sha256:{digit * 64}") for digit in "abc")
"""No image is behind them: what is looked at here are orders, not pods."""


class Interrupted(Api):
    """An API whose caller is stopped between its read and its write of a Deployment."""

    def stop_at_write(self) -> tuple[threading.Event, threading.Event]:
        """Return what says that the caller is at its write, and what lets it go on."""
        self.at_write, self.go_on = threading.Event(), threading.Event()
        return self.at_write, self.go_on

    def apply(self, path: str, body: Mapping[str, Any]) -> bytes:
        if "deployments" in path and hasattr(self, "go_on"):
            self.at_write.set()
            self.go_on.wait()
        return super().apply(path, body)


class Drivers:
    """Makes drivers, each with connections and knowledge of its own."""

    def __init__(self, factory: Factory) -> None:
        self.factory = factory
        self.made: list[Cluster] = []

    def api(self) -> Interrupted:
        made = Interrupted.of_context("graz", self.factory.driver, None)
        assert isinstance(made, Interrupted)
        return made

    def site(self, api: Api | None = None) -> KubernetesSite:
        manner = self.factory.manner()
        cluster = Cluster(api or self.api(), manner, lambda digest: Image(digest, ()), {})
        self.made.append(cluster)
        return KubernetesSite("graz", cluster)

    def change(self, workload: str, want: Digest, was: Digest | None, epoch: int) -> Change:
        return Change(workload, self.factory.nodes[0].name, "graz", want, was, epoch)

    def kubectl(self, *words: str, given: str = "") -> str:
        """Do something as a second operator does."""
        command = [program("kubectl"), "--kubeconfig", self.factory.plane.kubeconfig]
        whole = [*command, "-n", NAMESPACE, *words]
        try:
            done = subprocess.run(whole, input=given, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            error.add_note(error.stderr)
            raise
        return done.stdout

    def close(self) -> None:
        for cluster in self.made:
            cluster.close()
        # With their pods: whoever comes next sees all of a node's.
        words = ("--all", "--cascade=foreground", "--timeout=60s")
        self.kubectl("delete", "deployments,configmaps,services", *words)


@pytest.fixture
def drivers(factory: Factory) -> Iterator[Drivers]:
    made = Drivers(factory)
    yield made
    made.close()


def ordered(site: KubernetesSite, change: Change) -> Digest | None:
    return next(v.ordered for v in site.snapshot(change.workload) if v.node == change.node)


def test_a_driver_that_slept_between_its_read_and_its_write_is_refused(drivers: Drivers) -> None:
    api = drivers.api()
    slow, quick = drivers.site(api), drivers.site()
    first = drivers.change("sleeper", OLD, None, 5)
    slow.apply(first)
    at_write, go_on = api.stop_at_write()
    with ThreadPoolExecutor(1) as threads:
        late = threads.submit(slow.apply, drivers.change("sleeper", NEW, OLD, 5))
        assert at_write.wait(30)
        # A successor that has raised the fence only, for its first order goes to another node.
        quick.cluster.raise_fence("sleeper", 6)
        wait_until_known(drivers, "sleeper", 6)
        go_on.set()
        with pytest.raises(Fenced, match="epoch 5 may not order any more, 6 has begun"):
            late.result()
    assert ordered(quick, first) == OLD


def wait_until_known(drivers: Drivers, workload: str, epoch: int) -> None:
    """Wait until the API server's policies have seen a fence: a moment after it was written."""
    made = manifests.deployment(
        drivers.factory.manner(),
        workload=workload,
        node=drivers.factory.nodes[0].name,
        want=OTHER,
        was=OLD,
        epoch=epoch - 1,
        needs=Needs(),
    )
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{made['metadata']['name']}"
    dry = f"{path}?fieldManager={MANAGER}&force=true&dryRun=All"

    def refused() -> bool:
        try:
            drivers.factory.plane.ask("PATCH", dry, made, "application/apply-patch+yaml")
        except urllib.error.HTTPError as error:
            return f"{epoch} has begun" in error.read().decode()
        return False

    wait_for(refused, "the policy knows the fence", 30)


def test_a_fence_is_never_lowered(drivers: Drivers) -> None:
    site = drivers.site()
    site.apply(drivers.change("fenced", OLD, None, 7))
    name = object_name("edgefleet-fence", "fenced")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        drivers.kubectl("patch", "configmap", name, "-p", '{"data": {"epoch": "6"}}')
    assert "the fence is at 7, not lowered to 6" in refused.value.stderr


def test_a_second_operator_is_named_and_not_overwritten(drivers: Drivers) -> None:
    site = drivers.site()
    change = drivers.change("edited", OLD, None, 1)
    site.apply(change)
    name = object_name("edited", change.node)
    image = f"server=somewhere/else@{OTHER}"
    drivers.kubectl("set", "image", "--field-manager=kubectl-set", f"deployment/{name}", image)

    def reported() -> str:
        views = site.snapshot("edited")
        return next(view.problem for view in views if view.node == change.node)

    words = wait_for(reported, "the edit is seen", 30)
    changed = f"somebody changed {name}: it names {OTHER}, edgefleet ordered {OLD}"
    assert words == f"{changed}. {GIVE_BACK}"
    with pytest.raises(Conflict, match="expects"):
        site.apply(drivers.change("edited", NEW, OLD, 2))
    with pytest.raises(Conflict, match='conflict with "kubectl-set"'):
        site.apply(drivers.change("edited", NEW, OTHER, 2))
    assert ordered(site, change) == OTHER
    # What docs/kubernetes.md says that one does to give it back.
    ours = f"{drivers.factory.manner().repository}@{OLD}"
    now = drivers.kubectl("get", "deployment", name, "-o", "yaml")
    now = now.replace('edgefleet.org/epoch: "1"', 'edgefleet.org/epoch: "2"')
    now = now.replace(f"somewhere/else@{OTHER}", ours)
    words = ("apply", "--server-side", "--field-manager=edgefleet", "--force-conflicts", "-f", "-")
    drivers.kubectl(*words, given=now)
    wait_for(lambda: not reported(), "all is as it was ordered", 30)
    site.apply(drivers.change("edited", NEW, OLD, 2))
    assert ordered(site, change) == NEW


def test_two_drivers_with_one_epoch_cannot_both_write(drivers: Drivers) -> None:
    api = drivers.api()
    slow, quick = drivers.site(api), drivers.site()
    slow.apply(drivers.change("twins", OLD, None, 1))
    at_write, go_on = api.stop_at_write()
    with ThreadPoolExecutor(1) as threads:
        late = threads.submit(slow.apply, drivers.change("twins", NEW, OLD, 1))
        assert at_write.wait(30)
        quick.apply(drivers.change("twins", OTHER, OLD, 1))
        go_on.set()
        with pytest.raises(Conflict, match="expects"):
            late.result()
    assert ordered(quick, drivers.change("twins", OLD, None, 1)) == OTHER
