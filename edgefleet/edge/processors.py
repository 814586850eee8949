"""How many threads a model may use: what the cgroup allows, else the cores that we may run on.

onnxruntime by itself counts the machine's cores, and in a container with a quota of one core its
threads then wait for each other while the kernel throttles them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")


def quota(root: Path = _CGROUPS) -> float | None:
    """Return the cores that a cgroup (version 2, else 1) grants; None: it sets no limit."""
    try:
        limit, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return int(limit) / int(period) if limit.isdigit() and int(period) > 0 else None


def threads(asked: int, root: Path = _CGROUPS) -> int:
    """Return the number of threads for one inference; `asked` > 0 wins."""
    if asked > 0:
        return asked
    cores = len(os.sched_getaffinity(0))
    granted = quota(root)
    return cores if granted is None else max(1, min(cores, int(granted)))
