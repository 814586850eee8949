"""A workload's spec: what people write, checked where it enters.

One YAML file per workload in deployments/specs/. Unknown fields are refused, every default is the
sensible one, units are in the names. The spec is frozen into the ledger with each release.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from edgefleet.calendars import Freeze, MaintenanceWindow
from edgefleet.lab import Quantization, Validation
from edgefleet.written import Few, Most, Part, Share, parse, read

On = Literal["tag", "alias", "any"]
Newer = Literal["queue", "supersede"]


class Approval(Part):
    """Who has to say yes, and by when."""

    before_rollout: Literal["required", "auto"] = "required"
    """`required` asks a person in Prefect's UI; with `auto` the spec itself says yes."""
    before_fleet: Literal["required", "auto", "on_inconclusive"] = "auto"
    """After the canary: `required` asks again once it has passed, before any other node is changed.
    `on_inconclusive` asks about one that neither passed nor failed, which otherwise is held (see
    `gates.when_unsure`); one that passed goes on."""
    timeout_h: Annotated[float, Field(gt=0)] = 72
    """Hours after which no answer is a no, each time that somebody is asked."""
    held_h: Annotated[float, Field(gt=0)] = 24
    """Hours after which a release that is held, and about which nobody decided, goes back."""


class Prepull(Part):
    """How gently images reach a factory."""

    nodes_at_once: Annotated[int, Field(ge=1)] = 2
    """Pulls at one time in a factory; the first one goes alone and seeds the others."""
    starts_per_min: Annotated[float, Field(gt=0)] = 30
    """Pulls begun a minute in a factory, of all its workloads together."""
    timeout_s: Annotated[float, Field(gt=0)] = 900
    """Seconds after which a node without the image keeps what it serves, and counts as failed."""


class Canary(Part):
    """The first wave: drawn; never a whole line (label `line`), while there are other nodes."""

    fraction: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Share of the nodes that can change now, rounded up."""
    min_nodes: Annotated[int, Field(ge=1)] = 5
    """Never fewer: a fleet without so many and one control is refused, but for a first release."""
    nodes: tuple[str, ...] = ()
    """Hand-picked: allowed, and it voids the draw's guarantee; the plan and verdict say so."""


class Waves(Part):
    """How the rest follows."""

    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.25, 0.5, 1.0)
    """Cumulative shares of the nodes after the canary and before the holdback."""
    holdback: Share = 0.05
    """Kept as control to the end; at least the canary's min_nodes, if the fleet has them."""
    update: Literal["auto", "surge", "swap"] = "auto"
    """How a node changes: `surge` starts the new server beside the old one, `swap` puts the new
    model into the old one's process, `auto` swaps where the model needs an exclusive device. The
    local fleet always surges."""
    at_once_per_factory: Annotated[int, Field(ge=1)] = 1
    """Nodes that change at one time in a factory."""
    ready_timeout_s: Annotated[float, Field(gt=0)] = 120
    """How long one node may take to serve; longer is a failed node."""
    max_failed: Share = 0.1
    """Share of a wave's nodes that may fail; with more, everything goes back."""
    windows: Annotated[int, Field(ge=0)] = 3
    """Windows of evidence looked at after each wave. They are waited for until `min_node_share` of
    its changed nodes were heard of; after `max_windows` without, the release is held."""


class AccuracyGate(Part):
    """Accuracy against the champion."""

    source: Literal["labels", "agreement", "none"] = "labels"
    """What the plant can tell: `labels` of a QA station, `agreement` of the new answers with the
    old ones, or `none`."""
    margin_pt: Annotated[float, Field(gt=0, le=50)] = 2.0
    """A loss of so many points is still accepted."""
    min_agreement: Most = 0.9
    """Share of shadowed answers that agree, below 1; the gate where source is `agreement`."""


class LatencyGate(Part):
    """Latency quantiles against the controls."""

    margin_pct: Annotated[float, Field(gt=0)] = 15.0
    """Slower by so many percent is still accepted, at each quantile."""
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.95, 0.99)
    """0.99 is p99."""


class ErrorGate(Part):
    """Server errors against the controls."""

    margin_pt: Annotated[float, Field(gt=0, le=50)] = 0.3
    """So many points more of failed requests are still accepted."""


class Floors(Part):
    """Absolute: they judge a first release, and hold for every later one."""

    accuracy: Most | None = None
    """Least share of right answers, below 1, where `source` is `labels`; none: nothing is
    required."""
    p99_ms: Annotated[float, Field(gt=0)] | None = None
    """Longest p99 in milliseconds; none: nothing is required."""
    error_rate: Few = 0.01
    """Largest share of failed requests, above 0."""


G = TypeVar("G", AccuracyGate, LatencyGate, ErrorGate)


class Gates(Part):
    """What the evidence must show, at which error rates."""

    accuracy: AccuracyGate = AccuracyGate()
    latency: LatencyGate = LatencyGate()
    errors: ErrorGate = ErrorGate()
    floors: Floors = Floors()
    window_s: Annotated[float, Field(gt=0)] = 60.0
    """Length of a window of evidence; the nodes must count in the same ones."""
    min_windows: Annotated[int, Field(ge=1)] = 10
    """No PASS before so many windows, however clear it is."""
    urgent_min_windows: Annotated[int, Field(ge=1)] = 3
    """The same for a release that was asked for with `--urgent`, where it is fewer; the error rates
    hold, so a small loss may then stay unsure."""
    max_windows: Annotated[int, Field(ge=1)] = 60
    """Without a verdict after so many, `when_unsure` decides."""
    look_every: Annotated[int, Field(ge=1)] = 1
    """Windows from one look at the canary to the next; it changes no error rate."""
    pre_windows: Annotated[int, Field(ge=0)] = 60
    """Windows before the change with which each node is compared; fewer than 5: with none."""
    alpha_fail: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """Probability that a model without any difference is sent back at the canary; all later waves
    together may add as much."""
    alpha_pass: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Probability that a model which is worse by a margin passes."""
    min_labels: Annotated[int, Field(ge=1)] = 50
    """Labelled requests (shadowed ones for `agreement`) without which accuracy has no verdict."""
    min_requests: Annotated[int, Field(ge=1)] = 500
    """Requests of the canary without which latency and errors have no verdict."""
    min_node_share: Share = 0.6
    """Share of the canary's nodes that must have given evidence."""
    label_rate: Share = 0.1
    """Share of the requests whose true label is wanted, in a rehearsal; real nodes follow their
    site's configuration (fleet.yaml)."""
    shadow_rate: Share = 0.2
    """Share of the requests that the champion answers too, on canary and control nodes."""
    when_unsure: Literal["hold", "revert"] = "hold"
    """`hold` waits for a person, `revert` goes back to the champion."""

    @model_validator(mode="after")
    def _shadowed(self) -> Gates:
        if self.accuracy.source == "agreement" and not self.shadow_rate:
            message = (
                "accuracy.source: agreement needs answers of both models, and shadow_rate: 0 "
                "gives none: raise shadow_rate, or judge by labels or none"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _ordered(self) -> Gates:
        if self.max_windows < self.min_windows:
            message = (
                f"max_windows {self.max_windows} is below min_windows {self.min_windows}: "
                "no verdict could ever be given"
            )
            raise ValueError(message)
        return self


class Guard(Part):
    """What watches over a champion once it is released (docs/guard.md); margins are the gates'."""

    action: Literal["propose", "perform", "off"] = "propose"
    """`propose` tells people what was found and what they can do; `perform` goes back by itself
    where the model is to blame, and tells them; `off` watches nothing."""
    shadow_days: Annotated[float, Field(ge=0)] = 7
    """Days after the release for which the model before it answers a sample of the requests again,
    so that a loss of the model can be told from what happens to its surroundings."""
    shadow_rate: Share = 0.02
    """Share of the requests that it answers."""
    false_alarm_days: Annotated[float, Field(gt=0)] = 90
    """Mean days between false alarms of the workload, of all its nodes and factories together, if
    nothing gets worse by more than a margin."""
    learn_windows: Annotated[int, Field(ge=1)] = 1440
    """Windows of each node, those of its release among them, from which is learnt what is usual
    there. A loss that comes within them is partly taken for usual."""


def _wider(gate: G, **margins: float) -> G:
    """Return a gate with margins that are at least so wide."""
    own = {name: max(margin, getattr(gate, name)) for name, margin in margins.items()}
    return gate.model_copy(update=own)


class Spec(Part):
    """One inference job on a set of nodes, and how its models are released."""

    workload: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
    """The job's name: that of the spec file, and the beginning of each release's id."""
    model: Annotated[str, Field(min_length=1)]
    """The registered model whose versions are released."""
    fleet: str = "local"
    """The fleet's name, recorded with each release."""
    selector: dict[str, str]
    """Labels that a node must carry; all of them."""
    on: On = "tag"
    """Which versions of the model become releases by themselves (docs/triggers.md): those with the
    tag that `edgefleet register` sets, the one with the alias `candidate`, or any."""
    newer: Newer = "queue"
    """What a newer version does while a release is live: wait for its end, or take its place,
    unless that has begun to change nodes."""
    freeze: tuple[Freeze, ...] = ()
    """Days on which no release starts by itself; what is registered then waits for their end."""
    max_deferred: Share = 0.2
    """Share of the nodes that may be offline or on hold: above it the plan is refused, and at the
    end the release is held."""
    maintenance: tuple[MaintenanceWindow, ...] = ()
    quantization: Quantization = Quantization()
    validation: Validation = Validation()
    approval: Approval = Approval()
    prepull: Prepull = Prepull()
    canary: Canary = Canary()
    waves: Waves = Waves()
    gates: Gates = Gates()
    guard: Guard = Guard()

    @model_validator(mode="after")
    def _asked_or_reverted(self) -> Spec:
        if (self.approval.before_fleet, self.gates.when_unsure) == ("on_inconclusive", "revert"):
            message = (
                "approval.before_fleet: on_inconclusive asks about a canary that "
                "gates.when_unsure: revert takes back: leave one of them out"
            )
            raise ValueError(message)
        return self

    def urgent(self) -> Spec:
        """Return the spec of a release that cannot wait: all the same but for a shorter soak."""
        fewest = min(self.gates.min_windows, self.gates.urgent_min_windows)
        gates = self.gates.model_copy(update={"min_windows": fewest})
        return self.model_copy(update={"gates": gates})

    def going_back(self) -> Spec:
        """Return the spec of a release that goes back because somebody said so.

        Nobody is asked again, and it is judged for gross failure only: whoever goes back has a
        reason that the gates do not know, and the earlier package is known.
        """
        gates, short = self.gates, self.urgent().gates.min_windows
        wide = {
            "min_windows": short,
            "accuracy": _wider(gates.accuracy, margin_pt=20.0),
            "latency": _wider(gates.latency, margin_pct=200.0),
            "errors": _wider(gates.errors, margin_pt=5.0),
        }
        said = self.approval.model_copy(update={"before_rollout": "auto", "before_fleet": "auto"})
        update = {"gates": gates.model_copy(update=wide), "approval": said}
        return self.model_copy(update=update)

    def frozen(self, day: date) -> Freeze | None:
        """Return the freeze that a day (of UTC) belongs to, None if it belongs to none."""
        return next((f for f in self.freeze if f.first <= day <= f.last), None)


def parse_spec(text: str, origin: str) -> Spec:
    """Return the spec in a YAML (or JSON) text.

    Raises:
        Refused: it does not parse, or a field is unknown, missing or out of range: all are named.
    """
    return parse(Spec, text, origin, "docs/spec.md", "spec")


def load_spec(path: Path) -> Spec:
    """Return the spec in a file.

    Raises:
        Refused: the file is missing or its content is refused.
    """
    return parse_spec(read(path, "a spec file"), str(path))
