"""The guard over a champion: what it needs to alarm, where it says it is, and whose fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet.documents import decode
from edgefleet.edge.contract import Digest, Evidence
from edgefleet.fleet.alarms import Alarm, Cause, in_words, remedy
from edgefleet.fleet.guard import (
    GuardState,
    acknowledged,
    after_of,
    at_places,
    begun,
    from_now_on,
    news,
    watched,
)
from edgefleet.fleet.inventory import Inventory, NodeView
from edgefleet.spec import Spec, parse_spec

DIGEST = Digest("sha256:" + "b" * 64)
OTHER = Digest("sha256:" + "a" * 64)
NODES = {f"n{i}": f"f{i % 3}" for i in range(12)}
Records = dict[str, tuple[Evidence, ...]]


def spec_of(**guard: object) -> Spec:
    text = "workload: sorting\nmodel: sorter\nselector: {line: camera}\n"
    return parse_spec(
        text + f"guard: {{learn_windows: 60, {', '.join(f'{k}: {v}' for k, v in guard.items())}}}",
        "test",
    )


SPEC = spec_of(false_alarm_days=1)


def drawn(
    first: int,
    last: int,
    lost: Mapping[str, float] | None = None,
    *,
    alike: bool = False,
    errors: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Records:
    """Return the records of windows in [first, last); `lost` is a share of accuracy, by node."""
    found: Records = {}
    for number, node in enumerate(NODES):
        rng = np.random.default_rng((seed, number, first))
        records = []
        for window in range(first, last):
            gone = (lost or {}).get(node, 0.0)
            labelled, shadowed = int(rng.poisson(20)), int(rng.poisson(20))
            right = int(rng.binomial(labelled, 0.95 - gone))
            gains = int(rng.binomial(shadowed, 0.02))
            losses = int(rng.binomial(shadowed - gains, 0.02 + gone * (not alike)))
            records.append(
                Evidence(
                    window=window,
                    digest=DIGEST,
                    boot="b",
                    ok=200,
                    server_errors=int(rng.binomial(200, (errors or {}).get(node, 0.0005))),
                    labelled=labelled,
                    correct=right,
                    shadowed=shadowed,
                    disagreed=gains + losses,
                    disagreed_labelled=gains + losses,
                    shadow_gains=gains,
                    shadow_losses=losses,
                )
            )
        found[node] = tuple(records)
    return found


def begun_at(window: int, spec: Spec = SPEC) -> GuardState:
    return begun(spec, drawn(window - 20, window), DIGEST, NODES)


def told(state: GuardState) -> set[tuple[str, str, str]]:
    return {(alarm.place, alarm.metric, alarm.cause.value) for alarm in state.alarms}


@given(
    windows=st.lists(st.integers(1000, 1400), max_size=20, unique=True),
    ill=st.sampled_from(("silent", "cold", "another package", "no label")),
)
@settings(max_examples=30)
def test_no_evidence_never_alarms(windows: list[int], ill: str) -> None:
    wrong = {"labelled": 0 if ill == "no label" else 50, "ok": 50}
    record = Evidence(
        window=0,
        digest=OTHER if ill == "another package" else DIGEST,
        boot="b",
        warm=ill != "cold",
        **wrong,
    )
    some = (
        ()
        if ill == "silent"
        else tuple(msgspec.structs.replace(record, window=window) for window in sorted(windows))
    )
    before = begun_at(1000)
    after = watched(before, SPEC, dict.fromkeys(NODES, some), DIGEST, 1400)
    assert after.alarms == ()
    assert {m: k.held for m, k in after.metrics.items() if m != "errors"} == {
        m: k.held for m, k in before.metrics.items() if m != "errors"
    }


@given(cuts=st.lists(st.integers(1001, 1059), max_size=4, unique=True))
@settings(max_examples=10)
def test_windows_that_come_in_parts_are_worth_what_they_are_at_once(cuts: list[int]) -> None:
    lost = dict.fromkeys(("n0", "n3"), 0.2)
    records = drawn(1000, 1060, lost)
    once = watched(begun_at(1000), SPEC, records, DIGEST, 1059)
    parts = begun_at(1000)
    for upto in (*sorted(cuts), 1059):
        parts = watched(parts, SPEC, records, DIGEST, upto)  # each part is read with all before
        parts = decode(msgspec.json.encode(parts), GuardState)
    assert parts.last == once.last
    assert told(parts) == told(once)
    for metric, kept in once.metrics.items():
        for part in ("learnt", "held", "onset"):
            expected, actual = getattr(kept, part), getattr(parts.metrics[metric], part)
            assert actual.keys() == expected.keys()
            for key, row in expected.items():
                assert actual[key] == pytest.approx(row, abs=1e-3)


def test_a_model_as_good_as_ever_raises_no_alarm_in_days() -> None:
    state = watched(begun_at(1000), SPEC, drawn(1000, 4000), DIGEST, 3999)
    assert state.alarms == ()


def test_what_all_nodes_lose_is_found_for_the_fleet_and_told_once() -> None:
    spec, lost = SPEC, dict.fromkeys(NODES, 0.08)
    before = watched(begun_at(1000), spec, drawn(1000, 1100), DIGEST, 1099)
    found = watched(before, spec, drawn(1100, 1130, lost), DIGEST, 1129)
    assert told(found) == {("fleet", "accuracy", "model"), ("fleet", "pairs", "model")}
    assert news(before, found) == found.alarms
    later = watched(found, spec, drawn(1130, 1200, lost), DIGEST, 1199)
    assert news(found, later) == ()


def test_what_one_factory_or_one_node_loses_is_found_there() -> None:
    lost = {node: 0.08 for node, factory in NODES.items() if factory == "f1"}
    before = watched(begun_at(1000), SPEC, drawn(1000, 1100), DIGEST, 1099)
    found = watched(before, SPEC, drawn(1100, 1160, lost), DIGEST, 1159)
    assert {alarm.place for alarm in found.alarms} == {"factory f1"}
    found = watched(before, SPEC, drawn(1100, 1220, {"n5": 0.15}), DIGEST, 1219)
    assert {alarm.place for alarm in found.alarms} == {"node n5"}


def test_what_old_and_new_lose_alike_is_called_drift_and_no_rollback_is_proposed() -> None:
    lost = {node: 0.08 for node, factory in NODES.items() if factory == "f2"}
    before = watched(begun_at(1000), SPEC, drawn(1000, 1100), DIGEST, 1099)
    found = watched(before, SPEC, drawn(1100, 1200, lost, alike=True), DIGEST, 1199)
    (alarm,) = found.alarms
    assert (alarm.place, alarm.cause) == ("factory f2", Cause.SURROUNDINGS)
    words = in_words(alarm, 60)
    assert words.startswith("drift: old and new alike lost ")
    assert "points at f2; not the model" in words
    assert "edgefleet" not in remedy(alarm, "sorting")
    assert "cameras, lighting" in remedy(alarm, "sorting")


def test_a_fall_without_a_shadow_is_not_blamed_on_anybody() -> None:
    spec = spec_of(false_alarm_days=1, shadow_days=0)
    before = watched(begun_at(1000, spec), spec, drawn(1000, 1100), DIGEST, 1099)
    lost = drawn(1100, 1140, dict.fromkeys(NODES, 0.08))
    bare = {
        node: tuple(
            msgspec.structs.replace(
                r, shadowed=0, disagreed=0, disagreed_labelled=0, shadow_gains=0, shadow_losses=0
            )
            for r in records
        )
        for node, records in lost.items()
    }
    (alarm,) = watched(before, spec, bare, DIGEST, 1139).alarms
    assert (alarm.place, alarm.cause) == ("fleet", Cause.UNTOLD)
    assert alarm.why == "the model before it answers no requests there"
    assert "first; if they are as ever, go back with" in remedy(alarm, "sorting")


def test_errors_of_one_node_are_found_and_one_bad_window_is_not() -> None:
    before = watched(begun_at(1000), SPEC, drawn(1000, 1100), DIGEST, 1099)
    burst = watched(before, SPEC, drawn(1100, 1101, errors={"n4": 1.0}), DIGEST, 1100)
    burst = watched(burst, SPEC, drawn(1101, 1200), DIGEST, 1199)
    assert burst.alarms == ()
    found = watched(before, SPEC, drawn(1100, 1160, errors={"n4": 0.05}), DIGEST, 1159)
    assert told(found) == {("node n4", "errors", "model")}
    (alarm,) = found.alarms
    assert remedy(alarm, "sorting") == (
        "Go back with `edgefleet rollback sorting --node n4 --reason ...`."
    )


def test_a_node_that_was_cut_off_counts_its_old_windows_for_itself() -> None:
    records = drawn(1000, 1060, {"n7": 0.4})
    away = {node: found for node, found in records.items() if node != "n7"}
    state = watched(begun_at(1000), SPEC, away, DIGEST, 1059)
    assert after_of(state, ["n7"]) == begun_at(1000).window
    back = watched(state, SPEC, records, DIGEST, 1059)
    assert {alarm.place for alarm in back.alarms} == {"node n7"}
    assert back.metrics["accuracy"].held["fleet"] == state.metrics["accuracy"].held["fleet"]


def test_windows_while_a_release_moved_nodes_do_not_count() -> None:
    state = from_now_on(watched(begun_at(1000), SPEC, drawn(1000, 1050), DIGEST, 1049), 1100)
    records = drawn(1050, 1100, dict.fromkeys(NODES, 0.5))
    assert watched(state, SPEC, records, DIGEST, 1099).alarms == ()


def test_alarms_that_somebody_took_note_of_begin_anew_and_come_again() -> None:
    lost = dict.fromkeys(NODES, 0.08)
    before = watched(begun_at(1000), SPEC, drawn(1000, 1100), DIGEST, 1099)
    found = watched(before, SPEC, drawn(1100, 1130, lost), DIGEST, 1129)
    known = acknowledged(found)
    assert known.alarms == ()
    assert {m: k.learnt for m, k in known.metrics.items()} == {
        m: k.learnt for m, k in found.metrics.items()
    }
    assert watched(known, SPEC, drawn(1130, 1200, lost), DIGEST, 1199).alarms


def test_nodes_of_a_silent_factory_stay_and_those_that_left_go() -> None:
    state = replace(begun_at(1000), factories={"n0": "f0", "n1": "f1", "n2": "f2"})
    seen = NodeView("n2", "f2", {"line": "camera"}, online=True, serving=None, ordered=None)
    other = NodeView("n9", "f2", {"line": "x"}, online=True, serving=None, ordered=None)
    now = at_places(state, SPEC, Inventory((seen, other), {"f1": "no answer"}))
    assert now.factories == {"n1": "f1", "n2": "f2"}


def test_an_alarm_says_where_since_when_how_much_and_what_can_be_done() -> None:
    alarm = Alarm("factory f1", "accuracy", 100, 61, 1204, 0.088, 0.049, Cause.MODEL, "so it is")
    assert in_words(alarm, 60) == (
        "accuracy lost 3.9 points at f1: accuracy 91.2 % of 1204 labels since 1970-01-01 01:01 "
        "UTC, where 95.1 % is usual; so it is"
    )
    assert remedy(alarm, "sorting") == (
        "Go back with `edgefleet rollback sorting --factory f1 --reason ...`."
    )
    pairs = replace(alarm, place="fleet", metric="pairs", rate=0.07, usual=0.02)
    assert in_words(pairs, 60).startswith(
        "the model loses 5.0 points against the one before it at the whole fleet"
    )
    assert "edgefleet rollback sorting --reason" in remedy(pairs, "sorting")


def test_answers_that_differ_more_than_allowed_are_found_without_labels() -> None:
    text = (
        "workload: sorting\nmodel: sorter\nselector: {line: camera}\n"
        "gates: {accuracy: {source: agreement}}\nguard: {learn_windows: 60, false_alarm_days: 1}"
    )
    spec = parse_spec(text, "test")
    before = watched(begun_at(1000, spec), spec, drawn(1000, 1100), DIGEST, 1099)
    assert before.alarms == ()
    found = watched(before, spec, drawn(1100, 1160, dict.fromkeys(NODES, 0.2)), DIGEST, 1159)
    assert told(found) == {("fleet", "agreement", "model")}
    (alarm,) = found.alarms
    assert "where 10.0 % is allowed" in in_words(alarm, 60)
