"""MLflow's webhooks: whether a delivery is genuine and fresh, and whether it may ask for a release.

Pure: headers, body and time go in. MLflow signs `{delivery id}.{timestamp}.{body}` with HMAC-SHA256
and delivers at most once, from memory; what it forgets the watch finds.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from edgefleet.edge.errors import Declined
from edgefleet.fleet.trigger import CANDIDATE, RELEASE_TAG, REQUESTED

SIGNATURE: Final = "x-mlflow-signature"
TIMESTAMP: Final = "x-mlflow-timestamp"
DELIVERY: Final = "x-mlflow-delivery-id"
VERSION: Final = "v1"
WINDOW_S: Final = 300
"""A delivery whose time is further off, either way, is refused."""


class _Data(msgspec.Struct, frozen=True):
    """Of all kinds of payload, what is read here."""

    name: str
    version: str = ""
    key: str = ""
    value: str = ""
    alias: str = ""


class _Payload(msgspec.Struct, frozen=True):
    entity: str
    action: str
    data: _Data


@dataclass(frozen=True, slots=True)
class Notice:
    """A version of a model of which something was said that may ask for a release."""

    model: str
    version: str


def genuine(headers: Mapping[str, str], body: bytes, secret: bytes, now: float) -> str:
    """Return the id of a delivery that was signed with `secret` and is fresh at `now` (epoch s).

    `headers` by their names in lower case.

    Raises:
        Declined: 401, it is not.
    """
    missing = [name for name in (SIGNATURE, TIMESTAMP, DELIVERY) if not headers.get(name)]
    if missing:
        raise Declined(401, f"no header {', '.join(missing)}: give the webhook a secret in MLflow")
    delivery, timestamp = headers[DELIVERY], headers[TIMESTAMP]
    signed = f"{delivery}.{timestamp}.".encode() + body
    expected = hmac.new(secret, signed, hashlib.sha256).digest()
    version, _, encoded = headers[SIGNATURE].partition(",")
    try:
        found = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        found = b""
    if version != VERSION or not hmac.compare_digest(found, expected):
        raise Declined(
            401, f"{SIGNATURE} is not {VERSION} by this secret: EDGEFLEET_BRIDGE_SECRET is another"
        )
    off_s = now - int(timestamp) if timestamp.isdecimal() else None
    if off_s is None or abs(off_s) > WINDOW_S:
        said = f"is {off_s:.0f} s off" if off_s is not None else "is no time"
        raise Declined(401, f"{TIMESTAMP} {said}, at most {WINDOW_S} are allowed: see both clocks")
    return delivery


def notice_in(body: bytes) -> Notice | None:
    """Return what a delivery says of a version; None: nothing that may ask for a release.

    Raises:
        Declined: 400, it is no delivery of MLflow's.
    """
    try:
        payload = msgspec.json.decode(body, type=_Payload)
    except msgspec.MsgspecError as error:
        raise Declined(400, f"not a webhook of MLflow's registry: {error}") from error
    data = payload.data
    match payload.entity, payload.action:
        case "model_version", "created":
            asks = True
        case "model_version_tag", "set":
            asks = (data.key, data.value) == (RELEASE_TAG, REQUESTED)
        case "model_version_alias", "created":
            asks = data.alias == CANDIDATE
        case _:
            asks = False
    return Notice(data.name, data.version) if asks else None


@dataclass(slots=True)
class Deliveries:
    """Which deliveries were taken, for as long as they would still be fresh."""

    _taken: dict[str, float] = field(default_factory=dict)

    def take(self, delivery: str, now: float) -> bool:
        """Take a delivery; say whether nobody did before."""
        # A time that lies ahead is fresh for twice the window.
        fresh = {one: at for one, at in self._taken.items() if now - at <= 2 * WINDOW_S}
        self._taken = {**fresh, delivery: fresh.get(delivery, now)}
        return delivery not in fresh

    def give_back(self, delivery: str) -> None:
        """Let a delivery come again: nothing was done about it."""
        self._taken.pop(delivery, None)
