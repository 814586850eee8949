"""A model gets the threads that its container may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgefleet.edge.processors import quota, threads


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_is_read_from_either_cgroup_version(
    tmp_path: Path, files: dict[str, str], expected: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert expected == quota(tmp_path)


def test_half_a_core_still_gives_one_thread_and_a_wish_wins(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert threads(0, tmp_path) == 1
    assert threads(3, tmp_path) == 3


def test_without_a_limit_every_core_is_used(tmp_path: Path) -> None:
    assert threads(0, tmp_path) == len(os.sched_getaffinity(0))
