"""What goes wrong in a rehearsal, as data: a kind, on which nodes, from when, for how long.

Text form: `kind[=value]:who[@from_s[+for_s]]`, for example `offline:10%@600+1200`,
`self_check_fails:3`, `wrong_digest:node-0007`, `worse_accuracy=5:100%`, `offline:factory-02`,
`mixed:10%`. Who is a share, a number of nodes, or names of nodes and factories separated by commas.
Nodes of a share or number are drawn by a hash of the seed: a bigger share contains the smaller one.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from edgefleet.errors import Refused

FLAP_S: Final = 60.0
"""A flapping node is away for the first half of each period."""


class Kind(StrEnum):
    """What a node does; those of a package concern packages new to the node, never its champion."""

    OFFLINE = "offline"  # its link is cut: it keeps serving and counting
    FLAPPING = "flapping"  # the same, every other half minute
    SITE_DOWN = "site_down"  # the control plane of its factory answers nobody
    SLOW = "slow"  # pulls and starts take `value` times as long
    DISK_FULL = "disk_full"  # a pull finds no space
    WRONG_DIGEST = "wrong_digest"  # a new package's server says another digest than ordered
    SELF_CHECK_FAILS = "self_check_fails"  # a new package's golden answers differ
    BAD_SIGNATURE = "bad_signature"  # a new package's signature is not accepted on arrival
    NEVER_READY = "never_ready"  # a new package's server loads for ever
    SILENT = "silent"  # serves, but gives no evidence
    CLOCK_AHEAD = "clock_ahead"  # its clock is `value` seconds fast: so are its windows' numbers
    CLOCK_BEHIND = "clock_behind"  # the same, slow
    WORSE_ACCURACY = "worse_accuracy"  # a new package is `value` points less accurate
    SLOWER = "slower"  # a new package takes `value` times as long to answer
    ERRORS = "errors"  # a new package fails a share `value` of its requests
    MIXED = "mixed"  # each of its nodes has one of MIXED, dealt out in turn


MIXED: Final = (
    Kind.OFFLINE,
    Kind.SLOW,
    Kind.DISK_FULL,
    Kind.WRONG_DIGEST,
    Kind.SELF_CHECK_FAILS,
    Kind.FLAPPING,
)
"""What a fleet of some size has on any day."""

VALUES: Final[Mapping[Kind, tuple[float, float]]] = {
    Kind.SLOW: (10.0, math.inf),
    Kind.CLOCK_AHEAD: (180.0, math.inf),
    Kind.CLOCK_BEHIND: (180.0, math.inf),
    Kind.WORSE_ACCURACY: (5.0, 100.0),
    Kind.SLOWER: (1.5, math.inf),
    Kind.ERRORS: (0.05, 1.0),
}
"""Default and largest value of the kinds that have one; the smallest is above 0."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong; exactly one of `nodes`, `share` and `count` says where."""

    kind: Kind
    nodes: tuple[str, ...] = ()
    """Names of nodes, or of factories: all of their nodes."""
    share: float | None = None
    """0..1 of all nodes, rounded up."""
    count: int | None = None
    at_s: float = 0.0
    """Seconds after the world's start."""
    for_s: float = math.inf
    value: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        said = (bool(self.nodes), self.share is not None, self.count is not None)
        if sum(said) != 1:
            self._refuse(f"{sum(said)} of nodes, share and count are given, expected one")
        if self.share is not None and not 0 < self.share <= 1:
            self._refuse(f"a share of {self.share:.0%}, expected above 0 % and at most 100 %")
        if self.count is not None and self.count < 1:
            self._refuse(f"{self.count} nodes, expected at least 1")
        most = VALUES.get(self.kind, (1.0, 1.0))[1]
        if not 0 < self.value <= most:
            self._refuse(f"value {self.value:g}, expected above 0 and at most {most:g}")
        if self.at_s < 0 or not self.for_s > 0:
            self._refuse(f"from {self.at_s:g} s for {self.for_s:g} s, expected a time to come")

    def _refuse(self, problem: str) -> None:
        raise _refused(self.kind, problem)

    def active(self, at_s: float) -> bool:
        """Say whether it holds `at_s` seconds after the world's start."""
        return self.at_s <= at_s < self.at_s + self.for_s

    def outages(self, offset_s: float, from_s: float) -> Iterator[tuple[float, float]]:
        """Yield when its node is away, in seconds after the start, in order, maybe for ever.

        `offset_s` shifts the flapping, so that not all nodes flap at once. Nothing that was over
        before `from_s` needs to be among it.
        """
        end = self.at_s + self.for_s
        if self.kind is Kind.OFFLINE:
            yield self.at_s, end
        elif self.kind is Kind.FLAPPING:
            away = self.at_s + offset_s % FLAP_S
            away += FLAP_S * max((from_s - away) // FLAP_S, 0)
            while away < end:
                yield away, min(away + FLAP_S / 2, end)
                away += FLAP_S


REMEDY: Final = (
    f"Write kind[=value]:who[@from_s[+for_s]], kind one of {', '.join(Kind)}, "
    "who like 10%, 3, node-0007 or factory-02"
)

_TEXT: Final = re.compile(
    r"(?P<kind>[a-z_]+)(=(?P<value>[0-9.]+))?:(?P<who>[^@]+)"
    r"(@(?P<at>[0-9.]+)(\+(?P<for>[0-9.]+))?)?"
)


def parse_fault(text: str) -> Fault:
    """Return the fault that a text means.

    Raises:
        Refused: it means none; the message says what can be written.
    """
    found = _TEXT.fullmatch(text.strip())
    if found is None or found["kind"] not in set(Kind):
        raise _refused(text, "not a known kind with a place")
    kind = Kind(found["kind"])
    if found["value"] and kind not in VALUES:
        raise _refused(text, f"{kind} takes no value")
    try:
        value = float(found["value"] or _usual(kind))
        at_s = float(found["at"] or 0)
        for_s = float(found["for"] or "inf")
        nodes, share, count = _who(found["who"].strip())
    except ValueError as error:
        raise _refused(text, str(error)) from error
    return Fault(kind, nodes, share, count, at_s, for_s, value)


def _refused(text: str, problem: str) -> Refused:
    return Refused(f"fault {text}", problem, REMEDY)


def _who(text: str) -> tuple[tuple[str, ...], float | None, int | None]:
    if text.endswith("%"):
        return (), float(text[:-1]) / 100, None
    if text.isdigit():
        return (), None, int(text)
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if not re.fullmatch(r"[a-z][a-z0-9.-]*", name):
            message = f"{name!r} is no share, number or name"
            raise ValueError(message)
    return names, None, None


def hash_of(*parts: object) -> int:
    """Return 64 bits that depend on all parts: the only randomness of a memory world."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def struck(fault: Fault, factory_of: Mapping[str, str], seed: int) -> frozenset[str]:
    """Return the nodes that a fault concerns.

    Raises:
        Refused: it names a node or factory that is not there.
    """
    if fault.nodes:
        unknown = set(fault.nodes) - set(factory_of) - set(factory_of.values())
        if unknown:
            problem = (
                f"no node or factory {', '.join(sorted(unknown))}, there are {len(factory_of)} "
                f"nodes {_span(factory_of)} in {_span(factory_of.values())}"
            )
            raise _refused(fault.kind, problem)
        named = set(fault.nodes)
        return frozenset(n for n, factory in factory_of.items() if {n, factory} & named)
    wanted = fault.count if fault.count is not None else 0
    if fault.share is not None:
        # Rounded first: 0.07 * 100 is a little above 7 in floating point, and must not give 8.
        wanted = math.ceil(round(fault.share * len(factory_of), 9))
    drawn = sorted(factory_of, key=lambda node: hash_of(seed, fault.kind, node))
    return frozenset(drawn[:wanted])


def parts(fault: Fault, factory_of: Mapping[str, str], seed: int) -> tuple[Fault, ...]:
    """Return a fault as it is, a mixed one as the faults of its nodes."""
    if fault.kind is not Kind.MIXED:
        return (fault,)
    drawn = sorted(struck(fault, factory_of, seed), key=lambda node: hash_of(seed, "part", node))
    dealt = {kind: tuple(drawn[place :: len(MIXED)]) for place, kind in enumerate(MIXED)}
    return tuple(
        replace(fault, kind=kind, nodes=nodes, share=None, count=None, value=_usual(kind))
        for kind, nodes in dealt.items()
        if nodes
    )


def _usual(kind: Kind) -> float:
    return VALUES.get(kind, (1.0, 1.0))[0]


def _span(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return f"{ordered[0]} to {ordered[-1]}"
