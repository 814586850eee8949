"""From what was gathered to the pictures' plain numbers. A picture without numbers is not drawn."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final

from edgefleet.edge.contract import BUCKETS, Evidence
from edgefleet.fleet.finding import MetricVerdict
from edgefleet.fleet.release import ENDS
from edgefleet.fleet.stage import Fate, of_fate
from edgefleet.plant.record import BUCKET_S, Counts, Cutover, PlantRecord
from edgefleet.report.gather import ReleaseStory
from edgefleet.report.pictures.cutovers import Moment, requests_around
from edgefleet.report.pictures.field import (
    Pairs,
    Track,
    evidence_over_looks,
    latency_distributions,
    paired_answers,
)
from edgefleet.report.pictures.lab import Step, quantization_trace
from edgefleet.report.pictures.moves import Cell, Line, Span, node_map, timeline
from edgefleet.report.shown import NEAR_S, StoryResult

_BINS: Final = round(2 * NEAR_S / BUCKET_S)
_ROUNDING: Final = 1e-3
"""Of a bin: unix seconds carry that much noise, and a bucket on a bin's edge must not waver."""


def draw_timeline(stories: Sequence[StoryResult], started: datetime) -> str:
    """Draw all stories' phases, each from its first line in the journal to the next phase's."""
    lines = [
        Line(shown.title, spans(shown.story, started), shown.story.release.phase.value)
        for shown in stories
    ]
    return timeline(lines) if any(line.spans for line in lines) else ""


def spans(story: ReleaseStory, started: datetime) -> tuple[Span, ...]:
    """Return the stays in live phases, in seconds since `started`."""
    entered = [
        (entry.phase, (entry.at - started).total_seconds())
        for before, entry in pairwise([None, *story.journal])
        if entry is not None and (before is None or before.phase != entry.phase)
    ]
    if story.journal and story.release.live:
        entered.append(("", (story.journal[-1].at - started).total_seconds()))
    return tuple(
        Span(phase, start_s, end_s)
        for (phase, start_s), (_, end_s) in pairwise(entered)
        if phase not in ENDS
    )


def draw_trace(story: ReleaseStory) -> str:
    """Draw what the quantization search tried."""
    found = story.qualification
    if found is None or not found.trace:
        return ""
    shipped = found.precision != "fp32"
    steps = [Step(t.drop_pt, t.upper_pt, len(t.excluded), t.method, t.ratio) for t in found.trace]
    raced = [i for i, step in enumerate(steps) if step.speedup is not None]
    nearest = min(range(len(steps)), key=lambda i: steps[i].drop_pt)
    suspects = [("+".join(s.nodes), s.guilt) for s in found.ranking]
    return quantization_trace(
        steps,
        raced[-1] if raced else nearest,
        story.spec.quantization.max_drop_pt,
        suspects,
        shipped=shipped,
    )


def draw_map(story: ReleaseStory) -> str:
    """Draw who was in which wave, and who failed or was left out."""
    plan = story.plan
    if plan is None:
        return ""
    failed = {
        report.node
        for reports in (story.pulls, *story.changed.values())
        for stage in reports
        for report in of_fate(stage.nodes, Fate.FAILED)
    }
    cells = [
        Cell(change.node, change.factory, index, "failed" if change.node in failed else "")
        for index, wave in enumerate(plan.waves)
        for change in wave.changes
    ]
    cells += [
        Cell(out.node, out.factory, None, "" if out.kind == "current" else out.kind)
        for out in plan.left_out
    ]
    return node_map(cells, [wave.name for wave in plan.waves])


def draw_evidence(story: ReleaseStory) -> str:
    """Draw each metric's evidence as a share of the boundary that held at that look."""
    names = list(dict.fromkeys(m.name for look in story.looks for m in look.verdict.metrics))
    tracks = [_track(story, name) for name in names]
    return evidence_over_looks(tracks) if tracks else ""


def _track(story: ReleaseStory, name: str) -> Track:
    by_look = [{m.name: m for m in look.verdict.metrics}.get(name) for look in story.looks]
    last = next(metric for metric in reversed(by_look) if metric is not None)
    return Track(
        name,
        [_share(metric, "pass") for metric in by_look],
        [_share(metric, "fail") for metric in by_look],
        last.outcome.value,
    )


def _share(metric: MetricVerdict | None, toward: str) -> float | None:
    if metric is None:
        return None
    got, need = (
        (metric.pass_evidence, metric.pass_boundary)
        if toward == "pass"
        else (metric.evidence, metric.boundary)
    )
    return got / need if math.isfinite(need) and need > 0 and math.isfinite(got) else None


def draw_latency(story: ReleaseStory) -> str:
    """Draw the canary's latencies against those of the nodes that served the old package."""
    new, old = [0] * (BUCKETS + 1), [0] * (BUCKETS + 1)
    for node, record in _looked_at(story):
        target = new if _is_new(story, node, record) else old
        for bucket, count in record.latency:
            target[bucket] += count
    return latency_distributions(old, new) if any(new) else ""


def draw_pairs(story: ReleaseStory) -> str:
    """Draw the canary's gains and losses by window."""
    gains, losses, paired = Counter[int](), Counter[int](), 0
    first = min((look.window for look in story.looks), default=0)
    for node, record in _looked_at(story):
        if _is_new(story, node, record):
            gains[record.window - first + 1] += record.gains
            losses[record.window - first + 1] += record.losses
            paired += record.paired
    windows = [Pairs(w, gains[w], losses[w]) for w in sorted(gains.keys() | losses.keys())]
    return paired_answers(windows, paired) if paired else ""


def _canary(story: ReleaseStory) -> frozenset[str]:
    waves = story.plan.waves if story.plan else ()
    return frozenset(change.node for change in waves[0].changes) if waves else frozenset()


def _is_new(story: ReleaseStory, node: str, record: Evidence) -> bool:
    assert story.plan is not None  # noqa: S101 - there is no look without a plan
    return record.digest == story.plan.want and node in _canary(story)


def _looked_at(story: ReleaseStory) -> Iterator[tuple[str, Evidence]]:
    """Yield the warm records of the windows that the looks were about."""
    windows = [look.window for look in story.looks]
    if not windows or story.plan is None:
        return
    for node, records in story.evidence.items():
        for record in records:
            if record.warm and min(windows) <= record.window <= max(windows):
                yield node, record


def draw_cutovers(plant: PlantRecord) -> str:
    """Draw requests around all cut-overs, and around the one that lost or had the most to lose."""
    if not plant.cutovers:
        return ""
    total = [Counts()] * _BINS
    for cutover in plant.cutovers:
        bins = _bins(plant, cutover)
        total = [_plus(a, b) for a, b in zip(total, bins, strict=True)]
    bad = min(plant.cutovers, key=lambda cut: _badness(plant.around(cut, NEAR_S)))
    seen = plant.around(bad, NEAR_S)
    name = f"{bad.node}, {seen.requests} requests, {seen.lost} lost"
    return requests_around(
        _moments(total), _moments(_bins(plant, bad)), len(plant.cutovers), name, BUCKET_S
    )


def _badness(counts: Counts) -> tuple[int, int]:
    return -counts.lost, counts.requests


def _bins(plant: PlantRecord, cutover: Cutover) -> list[Counts]:
    bins = [Counts()] * _BINS
    buckets = plant.cameras.get((cutover.workload, cutover.factory, cutover.node), ())
    first = bisect_left(buckets, cutover.ready - NEAR_S, key=lambda bucket: bucket.t)
    after = bisect_left(buckets, cutover.ready + NEAR_S, key=lambda bucket: bucket.t)
    for bucket in buckets[first:after]:
        index = math.floor((bucket.t - cutover.ready + NEAR_S) / BUCKET_S + _ROUNDING)
        if 0 <= index < _BINS:
            bins[index] = _plus(bins[index], Counts(bucket.ok, bucket.failed, bucket.refused))
    return bins


def _plus(a: Counts, b: Counts) -> Counts:
    return Counts(a.ok + b.ok, a.failed + b.failed, a.refused + b.refused)


def _moments(bins: Sequence[Counts]) -> list[Moment]:
    return [
        Moment(-NEAR_S + i * BUCKET_S, seen.ok, seen.failed, seen.refused)
        for i, seen in enumerate(bins)
    ]
