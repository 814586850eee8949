"""A ledger's tables: the same by every way, readable by whoever comes later, refused to others."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from edgefleet.adapters import migrations
from edgefleet.adapters.ledger import SqlLedger
from edgefleet.adapters.ledger_schema import metadata
from edgefleet.adapters.migrations import HEAD
from edgefleet.errors import Refused, Unreachable
from edgefleet.fleet.release import Phase, Signal
from tests.postgres import PASSWORD, Postgres

OLD = (Path(__file__).parent / "ledger-before-revisions.sql").read_text()
"""What the edgefleet before revisions wrote: one release, in PLANNED, with a journal and a plan."""
NOW = datetime(2026, 1, 5, 7, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database("ledger_schema")


def opened(url: str) -> None:
    with closing(SqlLedger(url)) as ledger:
        ledger.releases()


def written(url: str, script: str) -> None:
    """Run SQL on a database."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in script.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    engine.dispose()


def old(url: str) -> str:
    """Make the ledger of the edgefleet before revisions, in either dialect."""
    kinds = {"DATETIME": "TIMESTAMP WITH TIME ZONE", "BLOB": "BYTEA", "X'": "'\\x"}
    script = OLD
    if url.startswith("postgresql"):
        script = script.replace("line INTEGER", "line SERIAL")
        for theirs, ours in kinds.items():
            script = script.replace(theirs, ours)
    written(url, script)
    return url


def differences(url: str) -> str:
    """Return the body of the revision that is missing, empty: none is."""
    engine = create_engine(url)
    with engine.connect() as connection:
        options = {"include_object": lambda _0, name, *_1: name != "alembic_version"}
        context = MigrationContext.configure(connection, opts={"compare_type": True, **options})
        found = compare_metadata(context, metadata)
        missing = produce_migrations(context, metadata).upgrade_ops
        assert missing is not None
        body = render_python_code(missing) if found else ""
    engine.dispose()
    return body


def test_whoever_adds_a_table_writes_a_revision(empty: str) -> None:
    opened(empty)
    assert differences(empty) == ""


def test_an_old_ledger_gets_the_same_tables(empty: str) -> None:
    opened(old(empty))
    assert differences(empty) == ""


def test_a_missing_column_would_be_seen(empty: str) -> None:
    opened(empty)
    written(empty, "ALTER TABLE buckets DROP COLUMN tokens")
    assert "op.add_column('buckets'" in differences(empty)


def test_the_newest_revision_is_the_one_that_the_code_names() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_a_release_of_an_old_ledger_is_read_and_goes_on(empty: str) -> None:
    with closing(SqlLedger(old(empty))) as ledger:
        found = ledger.release("defects-1")
        assert (found.phase, found.model, found.version) == (Phase.PLANNED, "defect-net", "7")
        assert found.admitted_at == datetime(2026, 1, 5, 6, tzinfo=UTC)
        assert ledger.get("defects-1", "plan", 0) == b"\x00a plan"
        assert [line.phase for line in ledger.journal("defects-1")] == ["qualifying", "planned"]
        epoch = ledger.acquire("defects", "me", NOW, 10)
        assert epoch == 4
        moved = ledger.move("defects-1", Phase.PLANNED, Signal.DONE, "on", epoch, NOW)
    assert moved.phase is Phase.AWAITING
    assert differences(empty) == ""


def test_an_edgefleet_before_revisions_reads_another_number_than_its_own(empty: str) -> None:
    opened(empty)
    engine = create_engine(empty)
    with engine.connect() as connection:
        number = connection.execute(text("SELECT version FROM schema_version")).scalar_one()
    engine.dispose()
    assert number == 2


@pytest.mark.parametrize(
    ("before", "change", "words"),
    [
        (opened, "UPDATE alembic_version SET version_num = '9999'", r"revision 9999, .* knows \d+"),
        (old, "UPDATE schema_version SET version = 99", "version 99, unknown here"),
    ],
)
def test_a_ledger_of_a_newer_edgefleet_is_refused_and_left_alone(
    empty: str, before: object, change: str, words: str
) -> None:
    assert callable(before)
    before(empty)
    written(empty, change)
    for _ in range(2):
        with pytest.raises(Refused, match=words):
            opened(empty)


def test_a_migration_that_fails_halfway_leaves_the_old_ledger(tmp_path: Path) -> None:
    old(f"sqlite:///{tmp_path}/ledger.db")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute(
            "CREATE TRIGGER stop BEFORE UPDATE ON schema_version "
            "BEGIN SELECT RAISE(ABORT, 'stopped'); END"
        )
        connection.commit()
        with pytest.raises(Exception, match="stopped"):
            opened(f"sqlite:///{tmp_path}/ledger.db")
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
        assert ("alembic_version",) not in tables
        connection.execute("DROP TRIGGER stop")
        connection.commit()
    opened(f"sqlite:///{tmp_path}/ledger.db")


def test_a_server_that_is_not_there_is_named_without_its_password(postgres: Postgres) -> None:
    url = postgres.database("away").replace(f":{postgres.port}/", ":1/")
    with pytest.raises(Unreachable, match=r"edgefleet:\*\*\*@127.0.0.1:1/away: .*retry") as told:
        opened(url)
    assert PASSWORD not in str(told.value)
    with pytest.raises(Refused, match="not a database's URL") as refused:
        SqlLedger("postgres at noon, password planted")
    assert "planted" not in str(refused.value)
