"""ESAP's app on a database in memory, with an Airflow that only notes what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.utils.state import DagRunState
from fastapi import FastAPI
from sqlalchemy import update
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.testclient import TestClient

from access import users
from access.refusals import not_authenticated
from access.users import EsapUser
from portal.core.airflow_api import AirflowApi
from portal.esap import callers
from portal.esap.app import create_app
from store.sessions import now
from store.tables import Job
from tests.unit.portal.conftest import user


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
