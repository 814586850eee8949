"""Signed messages: only what a trusted key signed as this kind of message is believed."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import pytest

from edgefleet.errors import Refused
from edgefleet.model.dsse import seal, unseal
from edgefleet.model.signature import KEY_FILE, TRUST_FOLDER, make_key

KIND, OTHER = "application/vnd.test+json", "application/vnd.other+json"
BODY = b'{"nodes": ["a"]}'


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    make_key(tmp_path / "keys")
    return tmp_path / "keys"


def test_what_was_sealed_is_read_back_and_the_same_bytes_come_twice(keys: Path) -> None:
    sealed = seal(BODY, KIND, keys / KEY_FILE)
    assert sealed == seal(BODY, KIND, keys / KEY_FILE)
    assert unseal(sealed, KIND, keys / TRUST_FOLDER) == BODY


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("payload", b64encode(b'{"nodes": ["b"]}').decode(), "none of the trusted keys"),
        ("payloadType", OTHER, "expected"),
        ("signatures", [], "none of the trusted keys"),
        ("signatures", [{"sig": "%%%", "keyid": ""}], "no signed message"),
    ],
)
def test_a_message_that_was_touched_is_refused(
    keys: Path, part: str, value: object, words: str
) -> None:
    sealed = json.loads(seal(BODY, KIND, keys / KEY_FILE))
    with pytest.raises(Refused, match=words):
        unseal(json.dumps({**sealed, part: value}), KIND, keys / TRUST_FOLDER)


def test_a_signature_over_one_kind_of_message_is_none_over_another(keys: Path) -> None:
    sealed = json.loads(seal(BODY, OTHER, keys / KEY_FILE))
    with pytest.raises(Refused, match="none of the trusted keys"):
        unseal(json.dumps({**sealed, "payloadType": KIND}), KIND, keys / TRUST_FOLDER)


def test_a_key_that_is_not_trusted_signs_in_vain(keys: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "others")
    sealed = seal(BODY, KIND, tmp_path / "others" / KEY_FILE)
    with pytest.raises(Refused, match="none of the trusted keys"):
        unseal(sealed, KIND, keys / TRUST_FOLDER)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"payload": 1, "payloadType": "x"}', "nonsense"])
def test_what_is_no_envelope_is_refused_in_words(keys: Path, text: str) -> None:
    with pytest.raises(Refused, match="no signed message"):
        unseal(text, KIND, keys / TRUST_FOLDER)
