"""A story as the page shows it, part by part, from the plan to the journal. No decisions here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from edgefleet.fleet.finding import MetricVerdict, Verdict
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.slices import Slice
from edgefleet.fleet.stage import Fate, StageReport, of_fate
from edgefleet.report import drawings
from edgefleet.report.gather import ReleaseStory
from edgefleet.report.layout import Chapter, Part, Table, drawn
from edgefleet.report.qualified import qualification
from edgefleet.report.shown import StoryResult
from edgefleet.report.words import NONE, clock, duration, short, signed, size, whole


def chapter(number: int, shown: StoryResult) -> Chapter:
    """Return a story's chapter; parts of which the ledger holds nothing are left away."""
    story = shown.story
    release = story.release
    took = (release.changed_at - release.admitted_at).total_seconds()
    makers = (qualification, planned, pulled, judged, changed, told)
    parts = [part for maker in makers if (part := maker(story)) is not None]
    parts[-1:] = [replace(part, folded=len(parts) > 1) for part in parts[-1:]]
    return Chapter(
        f"story-{number}",
        shown.title,
        shown.expected,
        shown.ended,
        shown.ok,
        f"{release.release_id}: {release.model} version {release.version}, asked for by "
        f"{release.asked_by}, {release.phase.value.replace('_', ' ')} after {duration(took)}",
        release.reason,
        tuple(parts),
    )


def planned(story: ReleaseStory) -> Part | None:
    """Return the plan, and who said yes or no to it."""
    plan = story.plan
    if plan is None:
        return None
    answers = [f"{decision.in_words} at {clock(decision.at)}" for decision in story.decisions] or [
        "nobody was asked yet"
    ]
    warnings = story.preflight.warnings if story.preflight else ()
    first = ["First release of this workload: judged by absolute floors."] if plan.first else []
    tables = [_waves(plan)]
    if plan.left_out:
        rows = tuple((out.node, out.factory, out.kind, out.reason) for out in plan.left_out)
        tables.append(Table(("left out", "factory", "kind", "reason"), rows))
    return Part(
        "Plan and approval",
        "\n".join([*first, *answers, *warnings]),
        tuple(tables),
        drawn(drawings.draw_map(story)),
    )


def _waves(plan: Plan) -> Table:
    factories = sorted(plan.nodes_of)
    rows = []
    for wave in plan.waves:
        counts = Counter(change.factory for change in wave.changes)
        rows.append((wave.name, str(len(wave.changes)), *(str(counts[name]) for name in factories)))
    return Table(("wave", "nodes", *factories), tuple(rows), tuple(range(1, len(factories) + 2)))


def pulled(story: ReleaseStory) -> Part | None:
    """Return what the pre-pull moved."""
    if not story.pulls:
        return None
    rows = tuple(
        (
            stage.factory,
            str(len(of_fate(stage.nodes, Fate.DONE))),
            str(len(stage.nodes)),
            size(stage.wan_bytes),
            size(sum(node.transferred_bytes for node in stage.nodes) - stage.wan_bytes),
            duration(max((node.seconds for node in stage.nodes), default=0.0)),
        )
        for stage in sorted(story.pulls, key=lambda stage: stage.factory)
    )
    columns = ("factory", "have it", "of", "over the WAN", "within the factory", "slowest node")
    total = sum(stage.wan_bytes for stage in story.pulls)
    note = f"{size(total)} over {len(story.pulls)} factories' WAN.\n{_unhappy(story.pulls)}"
    return Part("Pre-pull", note, (Table(columns, rows, (1, 2, 3, 4, 5)),))


def judged(story: ReleaseStory) -> Part | None:
    """Return the verdict with its numbers."""
    verdict = story.verdict
    if verdict is None:
        return None
    pictures = (
        drawings.draw_evidence(story),
        drawings.draw_pairs(story),
        drawings.draw_latency(story),
    )
    note = verdict.reason
    if verdict.driving:
        note += f"\nNodes behind it: {', '.join(verdict.driving)}"
    return Part(
        f"Verdict after {verdict.look} windows: {verdict.outcome.value.upper()}",
        note,
        (_metrics(verdict), *_slices(story.slices)),
        drawn(*pictures),
    )


def _slices(slices: Sequence[Slice]) -> tuple[Table, ...]:
    """Return the differences by factory and by hardware class; they decided nothing."""
    if not slices:
        return ()
    metrics = list(dict.fromkeys(one.metric for one in slices))
    found = {(one.by, one.name, one.metric): one for one in slices}
    places = list(dict.fromkeys((one.by, one.name) for one in slices))
    rows = tuple(
        (
            f"{by} {name}",
            str(max(found[by, name, m].nodes for m in metrics if (by, name, m) in found)),
            *(_slice(found.get((by, name, metric))) for metric in metrics),
        )
        for by, name in places
    )
    columns = ("difference in", "nodes", *metrics)
    return (Table(columns, rows, tuple(range(1, len(columns)))),)


def _slice(one: Slice | None) -> str:
    return NONE if one is None else f"{signed(one.effect, one.unit)} (n={whole(one.n)})"


def _metrics(verdict: Verdict) -> Table:
    rows = tuple(
        (
            metric.name,
            metric.outcome.value.upper(),
            _value(metric.canary, metric),
            _value(metric.control, metric),
            signed(metric.effect, metric.unit),
            _interval(metric),
            f"{metric.margin:g} {metric.unit}",
            whole(metric.n),
            str(metric.nodes),
            metric.text,
        )
        for metric in verdict.metrics
    )
    columns = (
        "metric",
        "outcome",
        "canary",
        "controls",
        "difference",
        "95 % interval",
        "margin",
        "n",
        "nodes",
        "in words",
    )
    return Table(columns, rows, (2, 3, 4, 5, 6, 7, 8))


def _value(value: float | None, metric: MetricVerdict) -> str:
    return NONE if value is None else f"{value:.2f} {metric.scale}"


def _interval(metric: MetricVerdict) -> str:
    if metric.low is None or metric.high is None:
        return NONE
    return f"[{metric.low:+.2f}, {metric.high:+.2f}]"


def changed(story: ReleaseStory) -> Part | None:
    """Return how each wave went, and the way back if there was one."""
    if not story.changed or story.plan is None:
        return None
    went = [(story.plan.waves[index].name, reports) for index, reports in story.changed.items()]
    went += [(f"back, try {number + 1}", reports) for number, reports in story.reverted.items()]
    rows = []
    for name, reports in went:
        nodes = [node for stage in reports for node in stage.nodes]
        counts = [str(len(of_fate(nodes, fate))) for fate in Fate]
        slowest = duration(max((node.seconds for node in nodes), default=0.0))
        rows.append((name, *counts, slowest))
    columns = ("wave", *(fate.value for fate in Fate), "slowest node")
    stages = [stage for _, reports in went for stage in reports]
    note = f"To {short(story.plan.want)}.\n{_unhappy(stages)}"
    return Part("Nodes changed", note, (Table(columns, tuple(rows), (1, 2, 3, 4)),))


def _unhappy(stages: Iterable[StageReport]) -> str:
    nodes = [node for stage in stages for node in stage.nodes if node.fate is not Fate.DONE]
    return "\n".join(f"{node.node} ({node.factory}) {node.fate}: {node.reason}" for node in nodes)


def told(story: ReleaseStory) -> Part | None:
    """Return the journal."""
    if not story.journal:
        return None
    rows = tuple((clock(entry.at), entry.phase, entry.text) for entry in story.journal)
    return Part("What happened when", "", (Table(("at", "phase", "what"), rows),))
