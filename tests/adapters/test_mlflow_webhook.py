"""What the bridge answers: to MLflow's own signature, and to everybody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import httpx
import pytest
from mlflow.webhooks.constants import (
    WEBHOOK_DELIVERY_ID_HEADER,
    WEBHOOK_SIGNATURE_HEADER,
    WEBHOOK_TIMESTAMP_HEADER,
)
from mlflow.webhooks.delivery import _generate_hmac_signature
from starlette.applications import Starlette

from edgefleet.adapters.bridge import LIMIT_BYTES, bridge_app
from edgefleet.adapters.mlflow_webhook import WINDOW_S, Deliveries, Notice
from edgefleet.errors import Refused

SECRET = "a secret of the bridge"
NOW = 1_800_000_000
CREATED = {"name": "defects", "version": "7", "source": "s3://x", "run_id": None, "tags": {}}


def payload(entity: str, action: str, data: Mapping[str, object]) -> str:
    said = {"entity": entity, "action": action, "timestamp": "2027-01-15T08:00:00", "data": data}
    return json.dumps(said)


def signed(
    body: str, *, delivery: str = "d-1", secret: str = SECRET, at: int | str = NOW
) -> dict[str, str]:
    """Return the headers that MLflow itself makes."""
    return {
        WEBHOOK_DELIVERY_ID_HEADER: delivery,
        WEBHOOK_TIMESTAMP_HEADER: str(at),
        WEBHOOK_SIGNATURE_HEADER: _generate_hmac_signature(secret, delivery, str(at), body),
    }


@dataclass
class Bridge:
    app: Starlette
    told: list[Notice]
    silent: list[str]

    def post(self, body: str | AsyncIterator[bytes], headers: Mapping[str, str]) -> tuple[int, str]:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://bridge") as client:
                return await client.post("/mlflow", content=body, headers=headers)

        answer = asyncio.run(send())
        return answer.status_code, answer.text


@pytest.fixture
def bridge() -> Bridge:
    told: list[Notice] = []
    silent: list[str] = []

    def tell(notice: Notice) -> str:
        if silent:
            return silent[0]
        told.append(notice)
        return ""

    return Bridge(bridge_app(SECRET, tell, lambda: float(NOW)), told, silent)


BODY = payload("model_version", "created", CREATED)
WANTED = {"name": "defects", "version": "7"}


@pytest.mark.parametrize(
    ("entity", "action", "data", "asks"),
    [
        ("model_version", "created", CREATED, True),
        ("model_version_tag", "set", {"key": "edgefleet.release", "value": "requested"}, True),
        ("model_version_tag", "set", {"key": "edgefleet.release", "value": "admitted"}, False),
        ("model_version_tag", "set", {"key": "edgefleet.state", "value": "requested"}, False),
        ("model_version_tag", "deleted", {"key": "edgefleet.release"}, False),
        ("model_version_alias", "created", {"alias": "candidate"}, True),
        ("model_version_alias", "created", {"alias": "champion"}, False),
        ("registered_model", "created", {}, False),
    ],
)
def test_what_may_ask_for_a_release_is_passed_on(
    bridge: Bridge, entity: str, action: str, data: Mapping[str, object], *, asks: bool
) -> None:
    body = payload(entity, action, {**WANTED, **data})
    status, _ = bridge.post(body, signed(body))
    assert (status, bridge.told) == ((202, [Notice("defects", "7")]) if asks else (200, []))


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "x-mlflow-signature, x-mlflow-timestamp, x-mlflow-delivery-id"),
        (signed(BODY, secret="another secret of 24"), "EDGEFLEET_BRIDGE_SECRET is another"),
        (signed(BODY + " "), "EDGEFLEET_BRIDGE_SECRET is another"),
        ({**signed(BODY), WEBHOOK_DELIVERY_ID_HEADER: "d-2"}, "is another"),
        ({**signed(BODY), WEBHOOK_SIGNATURE_HEADER: "v1,no base 64"}, "is another"),
        ({**signed(BODY), WEBHOOK_SIGNATURE_HEADER: "v2," + "A" * 44}, "is another"),
        (signed(BODY, at=NOW - WINDOW_S - 1), "is 301 s off, at most 300 are allowed"),
        (signed(BODY, at=NOW + WINDOW_S + 1), "is -301 s off"),
        (signed(BODY, at="soon"), "is no time"),
    ],
)
def test_what_is_not_genuine_and_fresh_is_refused(
    bridge: Bridge, headers: Mapping[str, str], said: str
) -> None:
    status, text = bridge.post(BODY, headers)
    assert (status, bridge.told) == (401, [])
    assert said in text
    assert SECRET not in text


def test_a_delivery_that_comes_again_is_passed_on_once(bridge: Bridge) -> None:
    assert bridge.post(BODY, signed(BODY))[0] == 202
    status, text = bridge.post(BODY, signed(BODY))
    assert (status, bridge.told) == (200, [Notice("defects", "7")])
    assert "taken before" in text
    assert bridge.post(BODY, signed(BODY, delivery="d-2"))[0] == 202


def test_what_prefect_was_not_told_may_come_again(bridge: Bridge) -> None:
    bridge.silent.append("nobody answers")
    status, text = bridge.post(BODY, signed(BODY))
    assert status == 503
    assert "the next watch will find it: nobody answers" in text
    bridge.silent.clear()
    assert bridge.post(BODY, signed(BODY))[0] == 202


def test_a_body_over_the_limit_is_not_read_to_its_end(bridge: Bridge) -> None:
    large = "x" * (LIMIT_BYTES + 1)
    assert bridge.post(large, signed(large))[0] == 413

    async def endless() -> AsyncIterator[bytes]:
        while True:  # and without a length that tells it beforehand
            yield b"x" * 1024

    assert bridge.post(endless(), {})[0] == 413
    assert bridge.told == []


@pytest.mark.parametrize("body", ["", "[]", "no json", '{"entity": 1}'])
def test_what_is_signed_and_no_delivery_is_refused_as_such(bridge: Bridge, body: str) -> None:
    status, text = bridge.post(body, signed(body))
    assert (status, bridge.told) == (400, [])
    assert "not a webhook of MLflow's registry" in text


def test_a_delivery_is_forgotten_only_when_it_is_stale_anyway() -> None:
    taken = Deliveries()
    assert taken.take("d", NOW)
    assert not taken.take("d", NOW + 2 * WINDOW_S)
    assert taken.take("d", NOW + 2 * WINDOW_S + 1)


@pytest.mark.parametrize("secret", ["", "short"])
def test_a_bridge_without_a_good_secret_does_not_start(secret: str) -> None:
    with pytest.raises(Refused, match="at least 16 are needed"):
        bridge_app(secret, lambda _: "")
