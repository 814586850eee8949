"""Who comes first: a seeded order of nodes, and the same draw again with other seeds.

A node's position is its rank within its stratum (factory x hardware) by a hash of seed and name,
then a hash of its stratum: so a prefix spreads over strata, a larger prefix keeps every node of a
smaller one, and a node that joins or leaves moves the others by little. The last node of each
production line comes after all others: a canary never holds a whole line of a factory, while there
are other nodes. The test of a canary asks how other draws would have looked; `order` and `redraws`
are therefore one function, `_positions`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edgefleet.spec import Canary

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_CELLS_AT_ONCE: Final = 1_000_000
"""Draws x nodes that are sorted together: keeps memory near 50 MB however large the fleet."""

Keys = NDArray[np.uint64]


class Placed(Protocol):
    """A node and its stratum."""

    @property
    def node(self) -> str:
        """Its name, unique in the fleet."""
        ...

    @property
    def factory(self) -> str:
        """Where it stands."""
        ...

    @property
    def hardware(self) -> str:
        """Its hardware class."""
        ...

    @property
    def line(self) -> str:
        """Its production line within the factory; empty: not known."""
        ...


class Member(NamedTuple):
    """A node that was eligible at planning, with what its stratum is made of."""

    node: str
    factory: str
    hardware: str = "any"
    line: str = ""


def order(nodes: Sequence[Placed], salt: str) -> tuple[str, ...]:
    """Return all nodes' names, first to last; the canary is a prefix of it.

    The order in which `nodes` come does not matter.
    """
    seeds = np.array([_hash(salt)], dtype=np.uint64)
    positions = _positions(nodes, seeds)[0]
    return tuple(nodes[index].node for index in np.argsort(positions, kind="stable"))


def redraws(nodes: Sequence[Placed], size: int, salt: str, draws: int) -> NDArray[np.int32]:
    """Return other draws of the first `size` nodes: indices into `nodes`, shape (draws, size).

    Each is the prefix of the order under a seed of its own, derived from `salt`.
    """
    base = np.uint64(_hash(f"{salt}/redraw"))
    seeds = _mixed(base + np.arange(1, draws + 1, dtype=np.uint64) * _GOLDEN)
    step = max(1, _CELLS_AT_ONCE // max(len(nodes), 1))
    drawn = np.empty((draws, size), dtype=np.int32)
    for first in range(0, draws, step):
        positions = _positions(nodes, seeds[first : first + step])
        prefix = np.argpartition(positions, min(size, len(nodes)) - 1, axis=1)[:, :size]
        drawn[first : first + step] = prefix
    return drawn


def canary_size(eligible: int, canary: Canary) -> int:
    """Return how many of `eligible` nodes are changed first."""
    # A share like 0.05 is not exact in binary: 0.05 * 20 must be 1, not 2.
    share = math.ceil(canary.fraction * eligible - 1e-9)
    return min(eligible, max(share, canary.min_nodes))


def _positions(nodes: Sequence[Placed], seeds: Keys) -> NDArray[np.int64]:
    """Return every node's place under every seed, shape (seeds, nodes): smaller comes earlier."""
    names = np.array([_hash(member.node) for member in nodes], dtype=np.uint64)
    strata = sorted({(member.factory, member.hardware) for member in nodes})
    number = {stratum: index for index, stratum in enumerate(strata)}
    of_node = np.array([number[member.factory, member.hardware] for member in nodes])
    hashes = np.array([_hash("\0".join(stratum)) for stratum in strata], dtype=np.uint64)
    turns = _ranks(_keys(seeds, hashes))
    keys = _keys(seeds, names)
    places = np.empty(keys.shape, dtype=np.int64)
    for index in range(len(strata)):
        inside = np.flatnonzero(of_node == index)
        places[:, inside] = _ranks(keys[:, inside]) * len(strata) + turns[:, [index]]
    return _lines_kept(nodes, places)


def _lines_kept(nodes: Sequence[Placed], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places with the last node of each line behind those of no line's last."""
    lines: dict[tuple[str, str], list[int]] = {}
    for index, member in enumerate(nodes):
        if member.line:
            lines.setdefault((member.factory, member.line), []).append(index)
    behind = places.max(initial=0) + 1
    every = np.arange(len(places))
    for inside in map(np.array, lines.values()):
        places[every, inside[places[:, inside].argmax(1)]] += behind
    return places


def _ranks(keys: Keys) -> NDArray[np.int64]:
    """Return each key's rank in its row."""
    ranks = np.empty(keys.shape, dtype=np.int64)
    ascending = np.argsort(keys, axis=1, kind="stable")
    np.put_along_axis(ranks, ascending, np.arange(keys.shape[1])[np.newaxis, :], axis=1)
    return ranks


def _keys(seeds: Keys, names: Keys) -> Keys:
    return _mixed(seeds[:, np.newaxis] ^ _mixed(names)[np.newaxis, :])


def _mixed(values: Keys) -> Keys:
    """Return splitmix64's output function of each value (Steele, Lea and Flood 2014)."""
    mixed = values + _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
