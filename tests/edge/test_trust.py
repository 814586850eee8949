"""A node accepts a package that a trusted key signed, whole and unchanged, and no other."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from edgefleet.edge.contract import CARD_FILE, MODEL_FILE, PACKAGE_FILES, SIGNATURE_FILE
from edgefleet.edge.errors import PackageError
from edgefleet.edge.trust import verify
from edgefleet.model.signature import make_key, sign
from tests.edge.tiny import tiny_package


@pytest.fixture
def package(tmp_path: Path) -> Path:
    tiny_package(tmp_path / "package", tmp_path / "keys")
    return tmp_path / "package"


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    return tmp_path / "keys/trust"


def test_a_signed_package_is_accepted_wherever_it_lies(
    package: Path, trust: Path, tmp_path: Path
) -> None:
    verify(package.rename(tmp_path / "moved"), trust)


@pytest.mark.parametrize("name", sorted(set(PACKAGE_FILES) - {SIGNATURE_FILE}))
def test_a_changed_byte_is_named_with_both_digests(package: Path, trust: Path, name: str) -> None:
    content = bytearray((package / name).read_bytes())
    signed = hashlib.sha256(content).hexdigest()
    content[len(content) // 2] ^= 1
    found = hashlib.sha256(content).hexdigest()
    (package / name).write_bytes(content)
    with pytest.raises(PackageError) as caught:
        verify(package, trust)
    assert caught.value.subject == str(package / name)
    assert caught.value.problem == f"signed was sha256:{signed}, found is sha256:{found}"
    assert "Fetch the package again" in caught.value.remedy


@pytest.mark.parametrize("name", PACKAGE_FILES)
def test_a_missing_file_is_named(package: Path, trust: Path, name: str) -> None:
    (package / name).unlink()
    with pytest.raises(PackageError, match=f"{name}: is missing. Fetch the package again"):
        verify(package, trust)


@pytest.mark.parametrize("name", ["weights.bin", ".gitignore", ".git"])
def test_a_file_that_nobody_signed_is_refused(package: Path, trust: Path, name: str) -> None:
    (package / name).write_bytes(b"")
    with pytest.raises(PackageError, match=f"{name}: is not part of the signed package"):
        verify(package, trust)


def test_a_symlink_is_refused_even_to_the_right_content(package: Path, trust: Path) -> None:
    (package / MODEL_FILE).rename(package.parent / "model")
    (package / MODEL_FILE).symlink_to(package.parent / "model")
    with pytest.raises(PackageError, match="not a plain file"):
        verify(package, trust)


def test_a_package_of_an_unknown_signer_is_refused(package: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    with pytest.raises(PackageError, match="signed by none of the trusted keys"):
        verify(package, tmp_path / "other/trust")


def test_without_any_key_nothing_is_trusted(package: Path, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"holds no \*\.pub file"):
        verify(package, tmp_path)


@pytest.mark.parametrize("length", [0, 1, 100, 500, -1])
def test_a_truncated_signature_is_refused(package: Path, trust: Path, length: int) -> None:
    path = package / SIGNATURE_FILE
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(PackageError, match="is not a signature bundle"):
        verify(package, trust)


def test_a_rewritten_statement_is_refused(package: Path, trust: Path) -> None:
    path = package / SIGNATURE_FILE
    bundle = json.loads(path.read_bytes())
    statement = json.loads(b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["resources"][0]["digest"] = "0" * 64
    bundle["dsseEnvelope"]["payload"] = b64encode(json.dumps(statement).encode()).decode()
    path.write_text(json.dumps(bundle))
    with pytest.raises(PackageError, match="signed by none of the trusted keys"):
        verify(package, trust)


def test_during_a_rotation_packages_of_the_old_and_the_new_key_are_accepted(
    package: Path, trust: Path, tmp_path: Path
) -> None:
    make_key(tmp_path / "new")
    for public in (tmp_path / "new/trust").iterdir():
        public.rename(trust / public.name)
    verify(package, trust)
    sign(package, tmp_path / "new/signing.key")
    verify(package, trust)


def test_a_card_and_model_of_two_signed_packages_cannot_be_mixed(
    package: Path, trust: Path, tmp_path: Path
) -> None:
    tiny_package(tmp_path / "second", tmp_path / "keys", version="2")
    (tmp_path / "second" / CARD_FILE).replace(package / CARD_FILE)
    with pytest.raises(PackageError, match=r"card\.json: signed was"):
        verify(package, trust)
