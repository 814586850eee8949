"""A person in front of Prefect's real pages: a headless Chromium that clicks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from uuid import UUID

import httpx
import pytest
from playwright.sync_api import Locator, Page, sync_playwright

_WINDOW = {"width": 1200, "height": 1800}
_PATIENCE_MS = 120_000
_TRIES = 10
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-proxy-server",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def answer_by_click(
    ui: str,
    run: UUID,
    name: str,
    comment: str,
    picture: Path | None,
    decision: Literal["approve", "reject"] = "approve",
) -> str:
    """Fill in the form of a suspended run and submit it; return what the form shows as text.

    `picture`: where a screenshot of the form goes; None: nowhere.
    """
    with _opened() as page:
        page.goto(f"{ui}/runs/flow-run/{run}")
        page.get_by_role("button", name="Resume").click()
        form = page.locator(".p-modal__card")
        choice = form.locator(".p-select-button__control")
        choice.focus()
        choice.press("ArrowDown")  # a click alone does not open the list
        page.get_by_text(decision, exact=True).click()
        for field, text in zip(form.locator("textarea").all(), (name, comment), strict=True):
            field.fill(text)
        if picture is not None:
            picture.parent.mkdir(parents=True, exist_ok=True)
            form.screenshot(path=picture)
        shown = form.inner_text()
        _submit(page, form)
    return shown


def pools_after_login(ui: str, auth: str) -> str:
    """Log in on the first page; return the page of work pools as text."""
    with _opened() as page:
        page.goto(ui)
        field = page.locator("input[type=password]")
        field.fill(auth)
        page.get_by_role("button", name="Login").click()
        page.wait_for_url(f"{ui}/dashboard")
        page.goto(f"{ui}/work-pools")
        page.get_by_text("Process", exact=True).first.wait_for()
        return page.inner_text("body")


def artifact(ui: str, key: str, picture: Path | None) -> tuple[str, dict[str, int]]:
    """Return an artifact's page as text, and the width at which each of its pictures is shown."""
    with _opened() as page:
        page.goto(f"{ui}/artifacts/key/{key}")
        page.locator("a[href*='/artifacts/artifact/']").first.click()  # the newest of that key
        pictures = page.locator("img[src^='data:image/svg']")
        pictures.first.wait_for()
        widths = {
            str(image.get_attribute("alt")): int(
                image.evaluate("async one => { await one.decode(); return one.clientWidth }")
            )
            for image in pictures.all()
        }
        if picture is not None:
            page.screenshot(path=picture, full_page=True)
        return page.inner_text("body"), widths


@contextmanager
def _opened() -> Iterator[Page]:
    browser_file = shutil.which("chromium")
    if browser_file is None:
        pytest.fail("no chromium on this machine: run `make setup-browser` (Debian, as root)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_file, args=list(_QUIET))
        page = browser.new_page(viewport=_WINDOW)  # type: ignore[arg-type] # a TypedDict
        page.set_default_timeout(_PATIENCE_MS)
        yield page
        browser.close()


def _submit(page: Page, form: Locator) -> None:
    """Press Submit until the server has an answer to it.

    SQLite under load may be locked: the page then says so and keeps the form, and a person presses
    again. A refusal is answered with 200 as well, so its body is read.
    """
    for _ in range(_TRIES):
        with page.expect_response(lambda seen: seen.url.endswith("/resume")) as sent:
            form.get_by_role("button", name="Submit").click()
        if sent.value.status < httpx.codes.INTERNAL_SERVER_ERROR:
            taken = sent.value.json()
            assert taken["status"] == "ACCEPT", f"Prefect did not take the answer: {taken}"
            return
    pytest.fail(f"Prefect's server could not take the answer: {sent.value.text()}")
