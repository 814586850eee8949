"""Nodes that keep the package of an earlier release."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table; a node without a row follows the champion."""
    op.create_table(
        "pins",
        sa.Column("workload", sa.String(63), primary_key=True),
        sa.Column("node", sa.String(255), primary_key=True),
        sa.Column("release_id", sa.String(80), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("asked_by", sa.String(255), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
