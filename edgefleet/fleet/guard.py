"""The guard over a champion: is it still as good as its release showed, at each node, factory, all?

Sequential detectors (`detectors`) on the errors of answers with a label, on failed requests, and on
requests that the model before it answers too. Each place is compared with what is usual there,
less the gate's margin, or less three standard errors while little is known. All alarms together
come falsely after `guard.false_alarm_days` on average, or later. Every window of a node counts
once, in the order in which it comes; a node that was cut off counts its old windows for itself.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from edgefleet.edge.contract import Digest, Evidence
from edgefleet.fleet.alarms import Alarm, Cause
from edgefleet.fleet.cells import Span, tally
from edgefleet.fleet.inventory import Inventory
from edgefleet.fleet.places import FLEET, factory_key, node_of, places_of
from edgefleet.fleet.stats import Floats
from edgefleet.fleet.streams import Counts, Kept, Streams, metrics_of, streams_of
from edgefleet.fleet.tally import capped
from edgefleet.spec import Spec

Records = Mapping[str, Sequence[Evidence]]

_DAY_S: Final = 86400.0
_KEPT: Final = 240
"""Windows that a node keeps."""
_NOTHING: Final = Kept({}, {}, {})


@dataclass(frozen=True, slots=True)
class GuardState:
    """Where the guard stands; stored after every run, under the champion's release."""

    window: int
    """The last one that counted for factories and the fleet."""
    factories: Mapping[str, str] = field(default_factory=dict)
    """Factory of each node that is watched."""
    last: Mapping[str, int] = field(default_factory=dict)
    """The last window of each node that counted."""
    metrics: Mapping[str, Kept] = field(default_factory=dict)
    alarms: tuple[Alarm, ...] = ()


def boundary(spec: Spec) -> float:
    """Return windows between false alarms: what the weighted sum of all streams has to reach."""
    return spec.guard.false_alarm_days * _DAY_S / spec.gates.window_s


def begun(spec: Spec, records: Records, digest: Digest, factories: Mapping[str, str]) -> GuardState:
    """Return the state at a release's end: what it showed on its way is what is usual."""
    windows = [record.window for found in records.values() for record in found]
    state = GuardState(min(windows, default=0) - 1, factories)
    return Run(spec, state).over(records, digest, max(windows, default=0), learn_only=True)


def watched(
    state: GuardState, spec: Spec, records: Records, digest: Digest, upto: int
) -> GuardState:
    """Return the state after all windows up to `upto`; those that counted already do not again."""
    return Run(spec, state).over(records, digest, upto, learn_only=False)


def at_places(state: GuardState, spec: Spec, inventory: Inventory) -> GuardState:
    """Return the state over the nodes that are there now; those of a silent factory stay."""
    there = {
        view.node: view.factory
        for view in inventory.nodes
        if spec.selector.items() <= view.labels.items()
    }
    silent = {n: factory for n, factory in state.factories.items() if factory in inventory.silent}
    return replace(state, factories={**silent, **there})


def from_now_on(state: GuardState, first: int) -> GuardState:
    """Return the state of a guard that counts no window before `first`."""
    last = {node: max(window, first - 1) for node, window in state.last.items()}
    return replace(state, window=max(state.window, first - 1), last=last)


def acknowledged(state: GuardState) -> GuardState:
    """Return the state after somebody took note of all alarms: what is usual stays as it was."""
    metrics = {name: Kept(kept.learnt, {}, {}) for name, kept in state.metrics.items()}
    return replace(state, metrics=metrics, alarms=())


def after_of(state: GuardState, nodes: Collection[str]) -> int:
    """Return after which window the records of some nodes are still wanted, and can be had."""
    last = (state.last.get(node, state.window) for node in nodes)
    return max(min(last, default=state.window), state.window - _KEPT)


def news(before: GuardState, now: GuardState) -> tuple[Alarm, ...]:
    """Return alarms that are new, or whose cause is."""
    known = {(alarm.place, alarm.metric, alarm.cause) for alarm in before.alarms}
    return tuple(a for a in now.alarms if (a.place, a.metric, a.cause) not in known)


class Run:
    """One run over windows, each with the counts of all nodes."""

    def __init__(self, spec: Spec, state: GuardState) -> None:
        """Go on from where a state stands."""
        self._state = state
        self.places = places_of(tuple(state.factories.items()))
        metrics = metrics_of(spec)
        self._streams = [
            streams_of(metric, spec, self.places, state.metrics.get(metric, _NOTHING))
            for metric in metrics
        ]
        self.alarms = list(state.alarms)
        self._boundary = math.log(boundary(spec) * len(metrics)) - np.log(self.places.weights)

    def over(self, records: Records, digest: Digest, upto: int, *, learn_only: bool) -> GuardState:
        """Return the state after the windows up to `upto`."""
        for window, of_nodes in self._windows(records, digest, upto):
            self.count(window, of_nodes, learn_only=learn_only)
        known = {
            node: max(windows)
            for node in self.places.nodes
            if (windows := [r.window for r in records.get(node, ()) if r.window <= upto])
        }
        last = {node: max(at, self._state.last.get(node, at)) for node, at in known.items()}
        return self.state(max(upto, self._state.window), {**self._state.last, **last})

    def count(self, window: int, of_nodes: Counts, *, learn_only: bool = False) -> None:
        """Let a window count: for the bets first, then for what is usual."""
        on_time = window > self._state.window
        counts = Counts(*(self.places.pooled(n, on_time=on_time) for n in of_nodes))
        for streams in self._streams:
            if not learn_only:
                streams.step(window, counts, self._raised(streams.metric))
                self._raise(streams, window)
            streams.learn(window, counts)

    def state(self, window: int, last: Mapping[str, int]) -> GuardState:
        """Return what is to be stored, `window` and `last` being the last ones that counted."""
        return GuardState(
            window,
            self._state.factories,
            last,
            {streams.metric: streams.kept() for streams in self._streams},
            self.told(),
        )

    def told(self) -> tuple[Alarm, ...]:
        """Return all alarms, each with its cause where that can be told by now."""
        return tuple(self._told(alarm) for alarm in self.alarms)

    def _windows(self, records: Records, digest: Digest, upto: int) -> Iterator[tuple[int, Counts]]:
        """Yield the nodes' counts of each window that is still to count."""
        state = self._state
        spans = [
            Span(node, digest, state.last.get(node, state.window) + 1) for node in self.places.nodes
        ]
        if not spans:
            return
        first = min(span.first for span in spans)
        found = tally(records, spans, upto)
        c = found.counts
        tables = (
            *(c["labelled"], c["labelled"] - c["correct"], found.requests),
            capped(found.errors, found.requests),
            *(c["paired"], c["gains"], c["losses"]),
            *(c["shadowed"], c["shadow_gains"], c["shadow_losses"]),
            *(np.maximum(c["disagreed"] - c["disagreed_labelled"], 0), c["disagreed"]),
        )
        for column in range(found.seen.shape[1]):
            window = first + column
            yield window, Counts(*(table[:, column] for table in tables))

    def _raised(self, metric: str) -> Floats:
        known = {alarm.place for alarm in self.alarms if alarm.metric == metric}
        return np.array([key in known for key in self.places.keys], dtype=np.float64)

    def _raise(self, streams: Streams, window: int) -> None:
        """Raise what reached its boundary: the widest first, and nothing inside of what is."""
        for row in reversed(streams.reached(self._boundary)):
            key = self.places.keys[row]
            known = {alarm.place for alarm in self.alarms if alarm.metric == streams.metric}
            if known.isdisjoint({key, *self._around(key)}):
                self.alarms.append(streams.alarm(row, window))

    def _around(self, key: str) -> set[str]:
        """Return the wider places that one lies in."""
        if key == FLEET:
            return set()
        factory = self._state.factories.get(node_of(key))
        return {FLEET, factory_key(factory)} if factory else {FLEET}

    def _told(self, alarm: Alarm) -> Alarm:
        streams = next((each for each in self._streams if each.metric == alarm.metric), None)
        known = alarm.cause is not Cause.UNTOLD or alarm.place not in self.places.keys
        if known or streams is None:  # None: the spec does not ask for that metric any more
            return alarm
        row = self.places.keys.index(alarm.place)
        cause, why = streams.cause(row, alarm.rate - alarm.usual)
        return replace(alarm, cause=cause, why=why)
