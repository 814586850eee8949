"""A spec that cannot work is refused where it enters: which field, what it holds, what to do."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from edgefleet.errors import Refused
from edgefleet.spec import Spec, load_spec, parse_spec

LEAST = "workload: sorting\nmodel: sorter\nselector: {line: camera}\n"
CASES = {
    "an unknown field": (LEAST + "canery: {}", ("canery: there is no such field (got {})",)),
    "an unknown field of a part": (
        LEAST + "canary: {fractoin: 0.1}",
        ("canary.fractoin: there is no such field (got 0.1)",),
    ),
    "a field that must be there": ("workload: sorting\nmodel: sorter", ("selector: is missing",)),
    "a share above one": (
        LEAST + "canary: {fraction: 1.5}",
        ("canary.fraction: ", "less than or equal to 1 (got 1.5)"),
    ),
    "a count of none": (
        LEAST + "prepull: {nodes_at_once: 0}",
        ("prepull.nodes_at_once: ", "greater than or equal to 1 (got 0)"),
    ),
    "a freeze that ends before it begins": (
        LEAST + "freeze: [{from: 2026-12-24, to: 2026-12-20, reason: stocktaking}]",
        ("freeze.0: it ends on 2026-12-20, before it begins on 2026-12-24",),
    ),
    "a freeze without a reason": (
        LEAST + "freeze: [{from: 2026-12-24, to: 2026-12-28}]",
        ("freeze.0.reason: is missing",),
    ),
    "words for a number": (
        LEAST + "gates: {window_s: a minute}",
        ("gates.window_s: ", "(got 'a minute')"),
    ),
    "a choice that is none": (
        LEAST + "quantization: {precision: int4}",
        ("quantization.precision: ", "'auto', 'int8' or 'fp32' (got 'int4')"),
    ),
    "a name that no id can begin with": (
        LEAST.replace("sorting", "Sorting!"),
        ("workload: ", "(got 'Sorting!')"),
    ),
    "no time for a verdict": (
        LEAST + "gates: {min_windows: 20, max_windows: 10}",
        ("gates: max_windows 10 is below min_windows 20",),
    ),
    "agreement of answers that nobody gives": (
        LEAST + "gates: {accuracy: {source: agreement}, shadow_rate: 0}",
        ("gates: accuracy.source: agreement needs answers of both models, and shadow_rate: 0",),
    ),
    "all answers in agreement": (
        LEAST + "gates: {accuracy: {source: agreement, min_agreement: 1}}",
        ("gates.accuracy.min_agreement: ", "0.99 takes some hundreds", "(got 1)"),
    ),
    "no answer wrong": (
        LEAST + "gates: {floors: {accuracy: 1.0}}",
        ("gates.floors.accuracy: no number of answers can show all",),
    ),
    "no request failed": (
        LEAST + "gates: {floors: {error_rate: 0}}",
        ("gates.floors.error_rate: no number of answers can show none", "0.01 takes some hundreds"),
    ),
    "asking about what goes back by itself": (
        LEAST + "approval: {before_fleet: on_inconclusive}\ngates: {when_unsure: revert}",
        ("approval.before_fleet: on_inconclusive asks", "gates.when_unsure: revert"),
    ),
    "several at once": (
        LEAST + "canary: {fraction: 0, nodse: []}\nfleets: local",
        ("canary.fraction: ", "canary.nodse: ", "fleets: "),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_named_by_field_with_what_it_holds(case: str) -> None:
    text, problems = CASES[case]
    with pytest.raises(Refused) as caught:
        parse_spec(text, "sorting.yaml")
    assert caught.value.subject == "sorting.yaml"
    for problem in problems:
        assert problem in caught.value.problem
    assert caught.value.remedy == "Correct these fields: docs/spec.md lists all"


@pytest.mark.parametrize(
    ("text", "problem", "remedy"),
    [
        ("workload: [", "not YAML", "Correct the file"),
        ("", "holds no fields", "docs/spec.md"),
        ("- workload", "holds no fields", "docs/spec.md"),
    ],
)
def test_what_is_no_spec_at_all_is_refused(text: str, problem: str, remedy: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_spec(text, "sorting.yaml")
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy


def test_a_file_that_is_not_there_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"gone\.yaml: cannot be read: No such file"):
        load_spec(tmp_path / "gone.yaml")


@pytest.mark.parametrize("on", ["tag", "alias", "any"])
def test_the_field_on_needs_no_quotes(on: str) -> None:
    assert parse_spec(f"{LEAST}on: {on}\n", "a test").on == on


def test_a_label_that_reads_like_a_word_of_yaml_is_a_text() -> None:
    assert parse_spec(LEAST.replace("camera", "no"), "a test").selector == {"line": "no"}


def test_the_least_spec_is_whole() -> None:
    expected = Spec(workload="sorting", model="sorter", selector={"line": "camera"})
    assert expected == parse_spec(LEAST, "sorting.yaml")


def test_a_freeze_holds_on_its_first_and_its_last_day_and_survives_being_written_down() -> None:
    text = LEAST + "freeze: [{from: 2026-12-24, to: 2026-12-26, reason: stocktaking}]"
    spec = parse_spec(text, "test")
    again = parse_spec(yaml.safe_dump(spec.model_dump(mode="json")), "test")
    assert again == spec
    held = [day for day in range(20, 31) if spec.frozen(date(2026, 12, day))]
    assert held == [24, 25, 26]


@pytest.mark.parametrize(("usual", "urgent", "found"), [(10, 3, 3), (2, 3, 2)])
def test_an_urgent_release_is_never_looked_at_for_longer(
    usual: int, urgent: int, found: int
) -> None:
    gates = f"gates: {{min_windows: {usual}, urgent_min_windows: {urgent}}}"
    spec = parse_spec(LEAST + gates, "test")
    assert spec.urgent().gates.min_windows == found
    assert spec.gates.min_windows == usual


def test_a_guard_that_is_off_need_not_be_quoted() -> None:
    assert parse_spec(LEAST + "guard: {action: off}", "test").guard.action == "off"
