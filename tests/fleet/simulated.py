"""A small world whose nodes differ, drift and drop out: evidence for the gate's tests, seeded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgefleet.edge.contract import BOUNDS_S, Digest, Evidence
from edgefleet.fleet.cohorts import Member, order
from edgefleet.fleet.sheets import Sheets, sheet_of
from edgefleet.fleet.verdict import Design, GateState, Outcome, Verdict, judge, open_gate
from edgefleet.spec import AccuracyGate, ErrorGate, Gates, LatencyGate

WAS = Digest("sha256:" + "a" * 64)
WANT = Digest("sha256:" + "b" * 64)
FIRST = 1000


@dataclass(frozen=True)
class World:
    """What is true; `drop`, `slower` and `errors` are of the new model."""

    nodes: int = 40
    factories: int = 6
    canary: int = 5
    pre: int = 30
    windows: int = 45
    requests: float = 60
    paired: float = 8
    """Labels of shadowed requests a node and window; 0: nobody labels, nobody shadows."""
    discordance: float = 0.04
    drop: float = 0.0
    slower: float = 1.0
    errors: float = 0.0
    unlabelled_too: bool = False
    offline: float = 0.1
    seed: int = 1


def gates(**changes: object) -> Gates:
    """Return gates for the small world: margins that five nodes can show."""
    usual = {
        "max_windows": 45,
        "pre_windows": 30,
        "accuracy": AccuracyGate(margin_pt=2.0),
        "latency": LatencyGate(margin_pct=25.0),
        "errors": ErrorGate(margin_pt=1.0),
    }
    return Gates.model_validate(usual | changes)


def design(world: World, *, hand_picked: bool = False) -> Design:
    """Return the design of the world: its canary is drawn by the seed."""
    members = tuple(
        Member(f"n{i:03d}", f"f{i % world.factories}", f"h{i % 2}") for i in range(world.nodes)
    )
    return Design(
        nodes=members,
        canary=order(members, f"w/{world.seed}")[: world.canary],
        want=WANT,
        was=WAS,
        salt=f"w/{world.seed}",
        first_window=FIRST,
        pre=(FIRST - world.pre, FIRST - 1) if world.pre else None,
        hand_picked=hand_picked,
    )


def evidence(world: World, plan: Design) -> dict[str, tuple[Evidence, ...]]:
    """Return all records of the world, the canary's nodes changed at FIRST."""
    rng = np.random.default_rng(world.seed)
    size = (world.pre + world.windows, world.nodes)
    level = rng.normal(0, 0.3, world.nodes) + _ar1(rng, size, 0.8, 0.08)
    accuracy = np.clip(rng.normal(0.95, 0.02, world.nodes) + _ar1(rng, size, 0.8, 0.01), 0.5, 0.995)
    online = _online(rng, size, world.offline)
    chosen = set(plan.canary)
    found: dict[str, tuple[Evidence, ...]] = {}
    for column, member in enumerate(plan.nodes):
        found[member.node] = tuple(
            _record(rng, world, row, level[row, column], accuracy[row, column], member, chosen)
            for row in range(size[0])
            if online[row, column]
        )
    return found


def _record(
    rng: np.random.Generator,
    world: World,
    row: int,
    level: float,
    accuracy: float,
    member: Member,
    chosen: set[str],
) -> Evidence:
    window = FIRST - world.pre + row
    new = member.node in chosen and window >= FIRST
    requests = int(rng.poisson(world.requests))
    errors = int(rng.binomial(requests, world.errors)) if new else 0
    seconds = np.exp(np.log(2e-3) + level + rng.normal(0, 0.25, requests - errors))
    seconds = seconds * (world.slower if new else 1.0)
    buckets = np.searchsorted(BOUNDS_S, seconds)
    latency = tuple((int(b), int(n)) for b, n in enumerate(np.bincount(buckets)) if n)
    paired = int(rng.poisson(world.paired))
    gains, losses = 0, 0
    if new and paired:
        half = world.discordance / 2
        shares = [half, half + world.drop, 1 - world.discordance - world.drop]
        gains, losses, _ = (int(n) for n in rng.multinomial(paired, shares))
    share = accuracy - world.drop if new else accuracy
    labelled = max(paired, 1)
    unlabelled = int(rng.poisson(3 * paired * world.discordance)) if world.unlabelled_too else 0
    return Evidence(
        window=window,
        digest=WANT if new else WAS,
        boot="b" if new else "a",
        ok=requests - errors,
        server_errors=errors,
        latency=latency,
        wanted=labelled,
        labelled=labelled,
        correct=int(rng.binomial(labelled, share)),
        shadowed=paired * (4 if world.unlabelled_too else 1) if new else 0,
        disagreed=gains + losses + unlabelled if new else 0,
        disagreed_labelled=gains + losses,
        shadow_gains=gains,
        shadow_losses=losses,
        paired=paired if new else 0,
        gains=gains,
        losses=losses,
    )


def _ar1(
    rng: np.random.Generator, size: tuple[int, int], rho: float, sd: float
) -> NDArray[np.float64]:
    noise = rng.normal(0, sd, size)
    out = noise.copy()
    for row in range(1, size[0]):
        out[row] = rho * out[row - 1] + np.sqrt(1 - rho * rho) * noise[row]
    return out


def _online(rng: np.random.Generator, size: tuple[int, int], share: float) -> NDArray[np.bool_]:
    """Return who is there when: spells of ten windows on average."""
    there = np.ones(size, dtype=np.bool_)
    there[0] = rng.random(size[1]) >= share
    lost = 0.1 * share / (1 - share)
    for row in range(1, size[0]):
        chance = rng.random(size[1])
        there[row] = np.where(there[row - 1], chance >= lost, chance < 0.1)
    return there


def look(
    state: GateState,
    plan: Design,
    rules: Gates,
    seen: Mapping[str, Sequence[Evidence]],
    window: int,
) -> tuple[GateState, Verdict]:
    """Judge all evidence up to a window."""
    return judge(state, plan, rules, sheet_of(plan, seen, window), window)


@dataclass(frozen=True)
class Run:
    """How a canary's soak ended."""

    outcome: Outcome
    look: int
    state: GateState
    verdict: Verdict


def soak(
    world: World,
    rules: Gates,
    *,
    plan: Design | None = None,
    seen: dict[str, tuple[Evidence, ...]] | None = None,
    last: int | None = None,
) -> Run:
    """Look after every window until the gate decides, or time is up, or `last` is reached."""
    plan = plan or design(world)
    seen = evidence(world, plan) if seen is None else seen
    state = open_gate(plan, rules)
    sheets = Sheets(plan)
    sheets.enter(seen)
    for window in range(FIRST, FIRST + (last or rules.max_windows)):
        state, verdict = judge(state, plan, rules, sheets.until(window), window)
        if verdict.outcome is not Outcome.INCONCLUSIVE:
            break
    return Run(verdict.outcome, plan.look_at(window), state, verdict)
