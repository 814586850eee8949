"""The verdict: what a driver calls, in one place; each part is in the module that it comes from.

`open_gate` before the first look, `judge` after every window, `judge_first` where there is no
champion, `judge_wave` after each later wave. All of it is pure.
"""

from __future__ import annotations

from edgefleet.fleet.design import Design
from edgefleet.fleet.finding import MetricVerdict, Outcome, Verdict
from edgefleet.fleet.floors import judge_first
from edgefleet.fleet.gate import GateState, judge, open_gate
from edgefleet.fleet.waves import judge_wave, wave_design

__all__ = [
    "Design",
    "GateState",
    "MetricVerdict",
    "Outcome",
    "Verdict",
    "judge",
    "judge_first",
    "judge_wave",
    "open_gate",
    "wave_design",
]
