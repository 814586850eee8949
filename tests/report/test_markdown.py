from __future__ import annotations

import re
from base64 import b64decode
from xml.etree import ElementTree as ET

from edgefleet.adapters.ledger import SqlLedger
from edgefleet.fleet.release import Release
from edgefleet.report.chapters import judged
from edgefleet.report.gather import gather
from edgefleet.report.markdown import part_markdown


def test_a_verdict_for_prefect_s_pages_holds_its_numbers_slices_and_pictures(
    ledger: SqlLedger, rolled_back: Release
) -> None:
    part = judged(gather(ledger, rolled_back.release_id))
    assert part is not None
    text = part_markdown(part)
    assert text.startswith("### Verdict after ")
    assert "| factory aachen | 2 | -9.40 pt (n=160)" in text
    pictures = re.findall(r"!\[(.+?)\]\(data:image/svg\+xml;base64,([^)]+)\)", text)
    assert len(pictures) == len(part.pictures) > 1
    for _, coded in pictures:
        assert ET.fromstring(b64decode(coded)).tag.endswith("svg")  # noqa: S314 - our own bytes
    assert len(text) < 1_000_000, "Prefect publishes no event for an artifact over 5 MB"
