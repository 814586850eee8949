"""Settings come from the environment, else from a file in the home; no message shows a secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from traceback import format_exception

import pytest

from edgefleet.errors import Refused
from edgefleet.settings import FILE, Settings

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return what writes the home's file."""
    monkeypatch.setenv("EDGEFLEET_HOME", str(tmp_path))

    def written(*lines: str, mode: int = 0o600) -> Path:
        file = tmp_path / FILE
        file.write_text("\n".join(lines))
        file.chmod(mode)
        return file

    return written


def test_the_environment_goes_before_the_file_and_a_call_before_both(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write("EDGEFLEET_LEASE_S=20", "EDGEFLEET_REGISTRY_USER=ada # the plant's", "# a remark")
    assert (Settings().lease_s, Settings().registry_user) == (20, "ada")
    monkeypatch.setenv("EDGEFLEET_LEASE_S", "30")
    assert (Settings().lease_s, Settings().registry_user) == (30, "ada")
    assert Settings(lease_s=40).lease_s == 40
    assert Settings(home=tmp_path / "elsewhere").registry_user == ""


def test_a_misspelt_name_in_the_file_is_refused(write: Write) -> None:
    write("EDGEFLEET_BRIGDE_SECRET=planted")
    with pytest.raises(Refused, match="EDGEFLEET_BRIGDE_SECRET: Extra inputs") as refused:
        Settings()
    assert "planted" not in "".join(format_exception(refused.value))


def test_a_file_that_others_can_read_is_refused(write: Write) -> None:
    write("EDGEFLEET_BRIDGE_SECRET=planted", mode=0o640)
    with pytest.raises(Refused, match=r"has mode 640: others .* Run `chmod 600 ") as refused:
        Settings()
    assert "planted" not in str(refused.value)


def test_a_file_does_not_say_where_the_home_is(write: Write) -> None:
    write("EDGEFLEET_HOME=elsewhere")
    with pytest.raises(Refused, match="by which it was found itself"):
        Settings()


@pytest.mark.parametrize("name", ["EDGEFLEET_PREFECT_AUTH", "EDGEFLEET_MLFLOW_AUTH"])
@pytest.mark.parametrize("wrong", ["planted", "planted:", ":planted"])
def test_who_logs_in_has_a_name_and_a_password(
    monkeypatch: pytest.MonkeyPatch, name: str, wrong: str
) -> None:
    monkeypatch.setenv(name, wrong)
    with pytest.raises(Refused, match=f"{name}: is to be written as user:password") as refused:
        Settings()
    assert "planted" not in "".join(format_exception(refused.value))
