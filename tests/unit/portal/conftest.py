"""Users, and a database in memory, for what is not PostgreSQL's alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.tasklog import LogTemplate
from airflow.models.variable import Variable
from airflow.models.xcom import XComModel
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from access.users import EsapUser
from esap_batch.identity import load_identities
from esap_batch.jobs import Load
from hooks.settings import config_dir
from portal.core import jobs, standing
from store.tables import Table

GROUPS = {
    "alice": ["ctao/users"], "bob": ["ctao/users"], "carol": ["esap/admins"], "dave": ["km3net/users"],
}  # fmt: skip


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    import_all_models()
    tables = [model.__table__ for model in (DagRun, LogTemplate, TaskInstance, Variable, XComModel)]
    Base.metadata.create_all(engine, tables=tables)
    Table.metadata.create_all(engine)

    @contextmanager
    def create_session() -> Iterator[Session]:
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    monkeypatch.setattr("airflow.utils.session.create_session", create_session)
    monkeypatch.setattr(jobs, "adopt_runs", lambda *_: None)  # is PostgreSQL's; see tests/e2e
    monkeypatch.setattr(standing, "load_of_facilities", lambda _session: {"lapalma": Load(running=7)})
    yield engine
    engine.dispose()


def user(name: str) -> EsapUser:
    identities = load_identities(config_dir() / "identity.yaml")
    return EsapUser(name, identities.identity_from_groups(name, GROUPS[name]))
