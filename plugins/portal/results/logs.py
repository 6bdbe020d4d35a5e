"""Logs of a run's tasks as text, over all their tries."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from portal.core.refusals import NotFound
from portal.results.streams import opened

if TYPE_CHECKING:
    from portal.core.airflow_api import AirflowApi
    from portal.core.jobs import JobView
    from portal.results.run import Task

NDJSON = "application/x-ndjson"
BEGIN, END = "::group::", "::endgroup::"  # marks for Airflow's UI
SOURCES = f"{BEGIN}Log message source details"  # what follows are paths on the server
START = f"{BEGIN}Pre Execute"  # what Airflow does before the task


async def task_log(airflow: AirflowApi, job: JobView, task: Task) -> AsyncIterator[str]:
    """Give a task's log line by line, each try under a heading. Nothing is held but one piece of it."""
    for number in range(1, task.tries + 1):
        if task.tries > 1:
            yield f"=== try {number} of {task.tries} ===\n"
        try:
            async with aclosing(_lines(airflow, job, task.id, number, LogText())) as lines:
                async for line in lines:
                    yield line
        except NotFound:
            yield "(this log is gone)\n"


async def tail(airflow: AirflowApi, job: JobView, task: Task, count: int) -> list[str]:
    """Give the last lines of a task's log."""
    last: deque[str] = deque(maxlen=count)
    text = LogText((SOURCES, START))
    async with aclosing(_lines(airflow, job, task.id, max(task.tries, 1), text)) as lines:
        async for line in lines:
            last.append(line.rstrip("\n"))
    return list(last)


async def _lines(
    airflow: AirflowApi, job: JobView, task: str, number: int, text: LogText
) -> AsyncGenerator[str]:
    async with aclosing(entries(airflow, job, task, number)) as found:
        async for entry in found:
            for line in text.lines(entry):
                yield line


async def entries(airflow: AirflowApi, job: JobView, task: str, number: int) -> AsyncGenerator[bytes]:
    """Give the entries of the log of one try, as JSON; NotFound when there is none."""
    from airflow.api_fastapi.main import app

    from access.callers import nested

    names = (quote(str(name), safe="") for name in (job.dag_id, job.dag_run_id, task))
    path = "/api/v2/dags/{}/dagRuns/{}/taskInstances/{}/logs/{}".format(*names, number)
    headers = {**airflow.headers, "accept": NDJSON, "accept-encoding": "identity"}
    rest = b""
    async with opened(nested(app), path, headers) as pieces:
        async for piece in pieces:
            *whole, rest = (rest + piece).split(b"\n")
            for entry in whole:
                yield entry
    if rest:
        yield rest


class LogText:
    """Writes the entries of a structured log as text, without Airflow's marks and the groups `left_out`."""

    def __init__(self, left_out: tuple[str, ...] = (SOURCES,)) -> None:
        self.left_out = left_out
        self._is_left_out = False

    def lines(self, raw: bytes) -> Iterator[str]:
        """Write one entry."""
        if not raw.strip():
            return
        try:
            entry = json.loads(raw)
        except ValueError:
            entry = {"event": raw.decode(errors="replace")}
        entry = entry if isinstance(entry, Mapping) else {"event": entry}
        event = str(entry.get("event", ""))
        if event.startswith((BEGIN, END)):
            self._is_left_out = event in self.left_out
        elif not self._is_left_out:
            yield from _written(entry, event)


def _written(entry: Mapping[str, Any], event: str) -> Iterator[str]:
    when = str(entry.get("timestamp") or "")[:19]
    level = str(entry.get("level") or "").upper()
    yield " ".join(part for part in (when, level, event) if part) + "\n"
    for error in entry.get("error_detail") or ():
        yield from _exception(error)


def _exception(error: Mapping[str, Any]) -> Iterator[str]:
    for frame in error.get("frames") or ():
        yield f"    {frame.get('filename')}:{frame.get('lineno')} in {frame.get('name')}\n"
    yield f"    {error.get('exc_type')}: {error.get('exc_value')}\n"
