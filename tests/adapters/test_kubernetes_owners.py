"""The API server's refusals of an apply, in the words in which it writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgefleet.adapters.kubernetes.objects import (
    Container,
    Deployment,
    DeploymentSpec,
    Meta,
    PodSpec,
    Problem,
    Template,
)
from edgefleet.adapters.kubernetes.owners import GIVE_BACK, Owned, owners
from edgefleet.adapters.kubernetes.views import drifted
from edgefleet.documents import decode
from edgefleet.fleet.manifest_names import DIGEST

OURS = 'conflict with "edgefleet" using apps/v1'
THEIRS = 'conflict with "kubectl-set" using apps/v1 at 2026-08-01T10:00:00Z'
SCALED = 'conflict with "kubectl" with subresource "scale" using apps/v1'


def refusal(message: str, *causes: str, reason: str = "FieldManagerConflict") -> Problem:
    said = [{"reason": reason, "message": text, "field": ".spec.replicas"} for text in causes]
    words = {"kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409}
    return decode(json.dumps({**words, "message": message, "details": {"causes": said}}), Problem)


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (refusal(f"Apply failed with 1 conflict: {THEIRS}: .spec", THEIRS), {"kubectl-set"}),
        (
            refusal(
                'Apply failed with 2 conflicts: conflicts with "edgefleet" using apps/v1:\n'
                "- .metadata.annotations.edgefleet.org/digest\n"
                "- .metadata.annotations.edgefleet.org/epoch",
                OURS,
                OURS,
            ),
            {"edgefleet"},
        ),
        (refusal("Apply failed with 2 conflicts: …", OURS, SCALED), {"edgefleet", "kubectl"}),
        (refusal("Apply failed with 1 conflict: …", 'conflict with "edge\\"fleet"'), {"edge\\"}),
        (refusal("Apply failed with 1 conflict: …", "in words of a later version"), {""}),
        (refusal("the object has been modified"), set()),
        (refusal("it exists already", "…", reason="FieldValueDuplicate"), set()),
        (decode('{"message": "no details", "details": {"name": "a"}}', Problem), set()),
        (decode('{"message": "null", "details": null}', Problem), set()),
    ],
)
def test_who_owns_what_an_apply_would_change(problem: Problem, expected: set[str]) -> None:
    assert owners(problem) == expected


def named(digest: str, ordered: str) -> Deployment:
    pod = PodSpec(containers=(Container(image=f"packages@{digest}"),))
    metadata = Meta(name="caps-cam-1", annotations={DIGEST: ordered})
    return Deployment(metadata=metadata, spec=DeploymentSpec(template=Template(spec=pod)))


def test_who_reads_that_somebody_changed_a_node_is_told_where_the_cure_is() -> None:
    one, other = (f"sha256:{digit * 64}" for digit in "ab")
    assert drifted(named(one, one)) == ""
    words = drifted(named(other, one))
    assert words == (
        f"somebody changed caps-cam-1: it names {other}, edgefleet ordered {one}. {GIVE_BACK}"
    )
    assert str(Owned("409", frozenset({"kubectl"}))) == f"409. {GIVE_BACK}"


def test_the_cure_is_where_it_is_said_to_be() -> None:
    page, heading = GIVE_BACK.removeprefix("To give it back: ").removesuffix('"').split(', "')
    assert f"\n## {heading}\n" in (Path(__file__).parents[2] / page).read_text()
