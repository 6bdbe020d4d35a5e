"""Tables of the portal: users, jobs, steering files, credentials, consents."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "esap_consent",
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=250), nullable=False),
        sa.Column("system", sa.String(length=250), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("state", name=op.f("pk_esap_consent")),
    )
    op.create_table(
        "esap_credential",
        sa.Column("owner", sa.String(length=250), nullable=False),
        sa.Column("system", sa.String(length=250), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lost_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lost_why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("owner", "system", name=op.f("pk_esap_credential")),
    )
    op.create_table(
        "esap_job",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("owner", sa.String(length=250), nullable=False),
        sa.Column("workflow", sa.String(length=250), nullable=False),
        sa.Column("run_label", sa.String(length=250), nullable=True),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.Column("dag_id", sa.String(length=250), nullable=False),
        sa.Column("dag_run_id", sa.String(length=250), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("aborted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("destruction", sa.DateTime(timezone=True), nullable=False),
        sa.Column("execution_duration", sa.Integer(), nullable=False),
        sa.Column("quote", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("token_hash", sa.String(length=64), nullable=True),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_esap_job")),
        sa.UniqueConstraint("dag_id", "dag_run_id", name="uq_esap_job_run"),
    )
    op.create_index(op.f("ix_esap_job_destruction"), "esap_job", ["destruction"], unique=False)
    op.create_index(op.f("ix_esap_job_fingerprint"), "esap_job", ["fingerprint"], unique=False)
    op.create_index("ix_esap_job_owner_created", "esap_job", ["owner", "created_at"], unique=False)
    op.create_table(
        "esap_steering",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("owner", sa.String(length=250), nullable=False),
        sa.Column("workflow", sa.String(length=250), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_esap_steering")),
    )
    op.create_index(op.f("ix_esap_steering_fingerprint"), "esap_steering", ["fingerprint"], unique=False)
    op.create_index(op.f("ix_esap_steering_owner"), "esap_steering", ["owner"], unique=False)
    op.create_table(
        "esap_user",
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_esap_user")),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("esap_user")
    op.drop_index(op.f("ix_esap_steering_owner"), table_name="esap_steering")
    op.drop_index(op.f("ix_esap_steering_fingerprint"), table_name="esap_steering")
    op.drop_table("esap_steering")
    op.drop_index("ix_esap_job_owner_created", table_name="esap_job")
    op.drop_index(op.f("ix_esap_job_fingerprint"), table_name="esap_job")
    op.drop_index(op.f("ix_esap_job_destruction"), table_name="esap_job")
    op.drop_table("esap_job")
    op.drop_table("esap_credential")
    op.drop_table("esap_consent")
