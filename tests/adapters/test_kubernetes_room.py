"""What a node of a cluster has left for one more server, by what its pods have reserved."""

from edgefleet.adapters.kubernetes.objects import (
    Container,
    Meta,
    Node,
    NodeStatus,
    Pod,
    PodSpec,
    PodStatus,
    Resources,
)
from edgefleet.adapters.kubernetes.room import free_on

NODE = Node(
    metadata=Meta(name="n1"),
    status=NodeStatus(
        allocatable={"cpu": "2", "memory": "1Gi", "pods": "110", "nvidia.com/gpu": "1"}
    ),
)
ERRAND_MILLIS = 5
"""... and 32 MiB, for the pre-pull that comes first."""


def container(**requests: str) -> Container:
    stated = {name.replace("gpu", "nvidia.com/gpu"): text for name, text in requests.items()}
    return Container(resources=Resources(requests=stated))


def pod(*containers: Container, init: Container | None = None, phase: str = "Running") -> Pod:
    spec = PodSpec(node_name="n1", containers=containers, init_containers=(init,) if init else ())
    return Pod(metadata=Meta(name="p"), spec=spec, status=PodStatus(phase=phase))


def test_an_empty_node_has_all_but_what_the_pre_pull_takes() -> None:
    free = free_on(NODE, [])
    assert free.cpu_millis == 2000 - ERRAND_MILLIS
    assert free.memory_mb == int((2**30 - 32 * 2**20) / 1e6)
    assert free.devices == {"nvidia.com/gpu": 1}


def test_what_runs_is_taken_off_whoever_it_belongs_to() -> None:
    mine = pod(container(cpu="250m", memory="256M", gpu="1"))
    others = pod(container(cpu="100m"), container(memory="128Mi"))
    free = free_on(NODE, [mine, others])
    assert free.cpu_millis == 2000 - 350 - ERRAND_MILLIS
    assert free.memory_mb == int((2**30 - 256e6 - 128 * 2**20 - 32 * 2**20) / 1e6)
    assert free.devices == {"nvidia.com/gpu": 0}


def test_a_hungry_init_container_counts_and_what_has_ended_does_not() -> None:
    hungry = pod(container(memory="100M"), init=container(memory="300M"))
    ended = pod(container(memory="500M"), phase="Succeeded")
    free = free_on(NODE, [hungry, ended])
    assert free.memory_mb == int((2**30 - 300e6 - 32 * 2**20) / 1e6)


def test_a_pod_that_is_not_placed_yet_takes_nothing() -> None:
    waiting = Pod(metadata=Meta(name="p"), spec=PodSpec(containers=(container(cpu="1"),)))
    assert free_on(NODE, [waiting]) == free_on(NODE, [])
