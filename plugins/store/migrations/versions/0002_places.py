"""The places of facilities whose number is limited."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "esap_place",
        sa.Column("facility", sa.String(length=250), nullable=False),
        sa.Column("batch", sa.String(length=250), nullable=False),
        sa.Column("owner", sa.String(length=250), nullable=False),
        sa.Column("experiment", sa.String(length=250), nullable=False),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("facility", "batch", name=op.f("pk_esap_place")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("esap_place")
