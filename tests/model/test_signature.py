"""Signing is deterministic, and what it writes is what OpenSSF model-signing writes."""

from __future__ import annotations

import importlib.util
import stat
import sys
import types
from pathlib import Path

import pytest

from edgefleet.edge.contract import CARD_FILE, MODEL_FILE, SIGNATURE_FILE
from edgefleet.errors import Refused
from edgefleet.model.signature import make_key, sign
from tests.edge.tiny import tiny_package


@pytest.fixture
def package(tmp_path: Path) -> Path:
    tiny_package(tmp_path / "package", tmp_path / "keys")
    return tmp_path / "package"


def test_the_same_files_and_key_give_the_same_bytes_in_any_folder(
    package: Path, tmp_path: Path
) -> None:
    first = (package / SIGNATURE_FILE).read_bytes()
    elsewhere = package.rename(tmp_path / "elsewhere")
    sign(elsewhere, tmp_path / "keys/signing.key")
    assert first == (elsewhere / SIGNATURE_FILE).read_bytes()


def test_making_a_key_twice_keeps_the_first_and_only_its_owner_may_read_it(
    tmp_path: Path,
) -> None:
    make_key(tmp_path)
    key = (tmp_path / "signing.key").read_bytes()
    make_key(tmp_path)
    assert key == (tmp_path / "signing.key").read_bytes()
    assert stat.S_IMODE((tmp_path / "signing.key").stat().st_mode) == 0o600
    assert len(list((tmp_path / "trust").glob("*.pub"))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["signing.key", "trust"]


def test_a_lost_public_key_is_made_again_from_the_private_one(tmp_path: Path) -> None:
    make_key(tmp_path)
    (public,) = (tmp_path / "trust").glob("*.pub")
    content = public.read_bytes()
    public.unlink()
    make_key(tmp_path)
    assert content == public.read_bytes()


def test_a_package_without_a_file_is_not_signed(package: Path, tmp_path: Path) -> None:
    (package / MODEL_FILE).unlink()
    with pytest.raises(Refused, match=r"lacks model\.onnx"):
        sign(package, tmp_path / "keys/signing.key")


def test_a_file_that_is_no_key_is_refused(package: Path, tmp_path: Path) -> None:
    (tmp_path / "signing.key").write_text("not a key")
    with pytest.raises(Refused, match="cannot be read as a PEM key"):
        sign(package, tmp_path / "signing.key")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_verifier_of_model_signing_accepts_it_and_refuses_a_change(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("OpenSSL") is None:
        # model-signing 1.1.1 imports pyOpenSSL for its certificate mode, and does not declare it.
        absent = types.ModuleType("OpenSSL")
        absent.crypto = types.ModuleType("OpenSSL.crypto")  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "OpenSSL", absent)
    import model_signing  # noqa: PLC0415 - only after that

    (public,) = (tmp_path / "keys/trust").glob("*.pub")
    verifier = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public)
    verifier.verify(package, package / SIGNATURE_FILE)

    card = package / CARD_FILE
    card.write_bytes(card.read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"Hash mismatch for 'card\.json'"):
        verifier.verify(package, package / SIGNATURE_FILE)
