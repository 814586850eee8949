"""The numbers and words of a bet on pairs or on agreement."""

from __future__ import annotations

import math

from edgefleet.fleet.bets import Bet
from edgefleet.fleet.contrast import by_how_much
from edgefleet.fleet.finding import MetricVerdict, Outcome
from edgefleet.fleet.tally import Tally
from edgefleet.spec import Gates


def paired_finding(bet: Bet, canary: Tally, gates: Gates, outcome: Outcome) -> MetricVerdict:
    """Return the verdict on accuracy by pairs; `canary` holds the canary's nodes only."""
    labels = float(canary.counts["labelled"].sum())
    right = float(canary.counts["correct"].sum())
    mine = 100 * right / labels if labels else None
    theirs = None if mine is None else mine - 100 * bet.effect
    margin = gates.accuracy.margin_pt
    seen = "accuracy" if mine is None else f"accuracy {mine:.1f} % (n={labels:.0f})"
    # With labels of other requests among them the difference of the shares is not the paired one.
    known = theirs is not None and bet.n == labels and not bet.shadowed
    champion = f"{theirs:.1f} % of its champion" if known else "its champion"
    same = f"the same {bet.n} labelled requests"
    if bet.shadowed:
        same = f"the same {bet.shadowed} requests, of which they disagreed on the labelled ones"
    text = (
        f"{seen} against {champion} on {same} of {bet.nodes} nodes: "
        f"{_change(bet, ('worse', 'better'))}, margin {margin:g} pt"
    )
    return _finding("accuracy", bet, gates, outcome, (mine, theirs), margin, text)


def agreement_finding(bet: Bet, _canary: Tally, gates: Gates, outcome: Outcome) -> MetricVerdict:
    """Return the verdict on the share of shadowed answers that agree with the champion's."""
    least = 100 * gates.accuracy.min_agreement
    share = least + 100 * bet.effect if bet.n else None
    text = (
        f"agreement with the champion {0.0 if share is None else share:.2f} % of {bet.n} shadowed "
        f"answers on {bet.nodes} nodes, at least {least:g} %: {_change(bet, ('below', 'above'))}"
    )
    return _finding("agreement", bet, gates, outcome, (share, least), 100 - least, text)


def _change(bet: Bet, words: tuple[str, str]) -> str:
    return by_how_much(100 * bet.effect, (100 * bet.low, 100 * bet.high), "pt", words, -1)


def _finding(
    name: str,
    bet: Bet,
    gates: Gates,
    outcome: Outcome,
    sides: tuple[float | None, float | None],
    margin: float,
    text: str,
) -> MetricVerdict:
    if not bet.n:
        text = f"{name}: no pairs from the canary, and that never passes"
    elif not bet.enough:
        text += f"; fewer than {gates.min_labels} or on too few nodes for a verdict"
    return MetricVerdict(
        name=name,
        outcome=outcome,
        effect=100 * bet.effect if bet.n else None,
        low=100 * bet.low if bet.n else None,
        high=100 * bet.high if bet.n else None,
        unit="pt",
        n=bet.n,
        nodes=bet.nodes,
        margin=margin,
        canary=sides[0],
        control=sides[1],
        evidence=bet.log_worse / math.log(10),
        boundary=-math.log10(gates.alpha_fail / 2),
        text=text,
        pass_evidence=bet.log_fine / math.log(10),
        pass_boundary=-math.log10(gates.alpha_pass),
    )
