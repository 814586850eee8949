"""A plan for people, in markdown: for the approval form and the artifact. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

from edgefleet.fleet.plan import Plan

_FIRST: Final = (
    "**First release of this workload: no champion to compare with; "
    "it is judged by the spec's absolute floors.**"
)


def plan_table(plan: Plan) -> str:
    """Return waves by factory, bytes to bring, and every node left out with its reason."""
    factories = sorted(plan.nodes_of)
    counts = [Counter(change.factory for change in wave.changes) for wave in plan.waves]
    nodes = sum(count.total() for count in counts)
    # A row for each factory: there may be a dozen, and what is wide is cut off on Prefect's form.
    lines = [
        f"### Plan: {nodes} nodes in {len(factories)} factories",
        "",
        f"| factory | {' | '.join(wave.name for wave in plan.waves)} |",
        f"|---|{'---:|' * len(plan.waves)}",
    ]
    lines += [
        f"| {factory} | {' | '.join(str(count[factory]) for count in counts)} |"
        for factory in factories
    ]
    lines.append(f"| **all** | {' | '.join(str(count.total()) for count in counts)} |")
    size = plan.model_bytes / 1e6
    lines += [
        "",
        f"Canary: {', '.join(change.node for change in plan.waves[0].changes)}"
        + (
            " (hand-picked: its verdict carries no guarantee)"
            if plan.hand_picked
            else f" (drawn by `{plan.salt}`)"
        ),
        "",
        (
            f"To bring: {size:.2f} MB once over each factory's WAN "
            f"({size * len(factories):.2f} MB in all), "
            f"{size * nodes:.2f} MB within the factories. Starts are paced, not bytes."
        ),
    ]
    if plan.first:
        lines += ["", _FIRST]
    if plan.left_out:
        kinds = Counter(out.kind for out in plan.left_out)
        counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        lines += ["", f"Left out: {counted}.", ""]
        lines += [f"- {o.node} ({o.factory}), {o.kind}: {o.reason}" for o in plan.left_out]
    return "\n".join(lines)
