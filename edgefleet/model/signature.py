"""Signs a package folder: an OpenSSF model-signing bundle in key mode, offline, deterministic.

The format is that of `model_signing sign key`, and its own verifier accepts it (a test holds that).
It is written here and not by that library because the library's ECDSA nonce is random, its JSON has
no fixed order and it names the folder in the signed statement: the same package would get another
digest at every signing. Here the nonce follows RFC 6979, keys are sorted and the subject is the
card's model and version, so the same files under the same key give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from edgefleet.edge.contract import CARD_FILE, SIGNATURE_FILE, Card, Digest
from edgefleet.edge.errors import PackageError
from edgefleet.edge.trust import (
    BUNDLE_TYPE,
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    SIGNED_FILES,
    STATEMENT_TYPE,
    key_hint,
    verify,
)
from edgefleet.errors import Refused
from edgefleet.model.dsse import envelope, read_key

KEY_FILE: Final = "signing.key"
TRUST_FOLDER: Final = "trust"


def make_key(folder: Path) -> None:
    """Make a signing key and its public half, unless they are there.

    `folder`/signing.key (PEM, readable by its owner only) and `folder`/trust/<hint>.pub, where
    hint is the first 12 digits of the public key's SHA-256: the trust folder of a node may hold
    several.

    Raises:
        Refused: a signing.key is there that is not an EC key on curve P-256.
    """
    path = folder / KEY_FILE
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        # Written aside and linked: of two makers one wins, and no half key is ever seen.
        draft = folder / f".{KEY_FILE}.{os.getpid()}"
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(pem)
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    public = read_key(path).public_key()
    trusted = folder / TRUST_FOLDER / f"{key_hint(public)[:12]}.pub"
    if not trusted.exists():
        trusted.parent.mkdir(exist_ok=True)
        trusted.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def public_keys(trust_dir: Path) -> dict[str, str]:
    """Return the public keys of a trust folder as PEM, by file name."""
    found = sorted(trust_dir.glob("*.pub"))
    return {file.name: file.read_text(encoding="utf-8") for file in found}


def sign(package: Path, key: Path) -> None:
    """Write the signature file of a package folder; the same files give the same bytes.

    Raises:
        Refused: a file of the package is missing, or the key cannot be read.
    """
    private = read_key(key)
    payload = _canonical(_statement(package))
    bundle = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": key_hint(private.public_key())},
            "tlogEntries": [],
        },
        "dsseEnvelope": envelope(payload, PAYLOAD_TYPE, private),
    }
    (package / SIGNATURE_FILE).write_bytes(_canonical(bundle))


def check_trusted(package: Path, trust_dir: Path, digest: Digest) -> None:
    """Check a package folder as every node does on arrival; `digest` is its image's, for the words.

    Raises:
        Refused: a key that nobody here trusts signed it, or its files are not what was signed.
    """
    try:
        verify(package, trust_dir)
    except PackageError as error:
        subject = f"package {digest[:19]}"
        problem = f"{Path(error.subject).name} {error.problem}"
        raise Refused(subject, problem, error.remedy) from error


def _statement(package: Path) -> object:
    """Return the in-toto statement: every file's SHA-256, and one over all of them as subject."""
    missing = [name for name in SIGNED_FILES if not (package / name).is_file()]
    if missing:
        raise Refused(str(package), f"lacks {', '.join(missing)}", "Package the model again")
    try:
        card = msgspec.json.decode((package / CARD_FILE).read_bytes(), type=Card)
    except msgspec.DecodeError as error:
        raise Refused(str(package / CARD_FILE), f"is no card: {error}", "Correct it") from error
    digests = {name: hashlib.sha256((package / name).read_bytes()) for name in SIGNED_FILES}
    root = hashlib.sha256(b"".join(digest.digest() for digest in digests.values()))
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": f"{card.model}/{card.version}", "digest": {"sha256": root.hexdigest()}}
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURE_FILE],
            },
            "resources": [
                {"name": name, "algorithm": "sha256", "digest": digest.hexdigest()}
                for name, digest in digests.items()
            ],
        },
    }


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
