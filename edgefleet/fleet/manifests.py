"""What a Kubernetes site is asked to hold: one Deployment for each node and workload, and its kin.

Pure: from an order to JSON-shaped objects, the same for the same order. A Deployment is pinned to
its node and replaces its pod only when the new one is ready, so that somebody always serves. Each
object carries who it is for in labels, and the epoch under which it was ordered in an annotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgefleet.edge.contract import Digest, Needs
from edgefleet.fleet.manifest_names import (
    BASE,
    BYTES,
    DIGEST,
    EPOCH,
    FENCE,
    HELD,
    HOLD_UPGRADE,
    MANAGER,
    NODE,
    SOURCE,
    SWAP,
    WORKLOAD,
    Manifest,
    Manner,
    image,
    object_name,
    shadow_key,
    shadow_map,
)
from edgefleet.fleet.needs import for_two
from edgefleet.fleet.pods import (
    EDGE,
    MODELS,
    STATE,
    STORE,
    TERMINATION_LOG,
    TRUST,
    TRUST_MAP,
    VERIFIER,
    errand_resources,
    locked,
    mounted_map,
    placed,
    serving_pod,
    state_folder,
)

_SURGE: Final = {
    "type": "RollingUpdate",
    "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
}
_KEPT_S: Final = 3600
"""How long a Job that has ended can be looked at."""


def deployment(
    manner: Manner,
    *,
    workload: str,
    node: str,
    want: Digest | None,
    was: Digest | None,
    epoch: int,
    needs: Needs,
    swap: bool = False,
) -> Manifest:
    """Return the Deployment that makes `node` serve `want`; None: no replica at all.

    `was`, if any, is copied from its image into the new pod as the shadow: it is on the node
    already, so that no byte moves, and its image stays in use, so that the way back needs none.

    `swap`: its server holds two models, and takes later ones in place by `swap_job`: a second pod
    could not start beside it.
    """
    labels = {
        "app.kubernetes.io/name": workload,
        "app.kubernetes.io/managed-by": MANAGER,
        WORKLOAD: workload,
    }
    # A Deployment without replicas needs a template all the same: the last that there was.
    shown = want or was
    if shown is None:
        raise ValueError(f"{workload} on {node}: neither a package to serve nor one that was")
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": object_name(workload, node),
            "namespace": manner.namespace,
            "labels": labels,
            "annotations": {
                NODE: node,
                EPOCH: str(epoch),
                DIGEST: want or "",
                **({BASE: shown} if swap else {}),
            },
        },
        "spec": {
            "replicas": 0 if want is None else 1,
            "revisionHistoryLimit": 2,
            "minReadySeconds": manner.min_ready_s,
            "progressDeadlineSeconds": manner.progress_s,
            "selector": {"matchLabels": {WORKLOAD: workload, NODE: object_name(node)}},
            "strategy": {"type": "Recreate"} if swap else _SURGE,
            "template": {
                "metadata": {
                    "labels": {**labels, NODE: object_name(node)},
                    "annotations": {
                        NODE: node,
                        **({HOLD_UPGRADE: "true"} if manner.hold_upgrade else {}),
                    },
                },
                "spec": serving_pod(
                    manner,
                    workload,
                    node,
                    shown,
                    was if want else None,
                    for_two(needs) if swap else needs,
                    swap=swap,
                ),
            },
        },
    }


def swap_job(
    manner: Manner,
    *,
    workload: str,
    node: str,
    want: Digest,
    epoch: int,
    base: Digest,
    held: bool,
) -> Manifest:
    """Return the Job that puts a package into the server of a node and orders it to serve it.

    It runs the package's own image where the node holds it. Else the model must be in the server's
    store from before, and the order is given from `base`, the image that the pod was made from:
    that one is always there, so the way back needs no network.
    """
    labels = {"app.kubernetes.io/managed-by": MANAGER, SWAP: workload}
    order = [want, str(epoch), "--wait", str(manner.progress_s)]
    mounts = [
        {"name": "trust", "mountPath": TRUST, "readOnly": True},
        {"name": "state", "mountPath": STATE},
    ]
    bring = held or want == base
    words = ["swap", MODELS, TRUST, STORE] if bring else ["order", STORE]
    run = {
        "name": "swap",
        "image": image(manner, want if bring else base),
        "imagePullPolicy": "IfNotPresent",
        "command": [*EDGE, *words, *order],
        "env": TERMINATION_LOG,
        "securityContext": locked(),
        "resources": errand_resources(),
        "volumeMounts": mounts,
    }
    short = want.removeprefix("sha256:")[:12]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": object_name("swap", short, str(epoch), workload, node),
            "namespace": manner.namespace,
            "labels": labels,
            "annotations": {NODE: node, DIGEST: want, EPOCH: str(epoch)},
        },
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": _KEPT_S,
            "template": {
                "metadata": {"labels": labels, "annotations": {NODE: node, DIGEST: want}},
                "spec": {
                    **placed(manner, node),
                    "restartPolicy": "Never",
                    "containers": [run],
                    "volumes": [mounted_map("trust", TRUST_MAP), state_folder(manner, workload)],
                },
            },
        },
    }


def prepull_job(
    manner: Manner, *, node: str, digest: Digest, source: str = "wan", lacking_bytes: int = 0
) -> Manifest:
    """Return the Job that brings an image to a node, verifies it, and keeps it by running on."""
    labels = {"app.kubernetes.io/managed-by": MANAGER, HELD: digest.removeprefix("sha256:")[:63]}
    run = {
        "image": image(manner, digest),
        "imagePullPolicy": "IfNotPresent",
        "env": TERMINATION_LOG,
        "securityContext": locked(),
        "resources": errand_resources(),
        "volumeMounts": [{"name": "trust", "mountPath": TRUST, "readOnly": True}],
    }
    words = (MODELS, TRUST)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": object_name("hold", digest.removeprefix("sha256:")[:12], node),
            "namespace": manner.namespace,
            "labels": labels,
            "annotations": {
                NODE: node,
                DIGEST: digest,
                SOURCE: source,
                BYTES: str(lacking_bytes),
            },
        },
        "spec": {
            # What failed is shown, not tried again behind our back.
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": labels, "annotations": {NODE: node, DIGEST: digest}},
                "spec": {
                    **placed(manner, node),
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 1,
                    "initContainers": [
                        {"name": VERIFIER, "command": [*EDGE, "verify", *words], **run}
                    ],
                    "containers": [{"name": "hold", "command": [*EDGE, "hold", *words], **run}],
                    "volumes": [mounted_map("trust", TRUST_MAP)],
                },
            },
        },
    }


def service(manner: Manner, workload: str) -> Manifest:
    """Return the service by which a workload is reached, each node's clients by their own pod."""
    port: Manifest = {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}
    spec: Manifest = {
        "type": "ClusterIP",
        "selector": {WORKLOAD: workload},
        "internalTrafficPolicy": "Local",
        "ports": [port],
    }
    outside = manner.node_port_of(workload)
    if outside is not None:
        port["nodePort"] = outside
        spec |= {"type": "NodePort", "externalTrafficPolicy": "Local"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": object_name(workload),
            "namespace": manner.namespace,
            "labels": {"app.kubernetes.io/managed-by": MANAGER, WORKLOAD: workload},
        },
        "spec": spec,
    }


def fence(manner: Manner, workload: str, epoch: int) -> Manifest:
    """Return the map in which the admission policy reads the lowest epoch that may still order."""
    named = {"app.kubernetes.io/managed-by": MANAGER, WORKLOAD: workload, FENCE: "epoch"}
    return _map(manner, object_name("edgefleet-fence", workload), named, {"epoch": str(epoch)})


def trust(manner: Manner, keys: Mapping[str, str]) -> Manifest:
    """Return the map of the public keys (PEM by file name) whose signatures nodes accept."""
    return _map(manner, TRUST_MAP, {"app.kubernetes.io/managed-by": MANAGER}, dict(keys))


def shadow_orders(manner: Manner, workload: str, orders: Mapping[str, str]) -> Manifest:
    """Return the map of shadow orders (JSON by node) that the pods of a workload have mounted."""
    named = {"app.kubernetes.io/managed-by": MANAGER, WORKLOAD: workload}
    content = {shadow_key(node): order for node, order in orders.items()}
    return _map(manner, shadow_map(workload), named, content)


def _map(
    manner: Manner, name: str, labels: Mapping[str, str], content: Mapping[str, str]
) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": manner.namespace, "labels": dict(labels)},
        "data": dict(content),
    }
