"""Golden files: what people read, kept to the letter; `make golden` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent


def same_as_golden(text: str, name: str | Path) -> None:
    """Compare with a golden file (of this folder, unless the path is absolute).

    EDGEFLEET_GOLDEN=write rewrites it instead.
    """
    path = HERE / name
    if os.environ.get("EDGEFLEET_GOLDEN") == "write":
        path.write_text(text + "\n", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text + "\n"
