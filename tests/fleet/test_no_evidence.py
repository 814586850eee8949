"""No input makes a release pass without evidence: nodes say anything, and the counts are redone.

What nodes say goes the way of a scrape: as JSON, through what reads it, into the gates. Whatever
passes there must be borne out by plain loops over the same JSON, which know nothing of the gates.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet.adapters.scrape import windows_in
from edgefleet.edge.contract import BUCKETS, Evidence
from edgefleet.fleet.book import begun
from edgefleet.fleet.sheets import sheet_of
from edgefleet.fleet.verdict import (
    Design,
    Outcome,
    Verdict,
    judge,
    judge_first,
    judge_wave,
    open_gate,
    wave_design,
)
from edgefleet.spec import Gates
from tests.fleet.simulated import FIRST, WANT, WAS, World, design, evidence

Raw = dict[str, Any]
"""A record as a node's JSON has it."""
Said = dict[str, list[Raw]]

DRAWS: Final = 99
EXAMPLES: Final = 80
"""Of each of the ways to a verdict."""
LOOKS: Final = 12
"""Windows since the change that nodes tell of."""
PRE: Final = 6
WORLDS: Final = (
    World(nodes=12, canary=5, factories=3, pre=PRE, windows=LOOKS, offline=0.0, seed=3),
    World(nodes=24, canary=5, factories=5, pre=PRE, windows=LOOKS, paired=20, seed=4),
    World(nodes=10, canary=4, factories=2, pre=0, windows=LOOKS, unlabelled_too=True, seed=5),
)


@cache
def drawn(world: World) -> Design:
    """Return a world's design; two nodes of the second one's canary came late."""
    plan = replace(design(world), draws=DRAWS)
    late = plan.canary[:2] if world.nodes == 24 else ()
    return replace(plan, since=dict.fromkeys(late, FIRST + 2))


@cache
def simulated(world: World) -> Mapping[str, tuple[Raw, ...]]:
    """Return what the nodes of a world with a good model say."""
    return {
        node: tuple(msgspec.to_builtins(record) for record in records)
        for node, records in evidence(world, drawn(world)).items()
    }


# --- what the gates are told, and what the test counts -------------------------------------------


def heard(said: Said, window: int) -> dict[str, tuple[Evidence, ...]]:
    """Return what the centre takes of it, once `window` is over."""
    found = {}
    for node, records in said.items():
        body = json.dumps({"now": 0.0, "window_s": 60.0, "records": records}).encode()
        try:
            found[node] = windows_in(body, node)
        except msgspec.MsgspecError:
            continue
    return begun(found, window + 5)


def possible(record: Raw) -> bool:
    """Say whether every value is one that a node could count."""
    latency = record.get("latency", ())
    numbers = [value for value in record.values() if type(value) is int]
    numbers += [count for _, count in latency]
    return all(0 <= n < 2**53 for n in numbers) and all(0 <= at <= BUCKETS for at, _ in latency)


def consistent(record: Raw) -> bool:
    """Say whether no part is more than its whole."""
    n = Counter({name: value for name, value in record.items() if type(value) is int})
    return not (
        n["correct"] > n["labelled"]
        or n["paired"] > n["labelled"]
        or n["gains"] + n["losses"] > n["paired"]
        or n["disagreed"] > n["shadowed"]
        or n["shadow_gains"] + n["shadow_losses"] > n["disagreed_labelled"]
        or sum(count for _, count in record.get("latency", ())) > n["ok"]
    )


@dataclass(frozen=True)
class Count:
    """Plain sums of one side since the change, and how many of its nodes have any of each."""

    sums: Counter[str]
    nodes: Counter[str]
    of: int
    heard: int
    """Windows with a word from any of them, whatever it serves."""

    def short_of(self, kind: str, least: int, share: float) -> str:
        """Say what is missing; nothing where it is enough."""
        if self.sums[kind] < least:
            return f"{self.sums[kind]} {kind} of {least}"
        if self.nodes[kind] < share * self.of - 1e-9:
            return f"{kind} on {self.nodes[kind]} of {self.of} nodes, {share:g} are needed"
        return ""


def counted(
    said: Said, nodes: Sequence[str], digest: str, since: Mapping[str, int], last: int
) -> Count:
    sums: Counter[str] = Counter()
    some: Counter[str] = Counter()
    windows = set()
    for node in nodes:
        records = said.get(node, [])
        if not all(map(possible, records)):
            continue  # its answer cannot be read
        mine: Counter[str] = Counter()
        for record in filter(consistent, records):
            first = max(FIRST, since.get(node, FIRST))
            if not first <= record["window"] <= last or not record.get("warm", True):
                continue
            windows.add(record["window"])
            if record["digest"] != digest:
                continue
            mine.update({k: v for k, v in record.items() if type(v) is int})
            mine["latency"] += sum(count for _, count in record.get("latency", ()))
        mine["failed"] = mine["server_errors"] + mine["refused"]
        mine["requests"] = mine["ok"] + mine["failed"]
        sums += mine
        some.update(kind for kind, n in mine.items() if n > 0)
    return Count(sums, some, len(nodes), len(windows))


@dataclass(frozen=True, repr=False)
class Case:
    """What is judged: a design, its gates, and what all nodes say."""

    plan: Design
    rules: Gates
    said: Said
    known: dict[int, tuple[Count, Count]] = field(default_factory=dict)

    def __repr__(self) -> str:
        last = FIRST + LOOKS - 1
        return f"Case({self.rules!r}, {self.plan.canary}, {self.both(last)})"

    def _repr_pretty_(self, printer: Any, _: bool) -> None:  # noqa: FBT001 - as hypothesis calls it
        printer.text(repr(self))

    def both(self, window: int) -> tuple[Count, Count]:
        """Return the counts of canary and controls up to a window."""
        if window not in self.known:
            plan = self.plan
            others = [m.node for m in plan.nodes if m.node not in plan.canary]
            self.known[window] = (
                counted(self.said, plan.canary, WANT, plan.since, window),
                counted(self.said, others, WAS, {}, window),
            )
        return self.known[window]


def unborne(case: Case, metric: str, window: int) -> list[str]:
    """Return what a PASS of a metric lacks, of those that compare canary and controls."""
    rules = case.rules
    canary, control = case.both(window)
    share = rules.min_node_share
    kind = {"errors": "requests", "accuracy": "labelled"}.get(metric, "latency")
    least = rules.min_labels if metric == "accuracy" else rules.min_requests
    if metric == "presence":  # silent no more than the controls: not where they all are
        return [] if control.heard else ["no word from any control"]
    if metric == "accuracy" and rules.accuracy.source == "agreement":
        return [canary.short_of("shadowed", least, share)]
    if metric == "accuracy" and rules.shadow_rate and canary.sums["paired"]:
        return [canary.short_of("paired", least, share)]
    return [canary.short_of(kind, least, share), control.short_of(kind, 1, 0.0)]


def unborne_floor(case: Case, metric: str, window: int, *, first: bool) -> list[str]:
    """Return what a PASS of a floor lacks."""
    rules, canary = case.rules, case.both(window)[0]
    kind, bad, limit = {
        "errors floor": ("requests", canary.sums["failed"], rules.floors.error_rate),
        "p99 floor": ("latency", 0, 0.01),
        "accuracy floor": (
            "labelled",
            canary.sums["labelled"] - canary.sums["correct"],
            1 - (rules.floors.accuracy or 0.0),
        ),
    }[metric]
    least = rules.min_labels if kind == "labelled" else rules.min_requests
    n = canary.sums[kind]
    missed = bad > limit * n + 1e-6 or (first and bad >= limit * n)
    return [
        canary.short_of(kind, least, rules.min_node_share),
        f"{bad} of {n} bad against a floor of {limit:g}" if missed else "",
    ]


def too_bad(case: Case, looks: Iterable[int]) -> str:
    """Say that accuracy passed although at no look the sum of its samples was within the margin."""
    rules = case.rules
    margin, least = rules.accuracy.margin_pt / 100, rules.accuracy.min_agreement
    for window in looks:
        n = case.both(window)[0].sums
        unknown = max(n["disagreed"] - n["disagreed_labelled"], 0)
        if rules.accuracy.source == "agreement":
            fine = n["disagreed"] < (1 - least) * n["shadowed"]
        elif not rules.shadow_rate or not n["paired"]:
            fine = True  # compared between nodes: another draw may be as bad
        else:
            on_pairs = n["gains"] - n["losses"] > -margin * n["paired"]
            net = n["shadow_gains"] - n["shadow_losses"] - unknown
            fine = on_pairs or net > -margin * n["shadowed"]
        if fine:
            return ""
    return "accuracy is worse than its margin"


def asked_for(rules: Gates, way: str) -> set[str]:
    """Return the metrics that a spec's gates are about, at the canary, a first one, or a wave."""
    floors, labels = rules.floors, rules.accuracy.source == "labels"
    names = {"errors floor"}
    if floors.p99_ms is not None:
        names.add("p99 floor")
    if floors.accuracy is not None and labels and way != "wave":
        names.add("accuracy floor")
    if way == "wave":
        names |= {"errors", "p99"}
    if way == "canary":
        names |= {"errors", "presence", *(f"p{100 * q:g}" for q in rules.latency.quantiles)}
        if rules.accuracy.source != "none":
            names.add("accuracy")
    return names


def check(case: Case, verdict: Verdict, way: str, looks: Sequence[int]) -> Outcome:
    """Hold every PASS against the counts."""
    window, first = looks[-1], way == "first"
    for metric in verdict.metrics:
        if metric.outcome is Outcome.PASS:
            name = "accuracy" if metric.name == "agreement" else metric.name
            floor = name.endswith("floor")
            lacks = (
                unborne_floor(case, name, window, first=first)
                if floor
                else unborne(case, name, window)
            )
            if way != "wave" and window - FIRST + 1 < case.rules.min_windows:
                lacks.append("windows")
            if name == "accuracy":
                lacks.append(too_bad(case, looks))
            assert not any(lacks), f"{metric.name} passed: {lacks}"
    if verdict.outcome is Outcome.PASS:
        names = {m.name if m.name != "agreement" else "accuracy" for m in verdict.metrics}
        assert asked_for(case.rules, way) == names
        assert {metric.outcome for metric in verdict.metrics} == {Outcome.PASS}
    return verdict.outcome


def at_the_canary(case: Case, windows: Sequence[int]) -> Outcome:
    """Judge after some windows; return the first outcome that decides, or the last."""
    state = open_gate(case.plan, case.rules)
    for number, window in enumerate(windows, 1):
        sheet = sheet_of(case.plan, heard(case.said, window), window)
        state, verdict = judge(state, case.plan, case.rules, sheet, window)
        outcome = check(case, verdict, "canary", windows[:number])
        if outcome is not Outcome.INCONCLUSIVE:
            break
    return outcome


def at_the_first(case: Case, windows: Sequence[int]) -> Outcome:
    """Judge a first release's canary after the last of the windows."""
    plan, window = replace(case.plan, pre=None), windows[-1]
    sheet = sheet_of(replace(plan, was=None), heard(case.said, window), window)
    verdict = judge_first(case.rules, sheet, window, plan.look_at(window))
    return check(Case(plan, case.rules, case.said), verdict, "first", [window])


def at_a_wave(case: Case, windows: Sequence[int]) -> Outcome:
    """Judge the same nodes as a wave, with all others as holdback, after the last window."""
    plan, window = case.plan, windows[-1]
    others = [m.node for m in plan.nodes if m.node not in plan.canary]
    made = wave_design(
        case.rules,
        changed=plan.canary,
        holdback=others,
        want=WANT,
        was=WAS,
        first=FIRST,
        looks=1,
    )
    made = replace(made, design=replace(made.design, draws=DRAWS))
    sheet = sheet_of(made.design, heard(case.said, window), window)
    verdict = judge_wave(made, case.rules, sheet, window, 1)
    return check(Case(made.design, case.rules, case.said), verdict, "wave", [window])


Way = Callable[[Case, Sequence[int]], Outcome]
WAYS: Final[tuple[Way, ...]] = (at_the_canary, at_the_first, at_a_wave)


# --- evidence that is just enough, or just not ---------------------------------------------------

ENOUGH: Final = {"requests": 1000, "latency": 1000, "labelled": 300, "shadowed": 300, "paired": 300}


def shares_of(total: int, count: int) -> list[int]:
    """Return a total as parts that differ by one at most."""
    return [total // count + (place < total % count) for place in range(count)]


def flat(
    plan: Design, totals: Mapping[str, int], *, windows: int = LOOKS, counting: int | None = None
) -> Said:
    """Return what nodes say of a good model, the canary so much in all.

    `counting`: how many nodes of the canary anybody asks; the others say that they are there.
    """
    asked = plan.canary[:counting]
    said: Said = {}
    for member in plan.nodes:
        canary = member.node in plan.canary
        known = range(-PRE if plan.pre else 0, windows)
        quiet = {"boot": "b", "digest": WAS}
        records = [{**quiet, "window": FIRST + at} for at in known]
        mine = [r for r in records if r["window"] >= FIRST]
        cells = windows * len(asked)
        begin = windows * asked.index(member.node) if member.node in asked else None
        for record in mine if canary else []:
            record["digest"] = WANT
        for kind, total in {**ENOUGH, **totals}.items():
            parts = shares_of(total, cells)
            for place, record in enumerate(records):
                at = record["window"] - FIRST
                if canary and at >= 0:
                    record[kind] = parts[begin + at] if begin is not None else 0
                else:
                    record[kind] = parts[place % cells]
        said[member.node] = [finished(record) for record in records]
    return said


def finished(record: Raw) -> Raw:
    """Return a record as a node writes it, of how many of each kind there are."""
    record = dict(record)
    record["ok"] = record.pop("requests")
    latency = record["latency"]
    record["latency"] = [[20, latency]] if latency else []
    record["correct"] = record["labelled"] - record["labelled"] // 5
    return record


def easy(**changes: object) -> Gates:
    """Return gates that good evidence passes as soon as there is enough of it."""
    usual = {
        "min_windows": 6,
        "max_windows": LOOKS,
        "alpha_pass": 0.4,
        "min_requests": 1000,
        "min_labels": 300,
        "accuracy": {"margin_pt": 50},
        "latency": {"margin_pct": 300},
        "errors": {"margin_pt": 50},
        "floors": {"accuracy": 0.3, "error_rate": 0.5, "p99_ms": 1000},
    }
    return Gates.model_validate(usual | changes)


UNPAIRED: Final = {"shadow_rate": 0}
AGREE: Final = {"accuracy": {"source": "agreement", "min_agreement": 0.5}}
SHORT: Final[tuple[tuple[str, dict[str, object], dict[str, int], tuple[Way, ...]], ...]] = (
    ("requests", {}, {"requests": 999, "latency": 999}, WAYS),
    ("latencies", {}, {"latency": 999}, WAYS),
    ("labels", UNPAIRED, {"labelled": 299, "paired": 0}, WAYS[:2]),
    ("pairs", {}, {"paired": 299}, WAYS[:1]),
    ("answers that agree", AGREE, {"shadowed": 299, "paired": 0}, WAYS[:1]),
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("rules", [{}, UNPAIRED, AGREE], ids=["pairs", "labels", "agreement"])
@pytest.mark.parametrize("world", WORLDS[:1])
def test_just_enough_of_everything_passes(way: Way, rules: dict[str, object], world: World) -> None:
    case = Case(drawn(world), easy(**rules), flat(drawn(world), {}))
    assert way(case, range(FIRST, FIRST + LOOKS)) is Outcome.PASS


@pytest.mark.parametrize(("what", "rules", "totals", "ways"), SHORT, ids=[s[0] for s in SHORT])
def test_one_too_few_passes_nothing(
    what: str, rules: dict[str, object], totals: dict[str, int], ways: tuple[Way, ...]
) -> None:
    plan = drawn(WORLDS[0])
    case = Case(plan, easy(**rules), flat(plan, totals))
    for way in ways:
        assert way(case, range(FIRST, FIRST + LOOKS)) is Outcome.INCONCLUSIVE, what


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_node_too_few_passes_nothing(way: Way) -> None:
    plan = drawn(WORLDS[0])
    two, three = (Case(plan, easy(), flat(plan, {}, counting=n)) for n in (2, 3))
    assert way(two, range(FIRST, FIRST + LOOKS)) is Outcome.INCONCLUSIVE
    assert way(three, range(FIRST, FIRST + LOOKS)) is Outcome.PASS


@pytest.mark.parametrize("way", WAYS[:2], ids=lambda way: way.__name__)
def test_a_window_too_few_passes_nothing(way: Way) -> None:
    plan = drawn(WORLDS[0])
    for windows, outcome in ((5, Outcome.INCONCLUSIVE), (6, Outcome.PASS)):
        case = Case(plan, easy(), flat(plan, {}, windows=windows))
        assert way(case, range(FIRST, FIRST + windows)) is outcome


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize(
    "odd",
    [
        {"digest": "sha256:" + "9" * 64},
        {"digest": WAS},
        {"warm": False},
        {"window": FIRST - 1},
        {"window": FIRST + LOOKS},
        {"ok": 0, "latency": []},
        {"gains": 99},
        {"ok": -1},
    ],
    ids=str,
)
def test_what_does_not_count_is_missing_where_there_was_just_enough(way: Way, odd: Raw) -> None:
    plan = drawn(WORLDS[0])
    said = flat(plan, {})
    node = plan.canary[0]
    said[node] = [{**r, **odd} if r["window"] == FIRST + 4 else r for r in said[node]]
    case = Case(plan, easy(), said)
    assert way(case, range(FIRST, FIRST + LOOKS)) is Outcome.INCONCLUSIVE


# --- the search --------------------------------------------------------------------------------

Change = Callable[[Raw], list[Raw]]
COUNTS: Final = (
    *("ok", "server_errors", "refused", "client_errors", "wanted", "labelled", "correct", "paired"),
    *("gains", "losses", "shadowed", "disagreed", "disagreed_labelled", "shadow_gains"),
    *("shadow_losses", "other_labelled", "golden_total", "queue_peak", "serving_us"),
)
LABELS: Final = ("labelled", "correct", "wanted", "paired", "gains", "losses")
GONE: Final[Mapping[str, tuple[str, ...]]] = {
    "counts": COUNTS,
    "labels": LABELS,
    "pairs": ("paired", "gains", "losses"),
    "shadows": ("shadowed", "disagreed"),
    "answers": ("ok", "latency"),
    "latency": ("latency",),
}


def without(names: Iterable[str]) -> Change:
    return lambda record: [{k: v for k, v in record.items() if k not in names}]


def having(**fields: Any) -> Change:
    return lambda record: [{**record, **fields}]


def moved(by: int) -> Change:
    return lambda record: [{**record, "window": record["window"] + by}]


def times(factor: float) -> Change:
    """Return the same with more or less of everything that is counted."""

    def change(record: Raw) -> list[Raw]:
        counts = {name: int(record[name] * factor) for name in COUNTS if name in record}
        latency = [[at, int(n * factor)] for at, n in record.get("latency", ())]
        return [{**record, **counts, "latency": latency}]

    return change


COUNT: Final = st.one_of(
    st.integers(0, 3),
    st.integers(0, 1000),
    st.sampled_from([-1, -1000, 2**31, 2**53 - 1, 2**53, 2**63, 2**64]),
)
CHANGES: Final[st.SearchStrategy[Change]] = st.one_of(
    st.sampled_from(sorted(GONE)).map(lambda what: without(GONE[what])),
    st.just(lambda _: []),
    st.just(lambda record: [record, record]),
    st.just(having(digest="sha256:" + "9" * 64)),
    st.sampled_from([having(digest=WANT), having(digest=WAS)]),
    st.just(having(warm=False)),
    st.sampled_from([-2000, -50, -5, -1, 1, 3, 10**4, 10**9]).map(moved),
    st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.5, 50.0]).map(times),
    st.builds(lambda name, n: having(**{name: n}), st.sampled_from(COUNTS), COUNT),
    st.builds(lambda at, n: having(latency=[[at, n]]), st.integers(-1, BUCKETS + 1), COUNT),
    st.builds(lambda n, m: having(gains=n, losses=m), COUNT, COUNT),
    st.builds(lambda n, m: having(shadowed=n, disagreed=m), COUNT, COUNT),
)


@st.composite
def records(draw: st.DrawFn) -> Raw:
    """Return a record that nobody has thought about."""
    some = draw(st.dictionaries(st.sampled_from(COUNTS), COUNT, max_size=5))
    latency = draw(st.lists(st.tuples(st.integers(-1, BUCKETS + 1), COUNT), max_size=2))
    return {
        "window": draw(st.integers(FIRST - PRE, FIRST + LOOKS + 2)),
        "digest": draw(st.sampled_from([WAS, WANT])),
        "boot": "x",
        "warm": draw(st.sampled_from([True, True, False])),
        "latency": [list(pair) for pair in latency],
        **some,
    }


@st.composite
def specs(draw: st.DrawFn) -> Gates:
    """Return gates; the easier ones come often, or nothing would ever pass."""

    def often(usual: object, *others: object) -> Any:
        return draw(st.sampled_from([usual, usual, usual, *others]))

    source = draw(st.sampled_from(["labels", "agreement", "none"]))
    least = often(4, 1, 8)
    return Gates.model_validate(
        {
            "accuracy": {
                "source": source,
                "margin_pt": often(20, 0.5, 2, 50),
                "min_agreement": often(0.5, 0.9),
            },
            "latency": {
                "margin_pct": often(100, 5, 1000),
                "quantiles": often((0.5,), (), (0.5, 0.95, 0.99), (0.01, 0.01)),
            },
            "errors": {"margin_pt": often(10, 0.1, 50)},
            "floors": {
                "accuracy": often(None, 0.3, 0.9),
                "p99_ms": often(None, 5, 100),
                "error_rate": often(0.1, 0.001, 0.5),
            },
            "min_windows": least,
            "max_windows": least + often(4, 0, 20),
            "alpha_fail": often(0.01, 0.001, 0.4),
            "alpha_pass": often(0.45, 0.05, 0.001),
            "min_labels": often(50, 1, 250, 3000),
            "min_requests": often(500, 1, 1500, 10**6),
            "min_node_share": often(0.6, 0.01, 1.0),
            "shadow_rate": 0.2 if source == "agreement" else often(0.2, 0.0),
        }
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Return good evidence, or just enough of it, with some of it changed by somebody hostile."""
    plan_of = draw(st.sampled_from(WORLDS))
    plan, rules = drawn(plan_of), draw(specs())
    if draw(st.booleans()):
        said = {node: list(told) for node, told in simulated(plan_of).items()}
    else:
        least = {"requests": rules.min_requests, "latency": rules.min_requests}
        least |= dict.fromkeys(("labelled", "shadowed", "paired"), rules.min_labels)
        near = st.sampled_from([-1, 0, 0, 0, 1, 60])
        totals = {kind: max(0, n + draw(near)) for kind, n in least.items()}
        totals["paired"] = draw(st.sampled_from([totals["paired"], totals["paired"], 0]))
        said = flat(plan, totals, counting=draw(st.sampled_from([None, None, 3, 2, 1])))
    sides = {"canary": plan.canary, "all": [m.node for m in plan.nodes]}
    sides["controls"] = [node for node in sides["all"] if node not in plan.canary]
    for _ in range(draw(st.integers(0, 3))):
        change, side = draw(CHANGES), sides[draw(st.sampled_from(sorted(sides)))]
        nodes = side[: draw(st.sampled_from([1, 2, 3, len(side)]))]
        begin = draw(st.sampled_from([FIRST, FIRST, FIRST - PRE, FIRST + 3, FIRST + 8]))
        end = draw(st.sampled_from([10**12, 10**12, begin, FIRST + 4]))
        for node in nodes:
            said[node] = [
                changed
                for record in said[node]
                for changed in (change(record) if begin <= record["window"] <= end else [record])
            ]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        node = draw(st.sampled_from([*sides["all"], "nobody"]))
        said.setdefault(node, []).append(draw(records()))
    for node in draw(st.lists(st.sampled_from(sides["all"]), max_size=2)):
        if draw(st.booleans()) and node in said:
            said[f"{node}x"] = said.pop(node)
    return Case(plan, rules, said)


def search(way: Way, examples: int) -> Counter[Outcome]:
    """Judge whatever can be thought of, and return how it ended."""
    ends: Counter[Outcome] = Counter()

    @settings(max_examples=examples)
    @given(cases())
    def judged(case: Case) -> None:
        soak = case.rules.min_windows
        looks = sorted({max(soak - 1, 1), soak, min(LOOKS, case.rules.max_windows)})
        ends[way(case, [FIRST + look - 1 for look in looks])] += 1

    judged()
    return ends


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_nothing_passes_that_the_counts_do_not_bear_out(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)  # thousands of nodes that contradict themselves
    ends = search(way, EXAMPLES)
    assert ends[Outcome.PASS], "a search that never reaches a PASS shows nothing"
    assert ends[Outcome.INCONCLUSIVE]
