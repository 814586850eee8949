"""Answers are found by their label, once, by whichever process it reaches."""

from __future__ import annotations

from pathlib import Path

from edgefleet.edge import answers as module
from edgefleet.edge.answers import Answer, Answers
from edgefleet.edge.contract import Digest

DIGEST = Digest("sha256:" + "a" * 64)


def answer(request_id: str, shadow: str | None = None, at: float = 1000.0) -> Answer:
    return Answer(request_id, at, 7, DIGEST, "old", True, "ok", shadow, False)


def test_another_process_finds_the_answer_and_only_the_first_label_counts(tmp_path: Path) -> None:
    old, new = Answers(tmp_path / "a"), Answers(tmp_path / "a")
    old.keep([answer("r1", "dent")])
    assert answer("r1", "dent") == new.label("r1", "ok")
    assert old.label("r1", "ok") is None
    assert old.known("r1")
    assert not old.known("r2")
    old.close()
    new.close()


def test_unlabelled_disagreements_are_listed_newest_first(tmp_path: Path) -> None:
    kept = Answers(tmp_path / "a")
    kept.keep([answer("agreed", "ok"), answer("alone"), *(answer(f"d{i}", "dent") for i in "123")])
    kept.label("d2", "ok")
    assert kept.open_disagreements(10) == ["d3", "d1"]
    assert kept.open_disagreements(1) == ["d3"]
    kept.close()


def test_the_oldest_answers_go_by_age_and_by_number(tmp_path: Path, monkeypatch) -> None:  # noqa: ANN001 - a fixture
    monkeypatch.setattr(module, "KEPT_ANSWERS", 2)
    kept = Answers(tmp_path / "a")
    hours = 3600.0
    kept.keep([answer("many"), answer("old", at=0), answer("new", at=80 * hours)])
    kept.prune(now=81 * hours)
    assert [kept.known(name) for name in ("many", "old", "new")] == [False, False, True]
    kept.close()
