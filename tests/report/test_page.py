"""The page of a run: complete, self-contained, and honest about what did not hold."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console

from edgefleet.report.page import Report, page, terminal
from tests.golden.files import same_as_golden

GIVEN = (
    *("88.31 %", "94.56 %", "-6.25 pt", "[-8.50, -4.10]", "1,092", "96.2 %", "95.9 %", "2.31"),
    *("812.35 kB", "231.11 kB", "1.16 MB", "2 min 11 s", "2,160", "225", "n07", "offline", "Ada"),
    "12.40 pt",
    "Evidence windows were 2 s long here; on a real line one minute.",
)
VOID = {"meta", "br", "hr", "img", "link"}


class Reader(HTMLParser):
    """Collects text outside of pictures, ids, and tags that were never closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.lines: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [found[key] or "" for key in ("href", "src") if key in found]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        if text and not {"svg", "style"} & set(self.open):
            self.lines.append(text)


@pytest.fixture(scope="module")
def made(report: Report) -> str:
    return page(report)


@pytest.fixture(scope="module")
def parsed(made: str) -> Reader:
    reader = Reader()
    reader.feed(made)
    reader.close()
    return reader


def test_the_text_of_the_page_is_the_golden_one(parsed: Reader) -> None:
    same_as_golden("\n".join(parsed.lines), "report-page.txt")


def test_what_the_terminal_shows_is_the_golden_one(report: Report) -> None:
    console = Console(width=100, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(terminal(report))
    lines = map(str.rstrip, capture.get().splitlines())
    same_as_golden("\n".join(lines), "report-terminal.txt")


def test_the_page_is_well_formed_and_no_id_is_there_twice(parsed: Reader) -> None:
    assert parsed.open == []
    own = [name for name in parsed.ids if not re.fullmatch(r"[mph][0-9a-f]{10}", name)]
    assert sorted(own) == ["story-1", "story-2"]
    assert len(parsed.ids) == len(set(parsed.ids))


def test_the_page_asks_nobody_for_anything(made: str, parsed: Reader) -> None:
    assert all(link.startswith("#") for link in parsed.links)
    assert "<script" not in made
    assert "@import" not in made
    assert not re.search(r"url\((?!#)", made)


@pytest.mark.parametrize("number", GIVEN)
def test_the_page_contains_every_number_that_was_given(parsed: Reader, number: str) -> None:
    assert any(number in text for text in parsed.lines)


def test_words_from_outside_are_shown_and_not_interpreted(made: str) -> None:
    assert "go &lt;on&gt;" in made
    assert "<labels>" not in made


def test_a_rolled_back_story_has_all_its_pictures_and_a_refused_one_needs_none(made: str) -> None:
    first, second = made.split('id="story-2"')
    assert first.count("<svg ") == 2 + 5  # of the run: phases, cut-overs
    assert second.count("<svg ") == 0


def test_the_same_run_gives_the_same_page(report: Report, made: str) -> None:
    assert page(report) == made


def test_one_failed_check_is_enough_not_to_be_as_it_should(report: Report) -> None:
    assert not report.ok
    assert replace(report, checks=()).ok


def test_a_report_of_nothing_is_not_a_success() -> None:
    from datetime import UTC, datetime  # noqa: PLC0415 - only this case needs them

    now = datetime(2026, 3, 2, tzinfo=UTC)
    empty = Report("nothing", now, now, "none", 60, (), None, ())
    assert not empty.ok
    assert "Not everything ended as it should" in page(empty)
