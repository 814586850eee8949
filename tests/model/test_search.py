"""The search alone, over a scripted bench: which tries, in which order, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgefleet.model.evaluate import Drop, Race
from edgefleet.model.search import Limits, Method, Trial, search
from edgefleet.spec import load_spec


@dataclass
class Bench:
    """Nodes a..f; a drop for each set of nodes that must be out, tolerated otherwise."""

    guilty: Mapping[str, float]
    """Points lost while the node is quantized."""
    speedup: float = 2.0
    nodes: str = "abcdef"
    asked: list[str] = field(default_factory=list)
    raced: list[str] = field(default_factory=list)
    now: float = 0.0
    drift: tuple[str, ...] = ()

    @property
    def candidates(self) -> tuple[str, ...]:
        return tuple(self.nodes)

    def trial(self, excluded: tuple[str, ...], method: Method) -> Trial:
        self.now += 1.0
        self.asked.append(f"{method} without {''.join(excluded)}")
        lost = sum(points for node, points in self.guilty.items() if node not in excluded)
        drop = Drop(points=lost, upper_points=lost + 0.2, n=1000, gains=0, losses=0)
        return Trial(0.95 - lost / 100, drop, 1000 + len(excluded), self.drift)

    def guilt(self, nodes: tuple[str, ...], method: Method) -> float:
        self.now += 0.5
        self.asked.append(f"{method} only {''.join(nodes)}")
        return sum(self.guilty.get(node, 0.0) for node in nodes)

    def race(self, excluded: tuple[str, ...], method: Method) -> Race:
        self.raced.append(f"{method} without {''.join(excluded)}")
        ratio = self.speedup * (1 - 0.1 * len(excluded))
        return Race(ratio, ratio - 0.05, ratio + 0.05, 1.0, 1 / ratio, 100)

    def clock(self) -> float:
        return self.now


LIMITS = Limits(max_drop_pt=0.5, min_speedup=1.1, max_evaluations=40, max_s=300)


def limits(evaluations: int = 40, seconds: float = 300) -> Limits:
    return Limits(0.5, 1.1, evaluations, seconds)


def test_a_good_model_takes_one_try() -> None:
    bench = Bench({})
    outcome = search(bench, LIMITS, bench.clock)
    assert (outcome.precision, outcome.cut, outcome.evaluations) == ("int8", "no", 1)
    assert bench.asked == ["minmax without "]
    assert outcome.trace[0].ratio == 2.0


def test_the_guiltiest_go_first_and_no_more_than_needed() -> None:
    bench = Bench({"c": 9.0, "e": 4.0, "a": 0.1})
    outcome = search(bench, LIMITS, bench.clock)
    assert outcome.precision == "mixed"
    assert bench.raced == ["minmax without ce"]  # noise is asked once, for the last yes or no
    assert outcome.best is not None
    assert outcome.best.excluded == ("c", "e")
    assert [suspect.nodes for suspect in outcome.ranking[:3]] == [("c",), ("e",), ("a",)]
    assert "2 of 6 nodes left in float" in outcome.reason


def test_an_exclusion_that_turned_out_needless_is_given_back() -> None:
    class Entangled(Bench):
        def guilt(self, nodes: tuple[str, ...], method: Method) -> float:
            return 5.0 if "b" in nodes else super().guilt(nodes, method)

    bench = Entangled({"d": 3.0})  # b looks guilty alone and harms nothing in company
    outcome = search(bench, LIMITS, bench.clock)
    assert outcome.best is not None
    assert outcome.best.excluded == ("d",)
    assert bench.asked[-1] == "minmax without d"


def test_a_drop_whose_bound_is_too_wide_is_not_accepted() -> None:
    bench = Bench({"a": 0.45})
    wide = Limits(max_drop_pt=0.3, min_speedup=1.1, max_evaluations=1, max_s=300)
    assert search(bench, wide, bench.clock).precision == "fp32"
    assert search(bench, LIMITS, bench.clock).precision == "int8"


def test_int8_without_gain_is_not_shipped_and_says_so() -> None:
    bench = Bench({}, speedup=1.05)
    outcome = search(bench, LIMITS, bench.clock)
    assert outcome.precision == "fp32"
    assert "x1.05 [1.00, 1.10] against FP32 below 1.1" in outcome.reason


def test_int8_that_is_wanted_for_its_size_may_be_slower() -> None:
    """As on processors without VNNI, where INT8 takes 1.05 times as long as FP32."""
    bench = Bench({}, speedup=0.95)
    wanted = load_spec(Path("deployments/specs/defect-detection.yaml")).quantization
    small = Limits(
        wanted.max_drop_pt, wanted.min_speedup, wanted.max_evaluations, max_s=wanted.max_s
    )
    outcome = search(bench, small, bench.clock)
    assert (wanted.precision, outcome.precision) == ("int8", "int8")
    assert "x0.95 [0.90, 1.00] against FP32 reaches 0.8" in outcome.reason


def test_a_model_beyond_repair_keeps_the_nearest_miss() -> None:
    bench = Bench(dict.fromkeys("abcdef", 2.0))
    outcome = search(bench, LIMITS, bench.clock)
    assert (outcome.precision, outcome.cut) == ("fp32", "no")
    assert outcome.best is not None
    assert len(outcome.best.excluded) == 5
    assert "could not be repaired: best drop" not in outcome.reason
    assert "best 2.00 pt (upper bound 2.20 pt, n=1000) with 5 of 6" in outcome.reason


def test_the_evaluations_budget_cuts_and_the_best_so_far_is_kept() -> None:
    bench = Bench(dict.fromkeys("abcdef", 2.0))
    outcome = search(bench, limits(evaluations=8), bench.clock)
    # Two tries, three blocks of two, two exclusions; the third would be all of them.
    assert (outcome.precision, outcome.cut, outcome.evaluations) == ("fp32", "evaluations", 7)
    assert "the budget of evaluations is spent" in outcome.reason
    assert outcome.best is not None
    assert outcome.best.drop_pt == min(entry.drop_pt for entry in outcome.trace)


def test_the_seconds_budget_cuts_and_is_recorded() -> None:
    bench = Bench(dict.fromkeys("abcdef", 2.0))
    outcome = search(bench, limits(seconds=3.2), bench.clock)
    assert (outcome.precision, outcome.cut) == ("fp32", "seconds")
    assert "the budget of seconds is spent" in outcome.reason


def test_a_found_repair_survives_a_budget_that_ends_while_giving_back() -> None:
    bench = Bench({"a": 3.0, "b": 2.0, "c": 1.0})
    outcome = search(bench, limits(seconds=2 + 6 * 0.5 + 2.5), bench.clock)
    assert (outcome.precision, outcome.cut, outcome.evaluations) == ("mixed", "seconds", 11)


def test_a_large_graph_is_ranked_in_blocks_that_fit_the_budget() -> None:
    names = "".join(chr(0x100 + i) for i in range(100))
    bench = Bench({names[50]: 5.0}, nodes=names, speedup=5.0)
    outcome = search(bench, LIMITS, bench.clock)
    assert len(outcome.ranking) <= 19
    assert names[50] in outcome.ranking[0].nodes
    assert outcome.precision == "mixed"


def test_a_node_that_the_runtime_kept_in_float_makes_the_answer_mixed() -> None:
    bench = Bench({}, drift=("b",))
    outcome = search(bench, LIMITS, bench.clock)
    assert outcome.precision == "mixed"
    assert "the runtime kept b in float" in outcome.trace[0].outcome
