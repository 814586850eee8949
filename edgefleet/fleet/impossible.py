"""What no luck could show is refused at planning, and not held after the last window. Pure.

What a node gave lately is all that is known of what it will give. What is 0 there is not known, and
refuses nothing.
"""

from __future__ import annotations

import math

from edgefleet.errors import Refused
from edgefleet.fleet.book import Usual
from edgefleet.fleet.budget import has_bets, share_of_budget
from edgefleet.fleet.design import Design
from edgefleet.fleet.gate import draws_for
from edgefleet.fleet.stats import STAKES
from edgefleet.spec import Gates


def by_pairs(gates: Gates) -> bool:
    """Say whether accuracy is judged by labels of requests that both models answered."""
    return gates.accuracy.source == "labels" and has_bets(gates)


def told_by(gates: Gates, usual: Usual) -> float:
    """Return how many answers of a node and window tell of its accuracy.

    Those that are shadowed, where they need to agree; those that are labelled, and by pairs both.
    """
    if gates.accuracy.source == "agreement":
        return usual.requests * gates.shadow_rate
    return usual.pairs(gates.shadow_rate) if by_pairs(gates) else usual.labels


def refuse_impossible(gates: Gates, design: Design, usual: Usual, subject: str) -> None:
    """Refuse what could not pass with all the luck there is.

    `usual` is what a node gives in a window.

    Raises:
        Refused: no node has to be heard, error rates that the re-draws cannot show, too few labels,
            shadowed answers or requests for any verdict, too few answers for the margin (or the
            agreement) even if both models agreed on all of them, or so few nodes that most draws of
            the canary are this one.
    """
    _refuse_unheard(gates, subject)
    _refuse_rare(gates, design, subject)
    _refuse_too_few(gates, design, usual, subject)
    _refuse_unshowable(gates, design, usual, subject)
    _refuse_few_requests(gates, design, usual, subject)
    _refuse_same_draws(gates, design, subject)


def nodes_in_words(count: int) -> str:
    """Return `1 canary node`, or how many there are."""
    return f"{count} canary node{'' if count == 1 else 's'}"


def _refuse_unheard(gates: Gates, subject: str) -> None:
    if gates.min_node_share > 0:
        return
    problem = "min_node_share is 0: a canary with which nothing could be compared would pass"
    raise Refused(subject, problem, "Set gates.min_node_share above 0")


def _refuse_rare(gates: Gates, design: Design, subject: str) -> None:
    least, (worse, fine) = 1 / (design.draws + 1), share_of_budget(gates, "p50", gates.max_windows)
    if min(worse, fine) >= least:
        return
    raise Refused(
        subject,
        f"with alpha_fail {gates.alpha_fail:g} and alpha_pass {gates.alpha_pass:g} one of "
        f"{design.draws} re-draws of the canary is already too many: no difference could be shown",
        f"Raise them to {2 * least:.1g} at least",
    )


def _refuse_too_few(gates: Gates, design: Design, usual: Usual, subject: str) -> None:
    count, windows = len(design.canary), gates.max_windows
    each = told_by(gates, usual)
    if gates.accuracy.source == "none" or not 0 < each * count * windows < gates.min_labels:
        return
    agreeing = gates.accuracy.source == "agreement"
    named = "labels of shadowed requests" if by_pairs(gates) else "labels"
    raise Refused(
        subject,
        f"{nodes_in_words(count)} with {each:.2g} {'shadowed answers' if agreeing else named} a "
        f"window give {each * count * windows:.0f} in {windows} windows, below min_labels "
        f"{gates.min_labels}: accuracy could have no verdict",
        "Shadow more, or take more canary nodes or windows"
        if agreeing
        else "Label more, take more canary nodes or windows, or judge by agreement",
    )


def _refuse_unshowable(gates: Gates, design: Design, usual: Usual, subject: str) -> None:
    canary, windows = nodes_in_words(len(design.canary)), gates.max_windows
    shadowed = usual.requests * gates.shadow_rate * len(design.canary) * windows
    if gates.accuracy.source == "agreement":
        least = gates.accuracy.min_agreement
        needed = math.log(1 / gates.alpha_pass) / math.log1p(STAKES[-1] * (1 - least))
        if 0 < shadowed < needed:
            raise Refused(
                subject,
                f"{canary} with {usual.requests:.3g} requests a window cannot show that "
                f"{100 * least:g} % of the answers agree in {windows} windows: even if all do it "
                f"needs about {needed:.0f} shadowed answers, and gets {shadowed:.0f}",
                "Lower min_agreement, shadow more, or take more canary nodes or windows",
            )
        return
    margin_pt = gates.accuracy.margin_pt
    needed = math.log(2 / gates.alpha_pass) / math.log1p(STAKES[-1] * margin_pt / 100)
    answers = max(told_by(gates, usual) * len(design.canary) * windows, shadowed)
    if by_pairs(gates) and 0 < answers < needed:
        raise Refused(
            subject,
            f"{canary} with {usual.labels:.2g} labels and {usual.requests:.3g} requests a window "
            f"cannot show a margin of {margin_pt:g} pt in {windows} windows: even without any "
            f"disagreement it needs about {needed:.0f} answers, and gets {answers:.0f}",
            "Widen the margin, label or shadow more, or take more canary nodes or windows",
        )


def _refuse_few_requests(gates: Gates, design: Design, usual: Usual, subject: str) -> None:
    requests = usual.requests * len(design.canary) * gates.max_windows
    if 0 < requests < gates.min_requests:
        raise Refused(
            subject,
            f"{nodes_in_words(len(design.canary))} with {usual.requests:.2g} requests a window "
            f"give {requests:.0f} in {gates.max_windows} windows, below min_requests "
            f"{gates.min_requests}: latency and errors could have no verdict",
            "Take more canary nodes, more or longer windows, or a lower min_requests",
        )


def _refuse_same_draws(gates: Gates, design: Design, subject: str) -> None:
    canary = nodes_in_words(len(design.canary))
    same = draws_for(design).same
    _, fine = share_of_budget(gates, "", gates.max_windows)
    compared = [f"p{q * 100:g}" for q in gates.latency.quantiles]
    if gates.accuracy.source == "labels" and not has_bets(gates):
        compared.append("accuracy")
    if compared and same > fine:
        raise Refused(
            subject,
            f"of all draws of {canary} from {len(design.nodes)} nodes {100 * same:.0f} % are the "
            f"same nodes: no comparison of {', '.join(compared)} can reach {100 * fine:.1f} %",
            "Take more canary nodes from more nodes, or judge those by floors alone: "
            "`latency: {quantiles: []}`, a shadow_rate above 0 for accuracy",
        )
