"""Signed messages: DSSE envelopes (protocol v1.0.2) over any payload, by a key on curve P-256.

The signature is over the payload and its type, so that what was signed as one kind of message is
never taken for another. The same payload under the same key gives the same bytes (RFC 6979).
"""

from __future__ import annotations

import json
from base64 import b64encode
from binascii import Error as NotBase64
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from edgefleet.edge.errors import PackageError
from edgefleet.edge.trust import Envelope, pre_authentication, signed_by_any, trusted_keys
from edgefleet.errors import Refused

# Made at import: a type must not be met for the first time by two threads at once.
_ENVELOPES: Final = msgspec.json.Decoder(Envelope)


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return the private key in a PEM file.

    Raises:
        Refused: it cannot be read, or is not on curve P-256.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        problem = f"cannot be read as a PEM key without a password: {error}"
        raise Refused(str(path), problem, "Make one with `edgefleet up` or name another") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise Refused(str(path), "is not an EC key on curve P-256", "Name such a key")
    return key


def envelope(payload: bytes, kind: str, key: ec.EllipticCurvePrivateKey) -> dict[str, object]:
    """Return the envelope of a payload of a kind (a media type), ready to be written as JSON."""
    proof = key.sign(
        pre_authentication(payload, kind), ec.ECDSA(SHA256(), deterministic_signing=True)
    )
    return {
        "payload": b64encode(payload).decode(),
        "payloadType": kind,
        "signatures": [{"sig": b64encode(proof).decode(), "keyid": ""}],
    }


def seal(payload: bytes, kind: str, key: Path) -> str:
    """Return the envelope as JSON.

    Raises:
        Refused: the key cannot be read.
    """
    return json.dumps(envelope(payload, kind, read_key(key)))


def unseal(text: str, kind: str, trust_dir: Path) -> bytes:
    """Return the payload of an envelope, once a trusted key is known to have signed it.

    Raises:
        Refused: it is no envelope, of another kind, or signed by none of the keys.
    """
    try:
        sealed = _ENVELOPES.decode(text)
        payload, proofs = sealed.opened()
    except (msgspec.DecodeError, NotBase64) as error:
        problem = f"is no signed message ({type(error).__name__}: {error})"
        raise Refused("the message", problem, "Send it through edgefleet") from error
    if sealed.payload_type != kind:
        found = sealed.payload_type
        raise Refused("the message", f"is a {found!r}, expected {kind!r}", "Send what is expected")
    try:
        keys = trusted_keys(trust_dir)
    except PackageError as error:
        raise Refused(error.subject, error.problem, error.remedy) from error
    if not signed_by_any(keys.values(), proofs, payload, kind):
        problem = f"is signed by none of the trusted keys ({', '.join(keys)})"
        remedy = f"Sign it with one of them, or add the signer's public key to {trust_dir}"
        raise Refused("the message", problem, remedy)
    return payload
