"""What kwok plays: stages of nodes and pods, kept in the API server, so that a test may add some.

A stage that fails weighs more than those of stages.yaml and is taken in their place. It concerns a
package, and the nodes that are named; both are in the pod itself, which is all that a stage sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

Stage = dict[str, Any]

KIND = {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage"}
PATH = "/apis/kwok.x-k8s.io/v1alpha1/stages"
_BEGUN = {
    "jq": {
        "key": ".status.containerStatuses.[].state.waiting.reason",
        "operator": "In",
        "values": ["ContainerCreating"],
    }
}
_RUNS = {
    "jq": {
        "key": ".status.containerStatuses.[].state.running.startedAt",
        "operator": "Exists",
    }
}


class Failing(StrEnum):
    """How a package fails on a hollow node."""

    SLOW_PULL = "slow-pull"
    """Its pre-pull takes `seconds`; a server finds the image that was pulled before."""
    NO_PULL = "no-pull"
    """No pod gets it, and `message` says why."""
    NEVER_READY = "never-ready"
    """Its server runs, and loads for ever."""
    HELD_BACK = "held-back"
    """Its edge has it and waits for its operator's word (KubeEdge's HeldUpgrade)."""
    CRASHES = "crashes"
    """Its server ends after each start, and `message` is what it wrote last."""


@dataclass(frozen=True)
class Failure:
    """One package (empty: each) that fails, on some nodes (none named: on all)."""

    how: Failing
    digest: str = ""
    nodes: Sequence[str] = ()
    seconds: float = 10.0
    message: str = ""

    def stage(self, name: str) -> Stage:
        """Return the stage that brings it about."""
        match self.how:
            case Failing.SLOW_PULL:
                [running] = [one for one in base() if one["metadata"]["name"] == "pod-running"]
                slow = {"durationMilliseconds": round(self.seconds * 1000)}
                return self._of(name, [_BEGUN, _job(holds=True)], running["spec"]["steps"], slow)
            case Failing.NO_PULL:
                waiting = {"reason": "ErrImagePull", "message": self.message}
                return self._of(name, [_BEGUN], _ending({"waiting": waiting}))
            case Failing.NEVER_READY:
                # It matches for ever, and nothing of it is ever played.
                day = {"durationMilliseconds": 86_400_000}
                return self._of(name, [_RUNS, _job(holds=False)], [], day)
            case Failing.HELD_BACK:
                waiting = {"reason": "PodInitializing"}
                conditions = [{"type": "HeldUpgrade", "status": "True"}]
                steps = _ending({"waiting": waiting}, conditions=conditions)
                return self._of(name, [_BEGUN, _job(holds=False)], steps)
        ended = {"exitCode": 1, "reason": "Error", "message": self.message}
        waiting = {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}
        steps = _ending({"waiting": waiting}, {"terminated": ended})
        return self._of(name, [_BEGUN, _job(holds=False)], steps)

    def _of(
        self,
        name: str,
        conditions: Sequence[dict[str, Any]],
        steps: Sequence[dict[str, Any]],
        delay: dict[str, int] | None = None,
    ) -> Stage:
        image = '.spec.containers.[].image | split("@") | last'
        expressions = [
            {"jq": {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}},
            *conditions,
        ]
        if self.digest:
            which = {"key": image, "operator": "In", "values": [self.digest]}
            expressions.append({"jq": which})
        if self.nodes:
            where = {"key": ".spec.nodeName", "operator": "In", "values": [*self.nodes]}
            expressions.append({"jq": where})
        return {
            **KIND,
            "metadata": {"name": name},
            "spec": {
                "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
                "selector": {"matchExpressions": expressions},
                "weight": 1,
                "delay": delay or {"durationMilliseconds": 200},
                "steps": [*steps],
            },
        }


def _job(*, holds: bool) -> dict[str, Any]:
    operator = "Exists" if holds else "DoesNotExist"
    return {"jq": {"key": '.metadata.labels["job-name"]', "operator": operator}}


def _ending(
    state: dict[str, Any],
    last: dict[str, Any] | None = None,
    conditions: Sequence[dict[str, str]] = (),
) -> list[dict[str, Any]]:
    """Return the step that leaves all containers in a state, and the pod in conditions."""
    restarts, phase = (3, "Running") if last else (0, "Pending")
    shown = yaml.safe_dump([*conditions], default_flow_style=True, width=10_000).strip()
    # JSON is YAML too, and quotes as the template needs it.
    template = f"""\
phase: {phase}
{f"conditions: {shown}" if conditions else ""}
containerStatuses:
{{{{ range .spec.containers }}}}
- name: {{{{ .name | Quote }}}}
  image: {{{{ .image | Quote }}}}
  imageID: {{{{ {".image" if last else '""'} | Quote }}}}
  ready: false
  started: false
  restartCount: {restarts}
  state: {yaml.safe_dump(state, default_flow_style=True, width=10_000).strip()}
  lastState: {yaml.safe_dump(last or {}, default_flow_style=True, width=10_000).strip()}
{{{{ end }}}}
"""
    return [{"patch": {"subresource": "status", "root": "status", "template": template}}]


def base() -> list[Stage]:
    """Return how all goes well."""
    found = yaml.safe_load((Path(__file__).parent / "stages.yaml").read_text())
    return [{**KIND, **stage} for stage in found]


def definition() -> dict[str, Any]:
    """Return the definition of stages as a resource; what is in them kwok checks itself."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "stages.kwok.x-k8s.io"},
        "spec": {
            "group": "kwok.x-k8s.io",
            "scope": "Cluster",
            "names": {"kind": "Stage", "listKind": "StageList", "plural": "stages"},
            "versions": [
                {
                    "name": "v1alpha1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": anything},
                }
            ],
        },
    }
