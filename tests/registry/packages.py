"""Package folders that are whole, and nothing more: registries do not look into them."""

from __future__ import annotations

import json
from pathlib import Path

from edgefleet.edge.contract import CARD_FILE, PACKAGE_FILES


def write_package(folder: Path, version: str = "1", weights: bytes = b"weights") -> Path:
    """Write a package's files; what is in them is not this port's business, but for the card."""
    folder.mkdir(parents=True)
    for name in PACKAGE_FILES:
        (folder / name).write_bytes(weights + name.encode())
    tensor = {"name": "x", "dtype": "float32", "shape": [3]}
    card = {
        "model": "stripes",
        "version": version,
        "task": "classification",
        "metric": "accuracy",
        "labels": ["ok", "bad"],
        "input": tensor,
        "output": tensor,
    }
    (folder / CARD_FILE).write_text(json.dumps(card))
    return folder
