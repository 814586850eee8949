"""A part of a report in markdown, for Prefect's pages: pictures are in it, nothing is fetched."""

from __future__ import annotations

from base64 import b64encode

from edgefleet.report.layout import Part, Table


def part_markdown(part: Part) -> str:
    """Return a heading, the note, tables and pictures."""
    blocks = [f"### {part.heading}", *part.note.splitlines()]
    blocks += [_table(table) for table in part.tables]
    blocks += [_picture(svg) for svg in part.pictures]
    return "\n\n".join(block for block in blocks if block)


def _table(table: Table) -> str:
    rules = ["---:" if at in table.right else "---" for at in range(len(table.columns))]
    rows = [table.columns, tuple(rules), *table.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)


def _picture(svg: str) -> str:
    """Return an image that holds its own bytes; Prefect's page shows it as any other."""
    said = svg.partition('aria-label="')[2].partition('"')[0]
    return f"![{said}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})"
