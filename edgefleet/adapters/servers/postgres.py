"""A PostgreSQL server that stands in for the embedded SQLite files: a database for each program.

It is the user's own: edgefleet starts no PostgreSQL. A password may stand in its URL; better it is
where PostgreSQL's own clients look for it (PGPASSWORD, ~/.pgpass), since all three programs look
there too. What is remembered in a home holds none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from edgefleet.errors import Refused, Unreachable

_DATABASES: Final = ("edgefleet_ledger", "edgefleet_mlflow", "edgefleet_prefect")
_FILE: Final = "postgres-url"
_EXAMPLE: Final = "Write it as postgresql://user@host:5432"


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A server, and who logs in there."""

    url: URL
    """Its database is the one to log in at for making others; none: `postgres`."""

    @classmethod
    def parse(cls, written: str) -> Self:
        """Return the server of a URL.

        Raises:
            Refused: it is none of a PostgreSQL server; the text, which may hold a password, is not
                repeated.
        """
        try:
            url = make_url(written)
        except ArgumentError as error:
            raise Refused("PostgreSQL's URL", "cannot be read", _EXAMPLE) from error
        if url.get_backend_name() not in {"postgresql", "postgres"} or not url.host:
            problem = f"is for {url.get_backend_name()} on {url.host or 'no host'}"
            raise Refused("PostgreSQL's URL", problem, _EXAMPLE)
        if url.query:
            problem = (
                f"has parameters ({', '.join(sorted(url.query))}), and each driver has its own"
            )
            raise Refused("PostgreSQL's URL", problem, "Set PGSSLMODE and its like, which all read")
        return cls(url)

    @classmethod
    def remembered(cls, home: Path) -> Self | None:
        """Return the server on which this home was brought up, None: on none."""
        file = home / _FILE
        return cls.parse(file.read_text(encoding="utf-8").strip()) if file.exists() else None

    def remember(self, home: Path) -> None:
        """Let later commands in this home find it; they find the password as they did before."""
        plain = URL.create("postgresql", self.url.username, None, self.url.host, self.url.port)
        file = home / _FILE
        draft = file.with_suffix(".draft")
        draft.write_text(f"{plain.render_as_string()}\n", encoding="utf-8")
        draft.replace(file)

    @property
    def ledger(self) -> str:
        """The SQLAlchemy URL of the ledger's database, with the password if there is one."""
        return self._database("edgefleet_ledger", "psycopg")

    @property
    def mlflow(self) -> str:
        """As `ledger`, of MLflow's database."""
        return self._database("edgefleet_mlflow", "psycopg")

    @property
    def prefect(self) -> str:
        """As `ledger`, of Prefect's database."""
        return self._database("edgefleet_prefect", "asyncpg")

    def make_databases(self) -> None:
        """Make those of the three that are missing.

        Raises:
            Unreachable: the server does not answer, or does not let this user in or make them.
        """
        login = self.url.set(
            drivername="postgresql+psycopg", database=self.url.database or "postgres"
        )
        engine = create_engine(
            login,
            isolation_level="AUTOCOMMIT",
            poolclass=NullPool,
            connect_args={"connect_timeout": 10},
        )
        try:
            with engine.connect() as connection:
                found = set(connection.execute(text("SELECT datname FROM pg_database")).scalars())
                for name in sorted(set(_DATABASES) - found):
                    # From template0, for another encoding than the server's own.
                    words = f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"
                    connection.exec_driver_sql(words)
        except IntegrityError:
            self.make_databases()  # somebody else made one in the same moment
        except DBAPIError as error:
            said = " ".join(str(error.orig).split())
            message = (
                f"PostgreSQL at {self.url.host}: {said}; {self.url.username or 'the user'} must be "
                "able to log in and to create databases (docs/postgres.md)"
            )
            raise Unreachable(message) from error

    def _database(self, name: str, driver: str) -> str:
        chosen = self.url.set(drivername=f"postgresql+{driver}", database=name)
        return chosen.render_as_string(hide_password=False)
