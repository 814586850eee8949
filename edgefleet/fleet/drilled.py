"""The judgement of a drill: whether one node served all the time that it was cut off. Pure.

Whether it served is read from windows that nobody could have seen at the time: each is there, each
as busy as before, none with more errors than before, all of one server process. Each rule says what
it found; a node of which none says anything has passed. What is missing is never taken for good,
and where cameras send nothing there is nothing to prove.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from edgefleet.edge.contract import Evidence
from edgefleet.fleet.finding import Outcome, worst
from edgefleet.fleet.unplugged import Cut, Drilled, Look, look_of

LEAST_CLOSED: Final = 2
"""Windows that must close within a cut: then one of them has also begun in it."""
LEAST_PAST: Final = 3
"""Fewer windows do not tell what is usual."""
_CHANCE: Final = (0.01, 0.05)
"""So unlikely by chance that it is the cut, and so unlikely that it cannot be called usual."""

Found = tuple[Outcome, str]


def judged(
    cut: Cut, past: Sequence[Evidence], later: Sequence[Evidence], window_s: float
) -> Drilled:
    """Return what became of a node, from its windows as they were read before and afterwards."""
    look = look_of(cut, past, later, window_s)
    found = [said for rule in _RULES if (said := rule(look, window_s))]
    verdict = worst(outcome for outcome, _ in found) if found else Outcome.PASS
    late = [w for w in range(look.first, look.first + look.closed) if w in look.during]
    return Drilled(
        cut.node,
        cut.factory,
        cut.seconds,
        served=sum(look.during.values()),
        failed=look.failed,
        gaps=len(look.missing) + len(look.low),
        restarted=len(look.boots) - 1 if look.boots else 0,
        recreated=look.recreated,
        windows_late=len(late),
        verdict=verdict,
        text="; ".join(text for outcome, text in found if outcome is verdict) or _served(look),
    )


def _served(look: Look) -> str:
    failed = f"{look.failed} failed, as many as usual" if look.failed else "none failed"
    return (
        f"answered {sum(look.during.values())} requests in {len(look.during)} windows, {failed}; "
        f"{look.closed} of them closed while it was cut off, and all arrived"
    )


def _not_cut(look: Look, _window_s: float) -> Found | None:
    if look.cut.seen_away:
        return None
    return Outcome.INCONCLUSIVE, "it was never seen offline: nothing was tried"


def _not_back(look: Look, _window_s: float) -> Found | None:
    if look.cut.back_at:
        return None
    return Outcome.FAIL, f"not back {look.cut.waited_s:.0f} s after its link was to be restored"


def _too_short(look: Look, window_s: float) -> Found | None:
    if not look.cut.back_at or look.closed >= LEAST_CLOSED:
        return None
    said = f"{look.closed} windows of {window_s:g} s closed while it was cut off"
    return Outcome.INCONCLUSIVE, f"{said}, at least {LEAST_CLOSED} prove something"


def _unknown_past(look: Look, _window_s: float) -> Found | None:
    if len(look.past) >= LEAST_PAST:
        return None
    said = f"{len(look.past)} warm windows before the cut, at least {LEAST_PAST} tell what is usual"
    return Outcome.INCONCLUSIVE, said


def _nothing_came(look: Look, _window_s: float) -> Found | None:
    newest = max(look.during, default=None)
    if not look.cut.back_at or not look.first or (newest is not None and newest >= look.last):
        return None
    came = "no window" if newest is None else f"windows up to {newest} only"
    said = f"{came} of {look.first} to {look.last} arrived after its return"
    return Outcome.INCONCLUSIVE, said


def _missing(look: Look, _window_s: float) -> Found | None:
    if not look.missing:
        return None
    named = ", ".join(map(str, look.missing[:5]))
    said = f"{len(look.missing)} windows never arrived although later ones did ({named})"
    return Outcome.FAIL, said


def _fewer_answers(look: Look, _window_s: float) -> Found | None:
    if not look.low:
        return None
    least = min(look.during[w] for w in look.low)
    said = f"{least} answers in a window, at least {look.quiet} in each of {len(look.past)} before"
    return Outcome.FAIL, f"{len(look.low)} windows with a gap: {said}"


def _nothing_asked(look: Look, _window_s: float) -> Found | None:
    empty = [w for w, ok in look.during.items() if not ok]
    if not empty or look.low:
        return None
    if len(empty) == len(look.during) and not sum(look.past.values()):
        return Outcome.INCONCLUSIVE, "its cameras sent nothing, before or meanwhile"
    said = f"{len(empty)} of {len(look.during)} windows without a request"
    return Outcome.INCONCLUSIVE, f"{said}, and its cameras rest at other times too"


def _restarted(look: Look, _window_s: float) -> Found | None:
    if len(look.boots) < 2:  # noqa: PLR2004 - another one beside the first
        return None
    return Outcome.FAIL, f"its server was started anew {len(look.boots) - 1} times"


def _recreated(look: Look, _window_s: float) -> Found | None:
    before, after = look.cut.before, look.cut.after
    if not (look.recreated and before and after):
        return None
    return Outcome.FAIL, f"its server answers at {after.url}, at {before.url} before: recreated"


def _serves_else(look: Look, _window_s: float) -> Found | None:
    before, after = look.cut.before, look.cut.after
    if not look.cut.back_at or (before and after and after.digest == before.digest):
        return None
    if before is None:
        return Outcome.INCONCLUSIVE, "nobody saw what it served before"
    if after is None:
        return Outcome.FAIL, f"serves nothing since its return, {before.digest[:19]} before"
    said = f"serves {after.digest[:19]}, {before.digest[:19]} before: somebody changed it meanwhile"
    return Outcome.INCONCLUSIVE, said


def _more_failed(look: Look, _window_s: float) -> Found | None:
    asked = sum(look.during.values()) + look.failed
    usual = sum(look.past.values()) + look.past_failed
    if not look.failed or not usual:
        return None
    chance = _at_least(look.failed, look.failed + look.past_failed, asked / (asked + usual))
    said = f"{look.failed} of {asked} requests failed, {look.past_failed} of {usual} before"
    if chance < _CHANCE[0]:
        return Outcome.FAIL, said
    if chance < _CHANCE[1] or not look.past_failed:
        return Outcome.INCONCLUSIVE, f"{said}: it may be chance"
    return None


def _at_least(hits: int, n: int, share: float) -> float:
    """Return the chance that `hits` or more of n failures fall into a share of the requests."""
    below = sum(
        math.exp(
            math.lgamma(n + 1)
            - math.lgamma(k + 1)
            - math.lgamma(n - k + 1)
            + k * math.log(share)
            + (n - k) * math.log1p(-share)
        )
        for k in range(hits)
    )
    return max(0.0, 1.0 - below)


_RULES: Final[tuple[Callable[[Look, float], Found | None], ...]] = (
    _not_cut,
    _not_back,
    _too_short,
    _unknown_past,
    _nothing_came,
    _missing,
    _fewer_answers,
    _nothing_asked,
    _restarted,
    _recreated,
    _serves_else,
    _more_failed,
)
