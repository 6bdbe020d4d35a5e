"""Reports to DiracX: bundled, in order, and one bad job does not stop the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from localgrid.programs.site.access import RefusedError, Who
from localgrid.programs.site.reporter import Reporter, Step

PILOT = Who("ctao", "pilot", "ctao_pilot")


class FakeAccess:
    """DiracX's answer to status changes; job 13 does not exist."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, dict[str, Any]]] = []

    async def call(self, who: Who, what: Callable[[Any], Awaitable[Any]]) -> Any:
        async def set_job_statuses(body: dict[str, dict[str, Any]]) -> dict[str, Any]:
            self.bodies.append(body)
            await asyncio.sleep(0)
            if "13" in body:
                raise RefusedError("no job 13")
            last = {job: list(steps.values())[-1]["Status"] for job, steps in body.items()}
            return {"success": {job: {"status": status} for job, status in last.items()}}

        assert who == PILOT
        return await what(SimpleNamespace(jobs=SimpleNamespace(set_job_statuses=set_job_statuses)))


def run(*reports: tuple[int, Step]) -> tuple[FakeAccess, list[Any]]:
    async def main() -> list[Any]:
        reporter = Reporter(access, PILOT)  # type: ignore[arg-type]
        sending = asyncio.create_task(reporter.run())
        work = [reporter.report(job, step) for job, step in reports]
        answers = await asyncio.gather(*work, return_exceptions=True)
        sending.cancel()
        return list(answers)

    access = FakeAccess()
    return access, asyncio.run(main())


def test_reports_of_many_jobs_go_out_in_one_call() -> None:
    access, answers = run(*((job, Step("Running", "Application")) for job in range(100, 150)))
    assert answers == ["Running"] * 50
    assert len(access.bodies) == 1


def test_steps_of_a_job_keep_their_order() -> None:
    access, _ = run((1, Step("Checking", "")), (1, Step("Waiting", "")), (1, Step("Matched", "")))
    (body,) = access.bodies
    assert [body["1"][t]["Status"] for t in sorted(body["1"])] == ["Checking", "Waiting", "Matched"]


def test_a_missing_job_fails_alone() -> None:
    access, answers = run((12, Step("Done", "")), (13, Step("Done", "")), (14, Step("Done", "")))
    assert answers[0] == answers[2] == "Done"
    assert isinstance(answers[1], RefusedError)
    assert len(access.bodies) == 4


@pytest.mark.parametrize("application", ["", "exit 3"])
def test_body_of_a_step(application: str) -> None:
    body = Step("Failed", "why", application).body()
    assert body.get("ApplicationStatus", "") == application
    assert (body["Status"], body["MinorStatus"]) == ("Failed", "why")
