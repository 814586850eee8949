"""Events that tell Prefect of something; what follows from them is up to its automations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import httpx
from prefect.client.orchestration import get_client
from prefect.events import Event, Resource

REGISTERED: Final = "edgefleet.model.registered"
DRILL_FAILED: Final = "edgefleet.drill.failed"
REMINDER: Final = "edgefleet.release.reminder"
ALARM: Final = "edgefleet.guard.alarm"


def tell_registered(model: str, version: str, told_by: str) -> str:
    """Tell of a registration, so that the next look comes sooner; return as `_sent`."""
    said = {"model": model, "version": version, "told_by": told_by}
    return _sent(REGISTERED, "model", model, said)


def tell_reminder(release_id: str, text: str) -> str:
    """Tell that a release still waits for a person; return as `_sent`."""
    return _sent(REMINDER, "release", release_id, {"text": text})


def tell_alarm(workload: str, found: str, remedy: str) -> str:
    """Tell what the guard found and what can be done; return as `_sent`."""
    return _sent(ALARM, "workload", workload, {"text": found, "remedy": remedy})


def tell_drill_failed(workload: str, text: str) -> str:
    """Tell that a node did not serve, or did not come back, in a drill; return as `_sent`."""
    return _sent(DRILL_FAILED, "workload", workload, {"text": text})


def _sent(name: str, kind: str, about: str, said: Mapping[str, str]) -> str:
    """Send an event and see that the server has it; return why it has not, empty if it has.

    Over HTTP, with an answer: Prefect's own `emit_event` sends in the background, and tells nobody
    what got lost on the way.
    """
    resource = {"prefect.resource.id": f"edgefleet.{kind}.{about}", "prefect.resource.name": about}
    event = Event(event=name, resource=Resource(resource), payload=dict(said))
    try:
        with get_client(sync_client=True) as client:
            body = [event.model_dump(mode="json")]
            client.request("POST", "/events", json=body).raise_for_status()
    except (httpx.HTTPError, OSError, RuntimeError) as error:
        return str(error) or type(error).__name__
    return ""
