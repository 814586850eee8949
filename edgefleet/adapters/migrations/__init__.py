"""Brings a ledger's tables up to date, by the revisions in `versions/`, in one transaction.

A ledger from before there were revisions is taken as one of the first revision. There is no way
back: an older edgefleet refuses a newer ledger.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from edgefleet.errors import Refused

HEAD: Final = "0004"
"""The newest revision, so that a database that has it costs one query and no import of alembic."""
FIRST: Final = "0001"
_REMEDY: Final = "Run the edgefleet that wrote it, or a newer one"


def migrate(connection: Connection, name: str) -> None:
    """Make every table or column that is missing, within the open transaction that writes.

    Raises:
        Refused: `name`, as messages call the database, was made by a newer edgefleet.
    """
    found = inspect(connection).get_table_names()
    revision = ""
    if "alembic_version" in found:
        query = text("SELECT version_num FROM alembic_version")
        revision = str(connection.execute(query).scalar_one())
    elif "schema_version" in found:
        number = connection.execute(text("SELECT version FROM schema_version")).scalar_one()
        if number != 1:
            raise Refused(name, f"its schema has version {number}, unknown here", _REMEDY)
        revision = FIRST
    if revision != HEAD:
        _upgrade(connection, name, revision)


def _upgrade(connection: Connection, name: str, revision: str) -> None:
    from alembic import command  # noqa: PLC0415 - a tenth of a second, and seldom needed
    from alembic.config import Config  # noqa: PLC0415 - as above
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - as above

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    known = [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()]
    if revision and revision not in known:
        problem = f"its schema has revision {revision}, this edgefleet knows {HEAD}"
        raise Refused(name, problem, _REMEDY)
    if revision == FIRST and "alembic_version" not in inspect(connection).get_table_names():
        command.stamp(config, FIRST)
    command.upgrade(config, "head")
