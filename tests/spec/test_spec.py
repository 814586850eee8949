"""A spec that cannot work is refused where it enters: which field, what it holds, what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

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
        ("", "holds no fields", "deployments/specs/"),
        ("- workload", "holds no fields", "deployments/specs/"),
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


def test_the_least_spec_is_whole() -> None:
    expected = Spec(workload="sorting", model="sorter", selector={"line": "camera"})
    assert expected == parse_spec(LEAST, "sorting.yaml")
