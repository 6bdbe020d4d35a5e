"""Several clients of one user who deal with the same job at the same time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from localgrid.airflow_api import ENDED
from tests.e2e.conftest import Runs
from tests.e2e.uws import QUIET, Uws, number

CLIENTS, TIMES = 8, 6


@pytest.fixture(scope="module")
def uws(alice: Runs) -> Uws:
    return Uws(alice.api)


def runs_of(uws: Uws, path: str) -> list[dict[str, Any]]:
    """List the runs that were started for a job."""
    pattern = {"run_id_pattern": f"uws-{number(path)}-%"}
    return list(uws.api.get(f"/dags/{QUIET}/dagRuns", **pattern)["dag_runs"])


def at_once(*calls: Callable[[], httpx.Response]) -> list[int]:
    """Make calls at the same time, and give their statuses."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [one.result().status_code for one in [pool.submit(call) for call in calls]]


def test_all_who_start_a_job_start_one_run(uws: Uws) -> None:
    path = uws.make(n_jobs=1)

    def start() -> httpx.Response:
        return uws.http.post(f"{path}/phase", data={"PHASE": "RUN"})

    assert at_once(*[start] * CLIENTS) == [303] * CLIENTS
    (run,) = runs_of(uws, path)
    assert run["dag_run_id"] == uws.run_id(path)
    assert uws.post(f"{path}/phase", PHASE="ABORT") == path


def test_tabs_that_set_different_fields_all_set_them(uws: Uws) -> None:
    fields = {"message": "hello, all of you", "n_jobs": "3", "facility": "lapalma", "memory_mb": "300"}
    for _ in range(TIMES):
        path = uws.make(message="nobody yet")

        def post(name: str, path: str = path) -> httpx.Response:
            return uws.http.post(f"{path}/parameters", data={name: fields[name]})

        assert at_once(*[partial(post, name) for name in fields]) == [303] * len(fields)
        assert fields.items() <= uws.parameters(path).items()
        assert uws.phase(path) == "PENDING"


@pytest.mark.parametrize("end", ["ABORT", "DELETE"])
def test_no_run_goes_on_whose_job_was_ended_while_it_started(uws: Uws, wait_for: Any, end: str) -> None:
    for _ in range(TIMES):
        path = uws.make(n_jobs=1)

        def start(path: str = path) -> httpx.Response:
            return uws.http.post(f"{path}/phase", data={"PHASE": "RUN"})

        def stop(path: str = path) -> httpx.Response:
            if end == "DELETE":
                return uws.http.delete(path)
            return uws.http.post(f"{path}/phase", data={"PHASE": end})

        started, stopped = at_once(start, stop)
        assert started in ({303, 409} if end == "ABORT" else {303, 404, 409})
        assert stopped == 303
        wait_for(lambda path=path: all(run["state"] in ENDED for run in runs_of(uws, path)))
        assert {run["state"] for run in runs_of(uws, path)} <= {"failed"}
        if end == "ABORT":
            assert uws.phase(path) == "ABORTED"
        else:
            uws.refused("GET", path, 404)
