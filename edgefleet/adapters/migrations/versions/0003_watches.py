"""From which version on a model's registrations become releases by themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table; a workload without a row is watched from now on."""
    op.create_table(
        "watches",
        sa.Column("workload", sa.String(63), primary_key=True),
        sa.Column("model", sa.String(255), primary_key=True),
        sa.Column("trigger", sa.String(16), primary_key=True),
        sa.Column("past", sa.Integer, nullable=False),
    )
