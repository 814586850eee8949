"""What is simulated: worlds, what is wrong with the new model, and what the gate promises of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from edgefleet.spec import Gates
from tests.calibration.plant import Effect, Plant

Kind = Literal["equal", "margin", "power"]

WORLDS: Final = {
    "usual": Plant(),
    "stress": Plant(latency_drift=0.25, own_latency_sd=0.05, own_sd=0.01),
    "repeated frames": Plant(repeated=5),
    "bursts": Plant(bursts=5, fouled=0.01, offline=0.3),
    "heavy tails": Plant(heavy=True, node_sd=0.03, latency_drift=0.15, own_latency_sd=0.03),
    "missing": Plant(hidden=0.5, selective=0.5, late=4, offline=0.3),
}
SAID: Final = {
    "usual": "nodes differ by 2 pt and 30 % of latency, drift, drop out a fifth of the time",
    "stress": "latency drifts three times as much; the new model suits nodes differently "
    "(5 % of latency, 1 pt of accuracy)",
    "repeated frames": "a stuck feeder: each labelled frame is seen five times",
    "bursts": "five times as many bursts of errors, cameras that foul (30 pt for a window), "
    "30 % offline",
    "heavy tails": "Student's t with 3 degrees of freedom in every drift and difference",
    "missing": "half of each node's worst windows never heard of, right answers labelled half as "
    "often as wrong ones, labels 4 windows late on average, 30 % offline",
}
ALL_SLOWER: Final = ((1.0, 1.15),)
MARGIN: Final = {
    "accuracy -2 pt": Effect(drop=0.02),
    "latency x1.15": Effect(mix=ALL_SLOWER),
    "errors +0.3 pt": Effect(errors=0.003),
}
WORSE: Final = {
    "p50 x1.3": Effect(mix=((1.0, 1.3),)),
    "p99 x1.5": Effect(mix=((0.97, 1.0), (0.03, 3.12))),
    "p99 x3": Effect(mix=((0.97, 1.0), (0.03, 6.85))),
    "4 % take 5x": Effect(mix=((0.96, 1.0), (0.04, 5.0))),
    "errors 0.1 -> 1 %": Effect(errors=0.009),
    "silent half of the time": Effect(silent=0.5),
}
ALONE: Final = ", accuracy alone"


@dataclass(frozen=True, slots=True)
class Cell:
    """One line of the tables."""

    name: str
    kind: Kind
    plant: Plant
    effect: Effect
    margin_pt: float = 2.0
    alone: bool = False
    """Accuracy is judged beside nothing but silence, at half the budget, as one test alone."""

    @property
    def gates(self) -> Gates:
        """Return the default gates with this cell's margin and source."""
        source = "none" if self.plant.source == "none" else "labels"
        return Gates.model_validate(
            {
                "accuracy": {"source": source, "margin_pt": self.margin_pt},
                "shadow_rate": 0.2 if self.plant.source == "pairs" else 0.0,
                **({"alpha_fail": 0.005, "min_requests": 10**9} if self.alone else {}),
            }
        )


def cells() -> tuple[Cell, ...]:
    """Return everything that is simulated."""
    return (*_equal(), *_power(), *_alone(), *_margins())


def _equal() -> list[Cell]:
    found = [
        Cell(f"{world}; {_source(plant)}", "equal", plant, Effect())
        for world, usual in WORLDS.items()
        for plant in (usual, replace(usual, source="labels"))
    ]
    found.append(
        Cell("usual; pairs, disagreements labelled first", "equal", _first(Plant()), Effect())
    )
    return found


def _margins() -> list[Cell]:
    found = [
        Cell(f"{world}; {name}, {_source(plant)}", "margin", plant, MARGIN[name])
        for world, usual in WORLDS.items()
        for name, plant in (
            ("accuracy -2 pt", usual),
            ("accuracy -2 pt", replace(usual, source="labels")),
            ("latency x1.15", replace(usual, source="none")),
            ("errors +0.3 pt", replace(usual, source="none")),
        )
        if world != "repeated frames" or plant.source != "none"
    ]
    first = _first(Plant())
    name = "accuracy -2 pt"
    return [*found, Cell(f"usual; {name}, {_source(first)}", "margin", first, MARGIN[name])]


def _power() -> list[Cell]:
    found = []
    for source in ("pairs", "labels"):
        for canary, labels, drop, margin_pt in (
            *((10, 5, 0.05, 2), (5, 5, 0.05, 2), (10, 20, 0.05, 2), (10, 1, 0.05, 2)),
            *((50, 1, 0.05, 2), (10, 5, 0.10, 2), (5, 5, 0.10, 2), (2, 5, 0.10, 2)),
            *((10, 20, 0.02, 1), (10, 5, 0.02, 1), (50, 5, 0.02, 1), (1, 5, 0.05, 2)),
            *((10, 20, 0.0, 2), (10, 20, 0.0, 1), (10, 5, 0.0, 1), (50, 5, 0.0, 1), (5, 5, 0.0, 2)),
        ):
            plant = Plant(canary=canary, labels=labels, source=source)  # type: ignore[arg-type]
            found.append(_drop(plant, drop, margin_pt))
    found += [
        _drop(_first(Plant(canary=nodes)), drop, 2) for nodes in (5, 10) for drop in (0, 0.05)
    ]
    for canary in (10, 5):
        plant = Plant(canary=canary, source="none")
        found += [Cell(f"{name}, {canary} nodes", "power", plant, e) for name, e in WORSE.items()]
    found.append(
        Cell("-5 pt from window 31, 10 nodes x 5 pairs", "power", Plant(), Effect(0.05, since=30))
    )
    found.append(
        Cell(
            "no difference, hand-picked nodes always 2 pt worse, 10 nodes x 5 labels",
            "power",
            Plant(source="labels", hand_picked=0.02),
            Effect(),
        )
    )
    return found


def _alone() -> list[Cell]:
    return [
        replace(cell, name=f"{cell.name}{ALONE}", alone=True)
        for canary, labels, drop, margin_pt in (
            *((10, 5, 0.05, 2), (5, 5, 0.05, 2), (2, 5, 0.05, 2), (10, 1, 0.05, 2)),
            *((10, 20, 0.05, 2), (10, 5, 0.10, 2), (5, 5, 0.10, 2), (2, 5, 0.10, 2)),
            *((10, 5, 0.02, 1), (10, 20, 0.02, 1)),
        )
        for cell in [_drop(Plant(canary=canary, labels=labels, source="labels"), drop, margin_pt)]
    ]


def _drop(plant: Plant, drop: float, margin_pt: float) -> Cell:
    worse = f"-{100 * drop:g} pt" if drop else "as good"
    name = (
        f"{worse}, {plant.canary} nodes x {plant.labels:g} {_source(plant)}, margin {margin_pt} pt"
    )
    return Cell(name, "power" if drop else "equal", plant, Effect(drop=drop), margin_pt)


def _first(plant: Plant) -> Plant:
    return replace(plant, shadowed=100.0, labels_first=True)


def _source(plant: Plant) -> str:
    return f"{plant.source}, disagreements labelled first" if plant.labels_first else plant.source
