"""ESAP's app on a database in memory, with an Airflow that only notes what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from airflow.utils.state import DagRunState
from fastapi import FastAPI
from sqlalchemy import create_engine, update
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool
from starlette.requests import Request
from starlette.testclient import TestClient

from access import users
from access.refusals import not_authenticated
from access.users import EsapUser
from esap_batch.identity import load_identities
from esap_batch.jobs import Load
from hooks.settings import config_dir
from portal.core import jobs, standing
from portal.core.airflow_api import AirflowApi
from portal.esap import callers
from portal.esap.app import create_app
from store.sessions import now
from store.tables import Job, Table

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


@pytest.fixture
def triggered(database: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Mapping[str, Any]]]:
    noted: list[tuple[str, str, Mapping[str, Any]]] = []

    async def trigger(_api: AirflowApi, dag: str, run: str, conf: Mapping[str, Any], note: str = "") -> None:
        noted.append((dag, run, conf))
        with Session(database) as session, session.begin():
            session.add(
                DagRun(dag_id=dag, run_id=run, run_type="manual", state=DagRunState.QUEUED, run_after=now())
            )

    monkeypatch.setattr(AirflowApi, "trigger", trigger)
    return noted


def user(name: str) -> EsapUser:
    identities = load_identities(config_dir() / "identity.yaml")
    return EsapUser(name, identities.identity_from_groups(name, GROUPS[name]))


async def current_user(request: Request) -> EsapUser:
    """Believe who a caller says they are."""
    scheme, _, name = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer":
        raise not_authenticated()
    return user(name)


@pytest.fixture(scope="package")
def server() -> FastAPI:
    app = create_app()
    app.dependency_overrides[users.current_user] = current_user
    server = FastAPI()
    server.mount("/esap-api", app)
    return server


@pytest.fixture
def esap(
    server: FastAPI, database: Any, triggered: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], TestClient]:
    """Give a client of the app as a user."""
    monkeypatch.setattr(callers, "current_user", current_user)

    def client(name: str = "", scheme: str = "Bearer") -> TestClient:
        headers = {"Authorization": f"{scheme} {name}"} if name else {}
        return TestClient(server, "http://esap.test/esap-api/", headers=headers, follow_redirects=False)

    return client


@pytest.fixture
def alice(esap: Callable[[str], TestClient]) -> TestClient:
    return esap("alice")


@pytest.fixture
def bob(esap: Callable[[str], TestClient]) -> TestClient:
    return esap("bob")


@pytest.fixture
def change(database: Any) -> Callable[..., None]:
    """Change a job's row behind the app's back."""

    def write(number: int, **values: Any) -> None:
        with Session(database) as session, session.begin():
            session.execute(update(Job).where(Job.id == number).values(**values))

    return write
