"""The parts of Kubernetes' objects that are read; everything else is skipped while decoding."""

from __future__ import annotations

from typing import Final

import msgspec

from edgefleet.edge.contract import Digest
from edgefleet.fleet.manifest_names import MANAGER, digest_in

MANAGED_BY: Final = "app.kubernetes.io/managed-by"


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Unknown fields are skipped, missing ones are empty."""


class Meta(Part, frozen=True):
    """Every object's."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    deletion_timestamp: str = ""

    @property
    def key(self) -> str:
        """`namespace/name`, the name alone of what is in no namespace."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Condition(Part, frozen=True):
    """A named yes, no or unknown."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    # Null where nobody stated one.
    last_transition_time: str | None = None
    last_heartbeat_time: str | None = None
    """Of a node's condition: when the kubelet last said so."""


class NodeInfo(Part, frozen=True):
    """What runs a node."""

    kubelet_version: str = ""


class NodeStatus(Part, frozen=True):
    """What a kubelet says of its node."""

    conditions: tuple[Condition, ...] = ()
    allocatable: dict[str, str] = {}
    node_info: NodeInfo = NodeInfo()


class Node(Part, frozen=True):
    """A node."""

    metadata: Meta
    status: NodeStatus = NodeStatus()


class Waiting(Part, frozen=True):
    """Why a container does not run."""

    reason: str = ""
    message: str = ""


class Ended(Part, frozen=True):
    """How a container ended."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""


class Running(Part, frozen=True):
    """Since when it runs."""

    started_at: str = ""


class State(Part, frozen=True):
    """One of three."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Ended | None = None


class ContainerStatus(Part, frozen=True):
    """A container as the kubelet sees it."""

    name: str = ""
    ready: bool = False
    state: State = State()
    last_state: State = State()
    image_id: str = msgspec.field(default="", name="imageID")
    restart_count: int = 0


class Resources(Part, frozen=True):
    """What a container reserves."""

    requests: dict[str, str] = {}


class Container(Part, frozen=True):
    """A container as it was ordered."""

    name: str = ""
    image: str = ""
    resources: Resources = Resources()


class PodSpec(Part, frozen=True):
    """A pod as it was ordered."""

    node_name: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()


class PodStatus(Part, frozen=True):
    """A pod as it is."""

    phase: str = ""
    start_time: str = ""
    conditions: tuple[Condition, ...] = ()
    pod_ip: str = msgspec.field(default="", name="podIP")
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(Part, frozen=True):
    """A pod."""

    metadata: Meta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ours(self) -> bool:
        """Whether edgefleet ordered it."""
        return self.metadata.labels.get(MANAGED_BY) == MANAGER

    @property
    def package(self) -> Digest | None:
        """What a pod of ours serves or holds; None: it is not ours."""
        return digest_in(self.spec.containers[0].image) if self.ours else None


class Template(Part, frozen=True):
    """What a Deployment's pods are made from."""

    spec: PodSpec = PodSpec()


class DeploymentSpec(Part, frozen=True):
    """A Deployment as it was ordered."""

    replicas: int = 1
    template: Template = Template()


class Deployment(Part, frozen=True):
    """A Deployment."""

    metadata: Meta
    spec: DeploymentSpec = DeploymentSpec()


class JobStatus(Part, frozen=True):
    """How a Job ended, if it did."""

    failed: int = 0
    conditions: tuple[Condition, ...] = ()


class Job(Part, frozen=True):
    """A Job."""

    metadata: Meta
    status: JobStatus = JobStatus()


class ConfigMap(Part, frozen=True):
    """A map of texts."""

    metadata: Meta
    data: dict[str, str] = {}


class ListMeta(Part, frozen=True):
    """Where a list was taken, and where it goes on."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class Cause(Part, frozen=True):
    """One of the reasons for a refusal, about one field."""

    reason: str = ""
    message: str = ""
    field: str = ""


class Details(Part, frozen=True):
    """What a refusal is about."""

    causes: tuple[Cause, ...] | None = None


class Problem(Part, frozen=True):
    """What the API server says when it refuses."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: Details | None = None


class Page(Part, frozen=True):
    """A part of a list; its items are decoded one by one."""

    metadata: ListMeta
    items: tuple[msgspec.Raw, ...] = ()


class Mark(Part, frozen=True):
    """An object of which the version alone is of interest."""

    metadata: Meta


class Event(Part, frozen=True):
    """A line of a watch."""

    type: str
    object: msgspec.Raw
