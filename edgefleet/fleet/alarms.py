"""An alarm of the guard: what fell, where, since when, whose fault it is, and what can be done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from edgefleet.fleet.places import FLEET, factory_of, node_of
from edgefleet.fleet.stats import z_of
from edgefleet.fleet.tally import BURST_CAP

_Z: Final = z_of(0.95)
_UNSEEN: Final = 4
"""Disagreements added to those that were seen: a few pairs without any prove nothing."""
_PART: Final = 0.5
"""Of the fall: the model has lost so much of it against the one before, or has not."""


class Cause(StrEnum):
    """Whose fault a fall is, as far as it can be told."""

    MODEL = "model"
    """Of what was released: the package, or its runtime."""
    SURROUNDINGS = "surroundings"
    """The model before it would have fallen too: lighting, a camera, the product."""
    UNTOLD = "untold"
    """Nothing tells yet; or nothing will, since the model before it answers no requests."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One stream's alarm; it is raised once, and again only when its cause becomes known."""

    place: str
    """Key of the place."""
    metric: str
    window: int
    """In which it was raised."""
    since: int
    """Window from which on it was worse, as far as the samples tell."""
    n: int
    """Samples since then, up to the alarm."""
    rate: float
    """Share of errors among them; of pairs: of losses."""
    usual: float
    """What it ought to be; of pairs: the share of gains."""
    cause: Cause
    why: str = ""
    """What tells the cause."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """The node that it is about; empty: it is about more."""
        return (node_of(self.place),) if node_of(self.place) else ()

    @property
    def factories(self) -> tuple[str, ...]:
        """The factory that it is about; empty: it is about a node, or the fleet."""
        return (factory_of(self.place),) if factory_of(self.place) else ()


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers of both models to the same requests."""

    n: float
    gains: float
    losses: float
    unknown: float = 0.0
    """Disagreements without a label."""

    def net(self, phi: float) -> tuple[float, float]:
        """Return the 95 % interval of gains less losses, whatever the unlabelled ones were."""
        if not self.n:
            return -1.0, 1.0
        effect = (self.gains - self.losses) / self.n
        variance = (self.gains + self.losses + _UNSEEN) / self.n - effect**2
        half = _Z * math.sqrt(phi * max(variance, 0.0) / self.n) + self.unknown / self.n
        return effect - half, effect + half


def cause_of(fall: float, ways: tuple[Answers, ...], phi: float) -> tuple[Cause, str]:
    """Return whose fault a fall of accuracy is, from answers of both models, and what tells it."""
    found = min(ways, key=lambda way: way.net(phi)[1] - way.net(phi)[0])
    low, high = found.net(phi)
    told = f"on {found.n:.0f} requests that both answered: net [{100 * low:.1f}, {100 * high:.1f}]"
    if not found.n:
        return Cause.UNTOLD, "the model before it answers no requests there"
    if high < 0 and (found.gains - found.losses) / found.n <= -_PART * fall:
        return Cause.MODEL, f"the model before it does not lose them, {told} pt"
    if low > -_PART * fall:
        return Cause.SURROUNDINGS, f"the model before it loses them too, {told} pt"
    return Cause.UNTOLD, f"not told from the model before it yet, {told} pt"


def in_words(alarm: Alarm, window_s: float) -> str:
    """Return what was found, in one sentence."""
    at, since = _named(alarm.place), _time(alarm.since, window_s)
    rate, usual = 100 * alarm.rate, 100 * alarm.usual
    lost = f"{rate - usual:.1f} points"
    if alarm.metric == "pairs":
        return (
            f"the model loses {lost} against the one before it at {at}: of {alarm.n} requests that "
            f"both answered since {since} it alone was wrong on {rate:.2f} %, and it alone was "
            f"right on {usual:.2f} %"
        )
    if alarm.metric == "agreement":
        return (
            f"answers at {at} differ from those of the model before it in {rate:.1f} % of "
            f"{alarm.n} requests since {since}, where {usual:.1f} % is allowed"
        )
    if alarm.metric == "errors":
        return (
            f"errors at {at}: {rate:.2f} % of {alarm.n} requests since {since}, where "
            f"{usual:.2f} % is usual (a node's window counts for {BURST_CAP:.0%} at most)"
        )
    numbers = (
        f"accuracy {100 - rate:.1f} % of {alarm.n} labels since {since}, where "
        f"{100 - usual:.1f} % is usual"
    )
    if alarm.cause is Cause.SURROUNDINGS:
        return f"drift: old and new alike lost {lost} at {at}; not the model ({numbers})"
    return f"accuracy lost {lost} at {at}: {numbers}; {alarm.why}"


def remedy(alarm: Alarm, workload: str) -> str:
    """Return what an operator can do."""
    look = f"Look at cameras, lighting and the product at {_named(alarm.place)}"
    words = ["edgefleet", "rollback", workload]
    words += [f"--node {node}" for node in alarm.nodes]
    words += [f"--factory {factory}" for factory in alarm.factories]
    command = " ".join((*words, "--reason ..."))
    if alarm.cause is Cause.SURROUNDINGS:
        return f"{look}; a rollback would change nothing."
    if alarm.cause is Cause.UNTOLD:
        return f"{look} first; if they are as ever, go back with `{command}`."
    return f"Go back with `{command}`."


def _named(place: str) -> str:
    if place == FLEET:
        return "the whole fleet"
    return node_of(place) or factory_of(place)


def _time(window: int, window_s: float) -> str:
    return f"{datetime.fromtimestamp(window * window_s, UTC):%Y-%m-%d %H:%M} UTC"
