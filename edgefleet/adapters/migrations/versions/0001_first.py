"""The tables as they were before there were revisions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them in an empty database."""
    moment = sa.DateTime(timezone=True)
    op.create_table("schema_version", sa.Column("version", sa.Integer, primary_key=True))
    op.execute("INSERT INTO schema_version (version) VALUES (1)")
    op.create_table(
        "workloads",
        sa.Column("workload", sa.String(63), primary_key=True),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("holder", sa.String(255), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("expires_at", moment, nullable=True),
    )
    op.create_table(
        "releases",
        sa.Column("release_id", sa.String(80), primary_key=True),
        sa.Column("workload", sa.String(63), nullable=False),
        sa.Column("fleet", sa.String(255), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("version", sa.String(255), nullable=False),
        sa.Column("attempt", sa.String(255), nullable=False),
        sa.Column("phase", sa.String(32), nullable=False),
        sa.Column("admitted_at", moment, nullable=False),
        sa.Column("changed_at", moment, nullable=False),
        sa.Column("asked_by", sa.String(255), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("abort_asked", sa.Text, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.UniqueConstraint(
            "workload", "model", "version", "attempt", name="one_release_per_attempt"
        ),
        sa.UniqueConstraint("workload", "generation", name="one_release_per_generation"),
    )
    op.create_table(
        "journal",
        sa.Column("line", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("release_id", sa.String(80), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("phase", sa.String(32), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index("ix_journal_release_id", "journal", ["release_id"])
    op.create_table(
        "documents",
        sa.Column("release_id", sa.String(80), primary_key=True),
        sa.Column("kind", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "buckets",
        sa.Column("factory", sa.String(255), primary_key=True),
        sa.Column("tokens", sa.Float, nullable=False),
        sa.Column("at", moment, nullable=False),
    )
