"""Every knob of Prefect that a task of ours uses, and why.

Nothing is cached: a task acts on the world or looks at it, and both must happen when asked. Only
`Unreachable` is retried: every other error says that trying again cannot help.
"""

from __future__ import annotations

from typing import Any, Final

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from edgefleet.errors import Unreachable


def _worth_retrying(_task: Task[..., Any], _run: TaskRun, state: State) -> bool:
    return isinstance(state.result(raise_on_failure=False), Unreachable)


OUTSIDE: Final[dict[str, Any]] = {
    "retries": 3,
    "retry_delay_seconds": [1, 3, 9],
    "retry_condition_fn": _worth_retrying,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
"""For a task that calls one port."""

LOOK: Final[dict[str, Any]] = {"retries": 0, "cache_policy": NO_CACHE, "persist_result": False}
"""For a look that is taken every minute: the next one is the retry."""

FACTORIES_AT_ONCE: Final = 12
"""Threads of a step that works on all factories; each waits far more than it computes."""

PATIENCE_S: Final = 5.0
"""Between two tries of a whole step while something outside does not answer."""

TICK_S: Final = 0.25
"""Between two looks at a factory in which something is under way."""

FACTORY_SILENT_S: Final = 60.0
"""A factory that does not answer for so long is deferred."""

BEGIN_S: Final = 60.0
"""A factory's worker begins on an order within so long, or never."""

ANSWER_S: Final = 60.0
"""So long after an order must be over its answer may still come: a worker's process starts, and a
WAN may be slow."""

ANSWER_TRIES_S: Final = 3600.0
"""For so long a worker tries to hand in what it found; a later look would show it anyway."""

FRESH_S: Final = 30.0
"""So old may be what a factory's worker saw, before it is asked to look again."""
