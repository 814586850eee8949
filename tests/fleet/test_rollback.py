"""Where a rollback goes, and which release it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.edge.contract import Digest
from edgefleet.errors import Refused
from edgefleet.fleet.attempts import back_attempt, base_attempt, goes_back_to, rebases
from edgefleet.fleet.release import Phase, Release
from edgefleet.fleet.rollback import before_champion, named
from tests.fleet.fleets import release

A, B, C = (Digest("sha256:" + letter * 64) for letter in "abc")


def history(
    *packages: Digest | None, phase: Phase = Phase.RELEASED
) -> tuple[list[Release], dict[str, Digest]]:
    """Return releases, newest first, given what they shipped, oldest first."""
    made = [replace(release(number), phase=phase) for number in range(1, len(packages) + 1)]
    shipped = {one.release_id: package for one, package in zip(made, packages, strict=True)}
    return made[::-1], {name: package for name, package in shipped.items() if package}


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        ((A, B), "inspect-1"),
        ((A, B, C), "inspect-2"),
        ((A, B, B), "inspect-1"),
        ((A, A, B), "inspect-2"),
        ((C, A, B, A), "inspect-1"),
        ((A, None, B), "inspect-1"),
    ],
)
def test_a_rollback_goes_to_what_was_released_before_the_champions_package(
    packages: tuple[Digest | None, ...], expected: str
) -> None:
    assert before_champion("inspect", *history(*packages)).release_id == expected


@pytest.mark.parametrize(
    ("packages", "remedy"), [((A,), "Release another"), ((A, B, A), "--to: inspect-2")]
)
def test_where_nothing_was_before_it_is_refused_and_says_what_there_is(
    packages: tuple[Digest, ...], remedy: str
) -> None:
    with pytest.raises(Refused, match=f"nothing was released before inspect-1.*{remedy}"):
        before_champion("inspect", *history(*packages))


def test_only_a_release_that_ended_well_is_named() -> None:
    releases, packages = history(A, B)
    assert named("inspect", releases, packages, "").release_id == "inspect-2"
    assert named("inspect", releases, packages, "inspect-1").release_id == "inspect-1"
    back = [replace(releases[0], phase=Phase.ROLLED_BACK), releases[1]]
    assert named("inspect", back, packages, "").release_id == "inspect-1"
    with pytest.raises(Refused, match=r"inspect-2: is no release .* Name one of inspect-1"):
        named("inspect", back, packages, "inspect-2")
    with pytest.raises(Refused, match="no release of it has ended as released"):
        named("inspect", [], {}, "")


@given(st.integers(0, 5), st.integers(0, 5))
def test_an_attempt_is_the_same_until_it_has_ended(ended: int, others: int) -> None:
    releases = [replace(release(9), attempt=base_attempt("inspect-2", ()), phase=Phase.ABORTED)]
    releases *= others
    for _ in range(ended):
        attempt = back_attempt("inspect-1", "inspect-2", releases)
        live = replace(release(), attempt=attempt, phase=Phase.CANARY)
        assert back_attempt("inspect-1", "inspect-2", [live, *releases]) == attempt
        releases.append(replace(live, phase=Phase.ROLLED_BACK))
    last = back_attempt("inspect-1", "inspect-2", releases)
    assert last not in {one.attempt for one in releases}


def test_an_attempt_says_what_it_ships() -> None:
    back = replace(release(), attempt=back_attempt("inspect-1", "inspect-2", ()))
    base = replace(release(), attempt=base_attempt("inspect-2", ()))
    assert (goes_back_to(back), rebases(back)) == ("inspect-1", "")
    assert (goes_back_to(base), rebases(base)) == ("", "inspect-2")
    for words in ("", "back to work", "a new base for inspect-2, 1"):
        other = replace(release(), attempt=words)
        assert (goes_back_to(other), rebases(other)) == ("", "")
