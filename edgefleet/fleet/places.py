"""The places that are watched, one stream of counts each: nodes, their factories, the fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgefleet.fleet.stats import Floats

FLEET: Final = "fleet"
_FACTORY: Final = "factory "
_NODE: Final = "node "
LEVELS: Final = 3
_MOST: Final = 0.5
_DIGITS: Final = 5
"""Decimals that are stored: of logs and counts, which need no more."""

Columns = Mapping[str, tuple[float, ...]]
"""What is carried on of each place, by its key."""


@dataclass(frozen=True)
class Places:
    """Rows of all tables: the nodes, then their factories, last the fleet."""

    nodes: tuple[str, ...]
    factories: tuple[str, ...]
    factory: NDArray[np.intp]
    """Of each node, by its place in `factories`."""

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The places' keys in what is stored: a factory may be named as a node is."""
        nodes = (_NODE + node for node in self.nodes)
        return (*nodes, *map(factory_key, self.factories), FLEET)

    @cached_property
    def weights(self) -> Floats:
        """Each level gets a third, evenly split over its places."""
        sizes = (len(self.nodes), len(self.factories), 1)
        return np.concatenate([np.full(size, 1 / (LEVELS * max(size, 1))) for size in sizes])

    def pooled(self, counts: Floats, *, on_time: bool = True) -> Floats:
        """Return the counts of all places from those of the nodes.

        What is not `on_time` counts for the nodes alone: the wider places had that window already.
        """
        added = counts * on_time
        sums = np.bincount(self.factory, added, len(self.factories))
        return np.concatenate([counts, sums, [added.sum()]])

    def levels(self) -> tuple[slice, slice, slice]:
        """Return the rows of nodes, of factories, and of the fleet."""
        end = len(self.nodes)
        return slice(0, end), slice(end, end + len(self.factories)), slice(-1, None)

    def own(self, excess: Floats) -> NDArray[np.bool_]:
        """Return which places have an excess of their own, and not that of one place inside.

        One that has half of it answers for it itself; of two, three quarters.
        """
        nodes, factories, _ = self.levels()
        inside = np.full(len(self.factories), -np.inf)
        np.maximum.at(inside, self.factory, excess[nodes])
        sizes = np.bincount(self.factory, minlength=len(self.factories))
        own = np.ones(len(excess), dtype=np.bool_)
        own[factories] = inside <= np.maximum(_MOST, 1.5 / sizes) * excess[factories]
        most = max(_MOST, 1.5 / max(len(self.factories), 1))
        own[-1] = excess[factories].max(initial=-np.inf) <= most * excess[-1]
        return own

    def table(self, stored: Columns, width: int) -> Floats:
        """Return what was stored as an array, zeros for places that are new."""
        zeros = (0.0,) * width
        rows = [stored.get(key, zeros) for key in self.keys]
        return np.array(rows, dtype=np.float64).reshape(len(rows), width)

    def columns(self, table: Floats) -> dict[str, tuple[float, ...]]:
        """Return an array as it is stored; places of which nothing is known are left out."""
        rows = zip(self.keys, table.round(_DIGITS).tolist(), strict=True)
        return {key: tuple(row) for key, row in rows if any(row)}


def places_of(nodes: Sequence[tuple[str, str]]) -> Places:
    """Return the places of nodes, given as (node, factory)."""
    ordered = sorted(nodes)
    factories = sorted({factory for _, factory in ordered})
    at = {factory: index for index, factory in enumerate(factories)}
    rows = np.array([at[factory] for _, factory in ordered], dtype=np.intp)
    return Places(tuple(node for node, _ in ordered), tuple(factories), rows)


def factory_key(factory: str) -> str:
    """Return a factory's key."""
    return _FACTORY + factory


def node_of(key: str) -> str:
    """Return the node of a place's key; empty: it is no node."""
    return key.removeprefix(_NODE) if key.startswith(_NODE) else ""


def factory_of(key: str) -> str:
    """Return the factory of a place's key; empty: it is no factory."""
    return key.removeprefix(_FACTORY) if key.startswith(_FACTORY) else ""
