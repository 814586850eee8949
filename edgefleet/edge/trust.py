"""Checks a package's signature with `cryptography` alone: nothing else is needed on a node.

The signature is an OpenSSF model-signing bundle in key mode: a Sigstore bundle (JSON) around a DSSE
envelope around an in-toto statement that lists every file with its SHA-256. Accepted is what any
public key of the trust folder signed, so that a rotation never stops the last good package. What
was verified is what is used: `read_verified` returns the very bytes that it hashed. Only the
signature file itself is outside the signature; any other file, or a symlink, is refused.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from edgefleet.edge.contract import PACKAGE_FILES, SIGNATURE_FILE
from edgefleet.edge.errors import PackageError

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
FETCH: Final = "Fetch the package again"
REPACKAGE: Final = "Package the model again"
SIGNED_FILES: Final = tuple(sorted(set(PACKAGE_FILES) - {SIGNATURE_FILE}))


class _Signature(msgspec.Struct, frozen=True):
    sig: str


class Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """A DSSE envelope, as it is written in JSON: what is signed is not known to be so yet."""

    payload: str
    payload_type: str
    signatures: tuple[_Signature, ...]

    def opened(self) -> tuple[bytes, list[bytes]]:
        """Return the payload and the proofs.

        Raises:
            binascii.Error: one of them is not base64.
        """
        proofs = [b64decode(item.sig, validate=True) for item in self.signatures]
        return b64decode(self.payload, validate=True), proofs


class _Bundle(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str
    dsse_envelope: Envelope


class _Resource(msgspec.Struct, frozen=True):
    name: str
    algorithm: str
    digest: str


class _Predicate(msgspec.Struct, frozen=True):
    resources: tuple[_Resource, ...]


class _Statement(msgspec.Struct, frozen=True, rename="camel"):
    type_: str = msgspec.field(name="_type")
    predicate_type: str
    predicate: _Predicate


# Made at import: threads verify, and a type must not be met for the first time by two at once.
_BUNDLES: Final = msgspec.json.Decoder(_Bundle)
_STATEMENTS: Final = msgspec.json.Decoder(_Statement)


def verify(package: Path, trust_dir: Path) -> None:
    """Check that a trusted key signed every file of a package folder, and no other file is there.

    Raises:
        PackageError: it is not so; which file, the digest expected and found, the remedy.
    """
    read_verified(package, trust_dir)


def read_verified(package: Path, trust_dir: Path) -> Mapping[str, bytes]:
    """Return the content of every signed file, by name, after checking it as `verify` does.

    Raises:
        PackageError: as `verify`.
    """
    content = _read_package(package)
    expected = _signed_digests(package, content[SIGNATURE_FILE], trusted_keys(trust_dir))
    if set(expected) != set(SIGNED_FILES):
        odd = ", ".join(sorted(set(expected) ^ set(SIGNED_FILES)))
        raise PackageError(
            package,
            f"the signature is not over the files of a package (differs: {odd})",
            REPACKAGE,
        )
    for name, digest in expected.items():
        found = hashlib.sha256(content[name]).hexdigest()
        if found != digest:
            raise PackageError(
                package / name,
                f"signed was sha256:{digest}, found is sha256:{found}",
                FETCH,
            )
    return {name: content[name] for name in SIGNED_FILES}


def trusted_keys(trust_dir: Path) -> Mapping[str, ec.EllipticCurvePublicKey]:
    """Return the public keys in a folder's *.pub files by file name.

    Raises:
        PackageError: there is none, or a file is not a PEM public key on curve P-256.
    """
    keys = {}
    for path in sorted(trust_dir.glob("*.pub")):
        try:
            key = load_pem_public_key(path.read_bytes())
        except (ValueError, OSError) as error:
            raise PackageError(path, f"not a PEM public key ({error})", "Replace it") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise PackageError(path, "not an EC key on curve P-256", "Replace it")
        keys[path.name] = key
    if not keys:
        raise PackageError(
            trust_dir,
            "holds no *.pub file, so no package can be trusted",
            "Put the public key of the signer there",
        )
    return keys


def key_hint(key: ec.EllipticCurvePublicKey) -> str:
    """Return what a bundle names its key by: the SHA-256 of the public key's PEM, in hex."""
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def pre_authentication(payload: bytes, kind: str = PAYLOAD_TYPE) -> bytes:
    """Return the bytes that a DSSE signature is over (DSSE protocol, v1.0.2); `kind` is ASCII."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode("ascii"), len(payload), payload)


def signed_by_any(
    keys: Iterable[ec.EllipticCurvePublicKey],
    proofs: Sequence[bytes],
    payload: bytes,
    kind: str = PAYLOAD_TYPE,
) -> bool:
    """Say whether one of the proofs is a signature by one of the keys over a payload of a kind."""
    message = pre_authentication(payload, kind)
    return any(_holds(key, proof, message) for key in keys for proof in proofs)


def _read_package(package: Path) -> Mapping[str, bytes]:
    try:
        found = {entry.name: entry for entry in package.iterdir()}
    except OSError as error:
        raise PackageError(package, f"cannot be read ({error.strerror})", FETCH) from error
    for name in sorted(found.keys() - set(PACKAGE_FILES)):
        raise PackageError(found[name], "is not part of the signed package", "Remove it")
    for name in PACKAGE_FILES:
        if name not in found:
            raise PackageError(package / name, "is missing", FETCH)
        if found[name].is_symlink() or not found[name].is_file():
            raise PackageError(found[name], "is not a plain file", FETCH)
    try:
        return {name: found[name].read_bytes() for name in PACKAGE_FILES}
    except OSError as error:
        raise PackageError(error.filename, f"cannot be read ({error.strerror})", FETCH) from error


def _signed_digests(
    package: Path, signature: bytes, keys: Mapping[str, ec.EllipticCurvePublicKey]
) -> Mapping[str, str]:
    """Return file name -> SHA-256 in hex, as a trusted key signed it."""
    path = package / SIGNATURE_FILE
    try:
        bundle = _BUNDLES.decode(signature)
        payload, proofs = bundle.dsse_envelope.opened()
    except (msgspec.DecodeError, NotBase64) as error:
        raise PackageError(path, f"is not a signature bundle ({error})", FETCH) from error
    if bundle.media_type != BUNDLE_TYPE or bundle.dsse_envelope.payload_type != PAYLOAD_TYPE:
        raise PackageError(
            path,
            f"is a {bundle.media_type!r} over {bundle.dsse_envelope.payload_type!r}, "
            f"expected {BUNDLE_TYPE!r} over {PAYLOAD_TYPE!r}",
            REPACKAGE,
        )
    if not signed_by_any(keys.values(), proofs, payload):
        raise PackageError(
            path,
            f"signed by none of the trusted keys ({', '.join(keys)})",
            "Sign with one of them, or add the signer's public key",
        )
    try:
        statement = _STATEMENTS.decode(payload)
    except msgspec.DecodeError as error:
        raise PackageError(
            path,
            f"signs something that is no statement about files ({error})",
            REPACKAGE,
        ) from error
    algorithms = {resource.algorithm for resource in statement.predicate.resources}
    if (statement.type_, statement.predicate_type, algorithms) != (
        STATEMENT_TYPE,
        PREDICATE_TYPE,
        {"sha256"},
    ):
        raise PackageError(
            path,
            f"signs a {statement.predicate_type!r} with {sorted(algorithms)}, "
            f"expected {PREDICATE_TYPE!r} with sha256",
            REPACKAGE,
        )
    return {resource.name: resource.digest for resource in statement.predicate.resources}


def _holds(key: ec.EllipticCurvePublicKey, proof: bytes, message: bytes) -> bool:
    try:
        key.verify(proof, message, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True
