"""Revisions count from now on; an edgefleet from before them is told so by the number it reads."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Raise the number.

    The table stays: an older edgefleet would make it anew, and take the ledger for one of its own.
    """
    op.execute("UPDATE schema_version SET version = 2")
