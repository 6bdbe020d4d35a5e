"""The few calls of Airflow's public REST API that the demo and the tests need."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

ENDED = ("success", "failed")


class AirflowApi:
    """Airflow as one of its users. Every method raises `httpx.HTTPError` when Airflow does not answer."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._credentials = {"username": user, "password": password}
        # Airflow parses nothing of ours here: the first call after a start takes seconds.
        self._http = httpx.Client(base_url=url, timeout=60)

    @classmethod
    def of(cls, info: Mapping[str, Any], user: str) -> AirflowApi:
        """Log a user in to the Airflow of a local grid."""
        passwords = json.loads(Path(info["airflow"]["passwords_file"]).read_text())
        api = cls(info["airflow"]["url"], user, passwords[user])
        api.log_in()
        return api

    def log_in(self) -> None:
        answer = self._http.post("/auth/token", json=self._credentials)
        answer.raise_for_status()
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

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
