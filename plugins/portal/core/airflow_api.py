"""Airflow's public REST API, called in the process itself with the caller's own credentials.

Authorisation, validation and the audit log are Airflow's. Nothing goes over a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx

from portal.core.refusals import BadRequest, Conflict, Forbidden, NotFound, Refusal, TooMany, Unavailable

if TYPE_CHECKING:
    from starlette.requests import Request

PASSED_ON = ("authorization", "cookie", "origin", "sec-fetch-site")
_REFUSALS: dict[int, type[Refusal]] = {403: Forbidden, 404: NotFound, 409: Conflict}


class AirflowApi:
    """Airflow as the caller of a request sees it."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = dict(headers)

    @classmethod
    def of(cls, request: Request) -> AirflowApi:
        """Act with the credentials that came with a request."""
        return cls({name: request.headers[name] for name in PASSED_ON if name in request.headers})

    @classmethod
    def as_service(cls) -> AirflowApi:
        """Act as this service, for what no user has asked for: destruction, limits of time."""
        from access.users import service_token

        return cls({"authorization": f"Bearer {service_token()}"})

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Make a call; Refusal when Airflow refuses, with what it says."""
        from airflow.api_fastapi.main import app

        from access.callers import nested

        transport = httpx.ASGITransport(app=nested(app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
            answer = await client.request(method, f"/api/v2{path}", headers=self.headers, **options)
        if answer.is_success:
            return answer
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unavailable(f"Airflow answers {answer.status_code}: try again")
        if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise TooMany(_detail(answer), answer.headers["retry-after"])
        raise _REFUSALS.get(answer.status_code, BadRequest)(_detail(answer))

    async def get(self, path: str, **params: Any) -> Any:
        return (await self.call("GET", path, params=params)).json()

    async def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any], note: str = "") -> None:
        """Start a run; Conflict when there is one of this name."""
        body = {"logical_date": None, "dag_run_id": run_id, "conf": dict(conf), "note": note or None}
        await self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)

    async def fail_run(self, dag_id: str, run_id: str, why: str) -> None:
        """End a run: its waiting tasks cancel their jobs, its last tasks clean up."""
        body = {"state": "failed", "note": why}
        await self.call("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", json=body)

    async def delete_run(self, dag_id: str, run_id: str) -> None:
        await self.call("DELETE", f"/dags/{dag_id}/dagRuns/{run_id}")

    async def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """List the task instances of a run in the order in which they began."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        found = await self.get(path, limit=100, order_by="start_date")
        return list(found["task_instances"])


def _detail(answer: httpx.Response) -> str:
    try:
        told = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"Airflow answers {answer.status_code}"
    return told if isinstance(told, str) else str(told)
