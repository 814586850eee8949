"""The pods of a Kubernetes site: pinned to a node, locked down, ready when they really serve."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from edgefleet.edge.contract import Digest, Needs, ServerSettings
from edgefleet.fleet.manifest_names import Manifest, Manner, image, shadow_key, shadow_map

CONTAINER: Final = "server"
VERIFIER: Final = "verify"
ERRAND: Final = {"cpu": "5m", "memory": "32Mi"}
"""Reserved by a container that does anything but serve."""
_USER: Final = 10001
MODELS: Final = "/models"
TRUST: Final = "/etc/edgefleet/trust"
_SHADOW_ORDERS: Final = "/etc/edgefleet/shadow"
_SHADOW: Final = "/shadow"
STATE: Final = "/state"
STORE: Final = "/state/store"
"""Of the models that were swapped into a server: in the node's folder, so that it outlives pods."""
_PYTHON: Final = "/usr/local/bin/python"
EDGE: Final = (_PYTHON, "-m", "edgefleet.edge")
TERMINATION_LOG: Final = [{"name": "TERMINATION_LOG", "value": "/dev/termination-log"}]
"""Where a container says why it ended, so that the pod's status shows it."""
TRUST_MAP: Final = "edgefleet-trust"


def serving_pod(
    manner: Manner,
    workload: str,
    node: str,
    digest: Digest,
    was: Digest | None,
    needs: Needs,
    *,
    swap: bool,
) -> Manifest:
    """Return the specification of a pod that serves `digest`, `was` its shadow if there is one.

    `swap`: later packages come into the same pod, whose server then has what was as its shadow.
    """
    longest_s = max(manner.linger_s, manner.linger_max_s)
    shadowed = was is not None and was != digest and not swap
    settings = ServerSettings(
        workload=workload,
        node=node,
        digest=digest,
        package_dir=MODELS,
        trust_dir=TRUST,
        state_dir=STATE,
        store_dir=STORE if swap else None,
        private_socket=None,
        host="0.0.0.0",  # noqa: S104 - a pod's own address is not known before it runs
        port=manner.port,
        status_port=manner.status_port,
        shadow_digest=was if shadowed else None,
        shadow_dir=_SHADOW if shadowed else None,
        shadow_order_file=f"{_SHADOW_ORDERS}/{shadow_key(node)}",
        window_s=manner.window_s,
        warmup_windows=manner.warmup_windows,
        label_rate=manner.label_rate,
        threads=manner.threads,
        drain_s=manner.drain_s,
        linger_s=manner.linger_s,
        linger_max_s=longest_s,
    )
    inits = [_owner(manner, digest)]
    if was is not None and shadowed:
        inits.append(_champion(manner, was))
    server: Manifest = {
        "name": CONTAINER,
        "image": image(manner, digest),
        "imagePullPolicy": "IfNotPresent",
        "command": list(EDGE),
        "args": [msgspec.json.encode(settings).decode()],
        "ports": [
            {"name": "http", "containerPort": manner.port, "protocol": "TCP"},
            {"name": "status", "containerPort": manner.status_port, "protocol": "TCP"},
        ],
        # Loading may take as long as the roll-out: whoever is late is judged by the release.
        "startupProbe": _probe("/health", period=1, failures=manner.progress_s),
        "readinessProbe": _probe("/health", period=1, failures=3),
        "livenessProbe": _probe("/health/live", period=10, failures=6),
        "resources": _serving_resources(needs),
        "securityContext": locked(),
        "volumeMounts": [
            {"name": "trust", "mountPath": TRUST, "readOnly": True},
            {"name": "shadow-orders", "mountPath": _SHADOW_ORDERS, "readOnly": True},
            {"name": "state", "mountPath": STATE},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the root is read-only
            *([{"name": "shadow", "mountPath": _SHADOW}] if shadowed else []),
        ],
    }
    orders = mounted_map("shadow-orders", shadow_map(workload))
    orders["configMap"]["optional"] = True
    return {
        **placed(manner, node),
        **({"priorityClassName": manner.priority_class} if manner.priority_class else {}),
        "terminationGracePeriodSeconds": math.ceil(manner.drain_s + longest_s) + 5,
        # The first process of a process namespace is not sent what it neither handles nor blocks:
        # a server told to end before Python's first line would stay for the whole grace. In the
        # pod's namespace it is not the first.
        "shareProcessNamespace": True,
        "initContainers": inits,
        "containers": [server],
        "volumes": [
            mounted_map("trust", TRUST_MAP),
            orders,
            state_folder(manner, workload),
            {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
            *([{"name": "shadow", "emptyDir": {}}] if shadowed else []),
        ],
    }


def state_folder(manner: Manner, workload: str) -> Manifest:
    """Return the volume of the node's own folder for a workload."""
    folder = {"path": f"{manner.state_path}/{workload}", "type": "DirectoryOrCreate"}
    return {"name": "state", "hostPath": folder}


def _owner(manner: Manner, digest: Digest) -> Manifest:
    """Give the node's folder to the server's user: the kubelet makes it for root."""
    script = f"import os; os.chown({STATE!r}, {_USER}, {_USER})"
    return {
        "name": "own-state",
        "image": image(manner, digest),
        "imagePullPolicy": "IfNotPresent",
        "command": [_PYTHON, "-c", script],
        "securityContext": {
            **locked(),
            "runAsUser": 0,
            "runAsNonRoot": False,
            "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]},
        },
        "resources": errand_resources(),
        "volumeMounts": [{"name": "state", "mountPath": STATE}],
    }


def _champion(manner: Manner, was: Digest) -> Manifest:
    """Copy the model that served before into the new pod."""
    return {
        "name": "champion",
        "image": image(manner, was),
        "imagePullPolicy": "IfNotPresent",
        "command": [*EDGE, "copy", MODELS, _SHADOW],
        "securityContext": locked(),
        "resources": errand_resources(),
        "volumeMounts": [{"name": "shadow", "mountPath": _SHADOW}],
    }


def placed(manner: Manner, node: str) -> Manifest:
    """Return what every pod of ours has: its one node, and no more rights than it needs."""
    field_of_name = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = [{"matchFields": [field_of_name]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {
        "affinity": {"nodeAffinity": required},
        # Without seconds: a node that was cut off keeps its pods, however long it takes.
        "tolerations": [
            {"key": f"node.kubernetes.io/{state}", "operator": "Exists"}
            for state in ("not-ready", "unreachable")
        ]
        + [dict(item) for item in manner.tolerations],
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"imagePullSecrets": [{"name": manner.pull_secret}]} if manner.pull_secret else {}),
    }


def locked() -> Manifest:
    """Return a container's rights: none."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "status"},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def errand_resources() -> Manifest:
    """Return what a container reserves that copies, checks or holds, and the most it may take."""
    return {"requests": dict(ERRAND), "limits": {"memory": "96Mi"}}


def _serving_resources(needs: Needs) -> Manifest:
    """Memory is reserved whole; processor time may be more when the node has it to spare."""
    memory = f"{needs.memory_mb}M"
    devices = {name: str(count) for name, count in needs.devices.items()}
    return {
        "requests": {"cpu": f"{needs.cpu_millis}m", "memory": memory, **devices},
        "limits": {"memory": memory, **devices},
    }


def mounted_map(volume: str, name: str) -> Manifest:
    """Return a volume of a ConfigMap."""
    return {"name": volume, "configMap": {"name": name}}
