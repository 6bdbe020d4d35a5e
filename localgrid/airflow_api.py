"""The few calls of Airflow's public REST API that the demo and the tests need."""

from __future__ import annotations

import ssl
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import httpx

from localgrid.signin import sign_in

ENDED = ("success", "failed")
SPARE_S = 30  # a token is renewed so long before it expires


class _Bearer(httpx.Auth):
    """Sends an access token, a new one when the old one is about to expire."""

    def __init__(self, get_tokens: Callable[[], Mapping[str, Any]]) -> None:
        self._get_tokens = get_tokens
        self._lock = threading.Lock()
        self._token, self._expires = "", 0.0

    def token(self) -> str:
        with self._lock:
            if time.monotonic() > self._expires - SPARE_S:
                tokens = self._get_tokens()
                lasts = tokens["expires_in"]
                self._token = str(tokens["access_token"])
                self._expires = time.monotonic() + max(lasts, SPARE_S + lasts / 2)
        return self._token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"Bearer {self.token()}"
        yield request


class AirflowApi:
    """Airflow as one of its users. Every method raises `httpx.HTTPError` when Airflow does not answer."""

    def __init__(
        self, url: str, get_tokens: Callable[[], Mapping[str, Any]], verify: ssl.SSLContext | bool = True
    ) -> None:
        """Make the client.

        :param get_tokens: gives a new answer of the issuer's token endpoint.
        :param verify: whom to trust where the address is one of HTTPS.
        """
        self.url = url
        self._bearer = _Bearer(get_tokens)
        # The first call after a start takes seconds.
        self._http = httpx.Client(base_url=url, timeout=60, auth=self._bearer, verify=verify)

    @classmethod
    def of(cls, info: Mapping[str, Any], user: str) -> AirflowApi:
        """Sign a user in at the issuer of a local grid; signs in again when the token expires."""
        api = cls(info["airflow"]["url"], lambda: sign_in(info, user))
        _ = api.token
        return api

    @property
    def token(self) -> str:
        """The user's access token, good for at least some seconds."""
        return self._bearer.token()

    @property
    def auth(self) -> httpx.Auth:
        """What sends the user's token with the requests of any client."""
        return self._bearer

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Make a call as it is; the caller looks at the status."""
        return self._http.request(method, f"/api/v2{path}", **options)

    def get(self, path: str, **params: Any) -> Any:
        answer = self.call("GET", path, params=params)
        answer.raise_for_status()
        return answer.json()

    def trigger(self, dag_id: str, conf: Mapping[str, Any], run_id: str | None = None) -> httpx.Response:
        """Ask for a run; 200 with `dag_run_id`, 400 with what is wrong with the conf."""
        body = {"logical_date": None, "dag_run_id": run_id or f"run-{uuid.uuid4().hex[:12]}", "conf": conf}
        return self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        return dict(self.get(f"/dags/{dag_id}/dagRuns/{run_id}"))

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Give the task instances of a run by task id."""
        found = self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=100)
        return {t["task_id"]: t for t in found["task_instances"]}

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Give what a task has left, None when it has left nothing."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        answer = self.call("GET", path, params={"deserialize": "true"})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        answer.raise_for_status()
        return answer.json()["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> list[str]:
        """Give the messages of a task's log, those of the triggerer included."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        return [line for entry in self.get(path).get("content", []) for line in _messages(entry)]

    def set_state(self, dag_id: str, run_id: str, state: str) -> None:
        """End a run by hand, as the UI's button does."""
        answer = self.call("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", json={"state": state})
        answer.raise_for_status()

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """End a task by hand."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self.call("PATCH", path, json={"new_state": state}).raise_for_status()

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear a task and what follows it."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [task_id],
            "include_downstream": True,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self.call("POST", f"/dags/{dag_id}/clearTaskInstances", json=body).raise_for_status()


def _messages(entry: Any) -> Iterator[str]:
    """Give the message of a line of a log, and those of the exceptions that go with it."""
    if not isinstance(entry, dict):
        yield str(entry)
        return
    yield str(entry.get("event", ""))
    for error in entry.get("error_detail") or ():
        yield f"{error.get('exc_type')}: {error.get('exc_value')}"


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Give the tasks whose state is another one."""
    return ((task, state) for task, state in now.items() if before.get(task) != state)
