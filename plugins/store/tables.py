"""What the portal keeps beside Airflow's own tables: only what neither Airflow nor the lake knows.

Times are in UTC with zone. Tables lie in Airflow's database and are made by `airflow db migrate`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.utils.sqlalchemy import UtcDateTime
from sqlalchemy import (
    JSON,
    BigInteger,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAME = String(250)  # as long as Airflow's own names
TIME = UtcDateTime()
Number = BigInteger().with_variant(Integer, "sqlite")
CONSTRAINTS = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Table(DeclarativeBase):
    """Base of the portal's tables."""

    metadata = MetaData(naming_convention=CONSTRAINTS)


class User(Table):
    """A user as their last token described them: tasks ask for the groups of a run's owner."""

    __tablename__ = "esap_user"

    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    issuer: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    groups: Mapped[list[str]] = mapped_column(JSON)
    seen_at: Mapped[datetime] = mapped_column(TIME)


class Job(Table):
    """A job as UWS 1.1 has it. What its run knows (state, times, tasks, results) stays in Airflow.

    `dag_run_id` is written before the run is asked for, `started_at` after Airflow has accepted it.
    `request` is the typed request. `execution_duration` is in seconds, 0 for no limit.
    """

    __tablename__ = "esap_job"
    __table_args__ = (
        UniqueConstraint("dag_id", "dag_run_id", name="uq_esap_job_run"),
        Index("ix_esap_job_owner_created", "owner", "created_at"),
    )

    id: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    owner: Mapped[str] = mapped_column(NAME)
    workflow: Mapped[str] = mapped_column(NAME)
    run_label: Mapped[str | None] = mapped_column(NAME)
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    fingerprint: Mapped[str | None] = mapped_column(String(64), index=True)
    dag_id: Mapped[str] = mapped_column(NAME)
    dag_run_id: Mapped[str | None] = mapped_column(NAME)
    created_at: Mapped[datetime] = mapped_column(TIME)
    started_at: Mapped[datetime | None] = mapped_column(TIME)
    aborted_at: Mapped[datetime | None] = mapped_column(TIME)
    archived_at: Mapped[datetime | None] = mapped_column(TIME)
    deleted_at: Mapped[datetime | None] = mapped_column(TIME)
    destruction: Mapped[datetime] = mapped_column(TIME, index=True)
    execution_duration: Mapped[int] = mapped_column(Integer, default=0)
    quote: Mapped[datetime | None] = mapped_column(TIME)
    error: Mapped[str | None] = mapped_column(Text)
    token_hash: Mapped[str | None] = mapped_column(String(64))
    notes: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class Steering(Table):
    """A steering file that a user has stored, before and apart from any run."""

    __tablename__ = "esap_steering"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner: Mapped[str] = mapped_column(NAME, index=True)
    workflow: Mapped[str] = mapped_column(NAME)
    title: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str | None] = mapped_column(String(64), index=True)
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(TIME)


class Credential(Table):
    """What a user has let the service hold for them at one system. `secret` is encrypted."""

    __tablename__ = "esap_credential"

    owner: Mapped[str] = mapped_column(NAME, primary_key=True)
    system: Mapped[str] = mapped_column(NAME, primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    subject: Mapped[str] = mapped_column(Text, default="")
    issued_at: Mapped[datetime] = mapped_column(TIME)
    expires_at: Mapped[datetime | None] = mapped_column(TIME)
    lost_at: Mapped[datetime | None] = mapped_column(TIME)
    lost_why: Mapped[str | None] = mapped_column(Text)


class Place(Table):
    """What a batch has of the places of a facility whose number is limited, and what it waits for.

    `active` jobs wait or run there, `waiting` are not submitted. `since` is when (Unix time) the batch last
    got one, or began to wait. The row without a batch is there to be locked.
    """

    __tablename__ = "esap_place"

    facility: Mapped[str] = mapped_column(NAME, primary_key=True)
    batch: Mapped[str] = mapped_column(NAME, primary_key=True)
    owner: Mapped[str] = mapped_column(NAME, default="")
    experiment: Mapped[str] = mapped_column(NAME, default="")
    active: Mapped[int] = mapped_column(Integer, default=0)
    waiting: Mapped[int] = mapped_column(Integer, default=0)
    since: Mapped[float] = mapped_column(Float)
    told_at: Mapped[datetime] = mapped_column(TIME)


class Consent(Table):
    """A consent that a user is about to give. `state` is the hash of what goes through the browser."""

    __tablename__ = "esap_consent"

    state: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(NAME)
    system: Mapped[str] = mapped_column(NAME)
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(TIME)
