"""One metric at all places, window by window: what is usual there, the bets on worse, the fall.

A hit is bad: a wrong answer, a failed request, a disagreement; of pairs a loss, against gains. The
tables are arrays, changed in place while a run of the guard goes over its windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from edgefleet.fleet import usual
from edgefleet.fleet.alarms import Alarm, Answers, Cause, cause_of
from edgefleet.fleet.detectors import STAKES, STEPS, grown, paid_on_pairs, paid_on_share, strength
from edgefleet.fleet.places import Columns, Places
from edgefleet.fleet.stats import Floats
from edgefleet.spec import Spec

_SURE: Final = 3.0
"""Standard errors of what is usual that are no fall either."""
_SD: Final = {"accuracy": 0.02, "errors": 0.001}
"""By how much nodes differ for good, before more is known of them."""
_FALL, _SINCE, _N, _HITS, _USUAL, _PAIRED, _SHADOWED = 0, 1, 2, 3, 4, slice(5, 8), slice(8, 12)
_ONSET: Final = 12
"""Columns of what is counted since a fall began: its evidence, its window, samples, hits, usual
hits; pairs, gains, losses; shadowed answers, gains, losses, unlabelled disagreements."""


class Counts(NamedTuple):
    """Counts of one window, one value for each node or for each place."""

    labelled: Floats
    wrong: Floats
    requests: Floats
    errors: Floats
    """Bursts capped, as at the gate."""
    paired: Floats
    gains: Floats
    losses: Floats
    shadowed: Floats
    shadow_gains: Floats
    shadow_losses: Floats
    unknown: Floats
    """Disagreements without a label."""
    disagreed: Floats


@dataclass(frozen=True, slots=True)
class Kept:
    """One metric, as it is stored."""

    learnt: Columns
    held: Columns
    onset: Columns


@dataclass(slots=True, eq=False)
class Streams:
    """One metric at all places; the rows of its tables are the places."""

    metric: str
    spec: Spec
    places: Places
    learnt: Floats
    """See `usual`."""
    held: Floats
    """See `detectors`; shape (bets, places)."""
    onset: Floats
    phi: Floats
    """Dispersion at each place, as far as it is learnt."""

    def learn(self, window: int, counts: Counts) -> None:
        """Let a window count for what is usual."""
        n, hits = _samples(self.metric, counts)
        most = self.spec.guard.learn_windows
        learnt = usual.learn(self.learnt, window, n, hits, most)
        if learnt is not self.learnt:
            self.learnt, self.phi = learnt, usual.phis(self.places, learnt)

    def step(self, window: int, counts: Counts, raised: Floats) -> None:
        """Let a window count for the bets; where an alarm is `raised`, the fall goes on."""
        n, hits = _samples(self.metric, counts)
        expected, paid, telling = self._paid(counts)
        here = n > 0
        calm = here & (raised == 0)
        # A fall that made up for itself is over; a sum of logs that stays positive is one.
        self.onset[calm & (self.onset[:, _FALL] <= 0)] = 0.0
        self.onset[here & (self.onset[:, _N] == 0), _SINCE] = window
        self.onset[here, _FALL] = np.maximum(0.0, self.onset[:, _FALL] + telling)[here]
        new = np.stack([n, hits, expected, *counts[4:11]], axis=1)
        self.onset[here, _N:] += new[here]
        self.held = grown(self.held, paid, n)

    def reached(self, log_boundary: Floats) -> list[int]:
        """Return places whose bets are beyond their boundary, and not by one place inside alone."""
        beyond = strength(self.held) >= log_boundary
        if not beyond.any():
            return []
        own = self.places.own(self.onset[:, _HITS] - self.onset[:, _USUAL])
        return [int(row) for row in np.flatnonzero(beyond & own)]

    def alarm(self, row: int, window: int) -> Alarm:
        """Return the alarm of a place, raised in a window."""
        onset = self.onset[row]
        n, hits, expected = onset[_N : _USUAL + 1]
        if self.metric == "pairs" and onset[_SHADOWED][3] > 0:
            n, expected, hits = onset[_PAIRED]
        return Alarm(
            place=self.places.keys[row],
            metric=self.metric,
            window=window,
            since=int(onset[_SINCE]),
            n=int(n),
            rate=float(hits / max(n, 1)),
            usual=float(expected / max(n, 1)),
            # Accuracy may fall with the surroundings; the rest is about the release alone.
            cause=Cause.UNTOLD if self.metric == "accuracy" else Cause.MODEL,
        )

    def cause(self, row: int, fall: float) -> tuple[Cause, str]:
        """Return whose fault the fall of a place is by now, and what tells it."""
        ways = (Answers(*self.onset[row, _PAIRED]), Answers(*self.onset[row, _SHADOWED]))
        return cause_of(fall, ways, float(self.phi[row]))

    def kept(self) -> Kept:
        """Return what is to be stored."""
        columns = self.places.columns
        return Kept(columns(self.learnt), columns(self.held.T), columns(self.onset))

    def _paid(self, counts: Counts) -> tuple[Floats, Floats, Floats]:
        """Return the usual hits, log L of every bet, and of the bet that tells a fall's begin."""
        n, hits = _samples(self.metric, counts)
        gates = self.spec.gates
        margin = (gates.errors if self.metric == "errors" else gates.accuracy).margin_pt / 100
        if self.metric == "pairs":
            return _paid_on_both(counts, margin, self.phi)
        if self.metric == "agreement":
            expected = limit = np.full(len(n), 1 - gates.accuracy.min_agreement)
        else:
            nodes = n[: len(self.places.nodes)]
            found = usual.usual_shares(self.places, self.learnt, self.phi, nodes, _SD[self.metric])
            expected, limit = found.share, found.share + np.maximum(margin, _SURE * found.error)
        paid = paid_on_share(n, hits, limit, margin, self.phi)
        return n * expected, paid, paid[1]


def streams_of(metric: str, spec: Spec, places: Places, stored: Kept) -> Streams:
    """Return a metric's streams, as far as they were stored."""
    bets = 2 * len(STAKES) if metric == "pairs" else len(STEPS)
    learnt = places.table(stored.learnt, usual.WIDTH)
    held = places.table(stored.held, bets).T
    onset = places.table(stored.onset, _ONSET)
    return Streams(metric, spec, places, learnt, held, onset, usual.phis(places, learnt))


def metrics_of(spec: Spec) -> tuple[str, ...]:
    """Return what a spec lets the guard watch."""
    source = spec.gates.accuracy.source
    shadows = spec.guard.shadow_days > 0 and spec.guard.shadow_rate > 0
    found: Mapping[str, tuple[str, ...]] = {
        "labels": ("accuracy", "pairs") if shadows else ("accuracy",),
        "agreement": ("agreement",) if shadows else (),
        "none": (),
    }
    return (*found[source], "errors")


def _samples(metric: str, counts: Counts) -> tuple[Floats, Floats]:
    """Return samples and hits."""
    return {
        "accuracy": (counts.labelled, counts.wrong),
        "errors": (counts.requests, counts.errors),
        "pairs": (counts.shadowed, counts.shadow_losses),
        "agreement": (counts.shadowed, counts.disagreed),
    }[metric]


def _paid_on_both(counts: Counts, margin: float, phi: Floats) -> tuple[Floats, Floats, Floats]:
    """Bet on labelled pairs and on all shadowed answers; a disagreement without label is a gain."""
    all_won = np.minimum(
        counts.shadow_gains + counts.unknown, counts.shadowed - counts.shadow_losses
    )
    on_pairs = paid_on_pairs(counts.paired, counts.gains, counts.losses, margin, phi)
    on_all = paid_on_pairs(counts.shadowed, all_won, counts.shadow_losses, margin, phi)
    middle = len(STAKES) // 2
    telling = np.where(counts.unknown > 0, on_pairs[middle], on_all[middle])
    return counts.shadow_gains, np.concatenate([on_pairs, on_all]), telling
