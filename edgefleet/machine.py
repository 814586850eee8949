"""What this machine is, in words, for whoever reads what was measured on it."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def cpu() -> str:
    """Return the processor's name; its architecture where it has none."""
    names = (
        entry.partition(":")[2].strip()
        for entry in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if entry.startswith("model name")
    )
    return next(names, platform.machine())


def machine() -> str:
    """Return processors, memory and Python's version."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} x {cpu()}, {memory_gib:.0f} GiB, Python {platform.python_version()}"
