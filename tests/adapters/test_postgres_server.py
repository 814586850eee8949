"""A PostgreSQL server for a home: what of its URL is told to whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from edgefleet import wiring
from edgefleet.adapters.servers.embedded import embedded
from edgefleet.adapters.servers.postgres import PostgresServer
from edgefleet.cli import app
from edgefleet.cli.local import on_postgres
from edgefleet.errors import Refused, Unreachable
from edgefleet.settings import Settings
from tests.postgres import PASSWORD, Postgres, running


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running() as server:
        yield server


def databases(postgres: Postgres) -> set[str]:
    with closing(postgres.login()) as connection:
        return {str(name) for (name,) in connection.execute("SELECT datname FROM pg_database")}


def test_missing_databases_are_made_and_those_that_are_there_left_alone(
    postgres: Postgres,
) -> None:
    server = PostgresServer.parse(postgres.url())
    for _ in range(2):
        server.make_databases()
        made = {name for name in databases(postgres) if name.startswith("edgefleet_")}
        assert made == {"edgefleet_ledger", "edgefleet_mlflow", "edgefleet_prefect"}


def test_a_home_remembers_its_server_without_the_password(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path / "home", postgres_url=SecretStr(postgres.url()))
    on_postgres(settings, "")
    written = "".join(file.read_text() for file in settings.home.iterdir())
    assert written.strip() == postgres.url(password="").strip("/")

    later = Settings(home=settings.home)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    ledger = wiring.ledger(later)
    assert ledger.releases() == ()
    assert not (settings.home / "ledger.db").exists()
    ledger.close()


def test_programs_get_it_by_their_environment_alone(tmp_path: Path, postgres: Postgres) -> None:
    server = PostgresServer.parse(postgres.url())
    programs = embedded(tmp_path, postgres=server)
    assert [word for one in programs for word in one.argv if "p%40ss" in word] == []
    given = {one.name: " ".join(one.env.values()) for one in programs}
    assert "postgresql+asyncpg://edgefleet:p%40ss" in given["prefect"]
    assert "postgresql+psycopg://edgefleet:p%40ss" in given["mlflow"]
    assert PASSWORD not in repr(server)


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("postgres at noon, planted", "postgresql://user@host:5432"),
        ("mysql://x:planted@h/", "postgresql://user@host:5432"),
        ("postgresql:///name", "postgresql://user@host:5432"),
        ("postgresql://x:planted@h/?sslmode=require", "sslmode.*PGSSLMODE"),
    ],
)
def test_what_is_no_server_is_refused_without_its_password(url: str, remedy: str) -> None:
    with pytest.raises(Refused, match=remedy) as refused:
        PostgresServer.parse(url)
    assert "planted" not in str(refused.value)


def test_a_password_on_the_command_line_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFLEET_HOME", str(tmp_path / "home"))
    done = CliRunner().invoke(app, ["up", "--postgres", "postgresql://me:planted@h"])
    assert done.exit_code == 2
    assert "PGPASSWORD" in done.output
    assert "planted" not in done.output
    assert not (tmp_path / "home").exists()


def test_a_server_that_lets_nobody_in_says_so_without_the_password(postgres: Postgres) -> None:
    wrong = PostgresServer.parse(postgres.url(password="wrong planted"))
    with pytest.raises(
        Unreachable, match=r"password authentication failed.*create databases"
    ) as no:
        wrong.make_databases()
    assert "planted" not in str(no.value)
