"""Telling people: what Prefect's server sends, to whom, and when.

The server itself sends, by automations on the states of release runs, so that a message about a
driver that died needs no driver. The address is any that apprise knows (mail, chat, a webhook).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast
from uuid import UUID

import apprise
from prefect.blocks.notifications import SlackWebhook
from prefect.client.orchestration import get_client
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from edgefleet.errors import Refused
from tasks.events import ALARM, DRILL_FAILED, REMINDER

BLOCK: Final = "edgefleet"
_MARK: Final = "edgefleet tells: "
"""How the names of our automations begin; others are left alone."""


@dataclass(frozen=True)
class Message:
    """What is sent when something happens to a release."""

    when: str
    event: str
    subject: str
    body: str
    match_related: Mapping[str, str]


_RUN: Final = "{{ flow_run.name }}"
_WHY: Final = "{{ flow_run.state.message }}"
_PAGE: Final = "\nThe run: {{ flow_run|ui_url }}"


def _of_run(when: str, state: str, subject: str, body: str) -> Message:
    """Return what is sent when a release's flow run takes a state."""
    of_release = {"prefect.resource.role": "flow", "prefect.resource.name": "release"}
    return Message(when, f"prefect.flow-run.{state}", subject, body + _PAGE, of_release)


MESSAGES: Final = (
    _of_run(
        "a decision is wanted",
        "Suspended",
        f"{_RUN}: somebody has to decide",
        f"{_RUN} waits for a yes or a no. Open its run and press Resume; the form shows what a "
        "decision needs. No answer by the deadline of its spec is a no.",
    ),
    _of_run(
        "a release is held",
        "Held",
        f"{_RUN} is held",
        f"{_RUN} is held, and nothing moves: {_WHY}. Look on with `edgefleet extend {_RUN}`, go on "
        f"with `edgefleet override {_RUN} --reason ...`, or go back with `edgefleet abort {_RUN}`; "
        "the same as the deployment `decide`. Without an answer it goes back after the hours of "
        "`approval.held_h` in its spec.",
    ),
    _of_run(
        "a release went back",
        "RolledBack",
        f"{_RUN} was rolled back",
        f"{_RUN} was rolled back, its nodes serve the champion again: {_WHY}. What the canary "
        f"showed: `edgefleet show {_RUN}`.",
    ),
    _of_run(
        "a release cannot begin",
        "Refused",
        f"{_RUN} was refused",
        f"{_RUN} was refused before anything shipped: {_WHY}. Repair it and register again.",
    ),
    _of_run(
        "a driver died",
        "Crashed",
        f"{_RUN}: its driver died",
        f"The process that drove {_RUN} died: {_WHY}. Nodes serve on, and another driver goes on "
        "from the ledger by itself. If this comes again, look at the worker's machine.",
    ),
    _of_run(
        "a driver failed",
        "Failed",
        f"{_RUN} stopped with an error",
        f"{_RUN} stopped with an error and stays where it was: {_WHY}. Other drivers try again, "
        f"later each time; Retry on its page tries now, `edgefleet abort {_RUN}` goes back.",
    ),
    Message(
        "a decision is still wanted",
        REMINDER,
        "{{ event.resource['prefect.resource.name'] }}: somebody still has to decide",
        "{{ event.resource['prefect.resource.name'] }}: {{ event.payload['text'] }}",
        {},
    ),
    Message(
        "the guard found something",
        ALARM,
        "{{ event.resource['prefect.resource.name'] }}: the guard found something",
        "{{ event.resource['prefect.resource.name'] }}: {{ event.payload['text'] }}. "
        "{{ event.payload['remedy'] }}",
        {},
    ),
    Message(
        "a drill failed",
        DRILL_FAILED,
        "{{ event.resource['prefect.resource.name'] }}: a drill failed",
        "A node of {{ event.resource['prefect.resource.name'] }} was taken off its network and did "
        "not serve all the time, or did not come back: {{ event.payload['text'] }}. Look at it "
        "before its link fails by itself: `edgefleet why NODE`.",
        {},
    ),
)


def arrange_notifications(url: SecretStr) -> tuple[str, ...]:
    """Make the server send every message to an address, or none where it is empty.

    Returns the names of the automations; called again, they are replaced.

    Raises:
        Refused: apprise does not know such an address.
    """
    _forget_automations()
    if not url.get_secret_value():
        _forget_block()
        return ()
    if apprise.Apprise.instantiate(url.get_secret_value()) is None:
        raise Refused(
            "EDGEFLEET_NOTIFY_URL",
            "is no address that apprise can send to",
            "Write it as apprise does, e.g. mailto://user:password@host or json://host/path",
        )
    # Its type is one that the server has; every address that is not Slack's it hands to apprise.
    block = cast("UUID", SlackWebhook(url=url).save(BLOCK, overwrite=True))
    with get_client(sync_client=True) as client:
        for message in MESSAGES:
            client.create_automation(_automation(message, block))
    return tuple(_MARK + message.when for message in MESSAGES)


def _automation(message: Message, block: UUID) -> AutomationCore:
    return AutomationCore(
        name=_MARK + message.when,
        description="Made by `edgefleet deploy`; made anew each time.",
        trigger=EventTrigger(
            posture=Posture.Reactive,
            expect={message.event},
            match_related=dict(message.match_related),
            for_each={"prefect.resource.id"},
            threshold=1,
        ),
        actions=[
            SendNotification(block_document_id=block, subject=message.subject, body=message.body)
        ],
    )


def _forget_automations() -> None:
    with get_client(sync_client=True) as client:
        for found in client.read_automations():
            if found.name.startswith(_MARK):
                client.delete_automation(found.id)


def _forget_block() -> None:
    with get_client(sync_client=True) as client, suppress(ObjectNotFound):
        for found in client.read_block_documents_by_type("slack-webhook", include_secrets=False):
            if found.name == BLOCK:
                client.delete_block_document(found.id)
