"""What jobs cost to create, list, read and wait for, beside django-uws in one run: `python -m bench.portal`.

Both servers have one worker process and 1,000 jobs of the user. Ours has PostgreSQL behind it and verifies a
signed token in each request; django-uws has SQLite in the same process and believes a header. django-uws has
no WAIT: its clients ask once a second. Writes bench/results/portal.json. Needs `bootstrap.sh django-uws`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from bench.campaign import cpu_s, processes, tree
from localgrid.airflow_api import AirflowApi
from localgrid.grid import Grid
from localgrid.layout import PROJECT

JOBS, CREATED, LISTED, READ, CLIENTS = 1000, 100, 20, 200, 200
HOLD_S = 20.0  # for which the clients wait before the job changes
POLL_S = 1.0
USER = "alice"
DJANGO = PROJECT / ".envs" / "django-uws" / "bin"
RESULTS = PROJECT / "bench" / "results" / "portal.json"
FILL = """
from portal.core import jobs
from store.sessions import transaction
with transaction() as session:
    for n in range({jobs}):
        jobs.create(session, {user!r}, "hello_world", {{"behaviour": "ok", "message": str(n), "n_jobs": 3}})
"""
console = Console()


@dataclass
class Server:
    """A server under test: how to make a job, where it is, how to end it, and what waiting for it means."""

    name: str
    pid: int
    url: str
    list_path: str
    headers: dict[str, str]
    create: Callable[[httpx.AsyncClient], Awaitable[str]]
    abort: Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]
    wait: Callable[[httpx.AsyncClient, str], Coroutine[Any, Any, None]]
    result: dict[str, Any] = field(default_factory=dict)

    def cpu(self) -> float:
        """CPU seconds of the server's processes, without those of a database server."""
        return sum(map(cpu_s, tree(self.pid, processes())))

    def threads(self) -> int:
        return sum(len(list(Path(f"/proc/{p}/task").iterdir())) for p in tree(self.pid, processes()))

    async def measure(self) -> None:
        limits = httpx.Limits(max_connections=CLIENTS + 10)
        options = {"base_url": self.url, "headers": self.headers, "timeout": 120, "limits": limits}
        async with httpx.AsyncClient(**options) as client:  # type: ignore[arg-type]
            job = await self.create(client)  # the first call of a server takes longer
            await self._time("create", CREATED, lambda: self.create(client))
            await self._time("list", LISTED, lambda: self._get(client, self.list_path))
            await self._time("get", READ, lambda: self._get(client, job))
            await self._hold(client, job)

    async def _get(self, client: httpx.AsyncClient, path: str) -> None:
        (await client.get(path)).raise_for_status()

    async def _time(self, what: str, count: int, call: Callable[[], Awaitable[Any]]) -> None:
        before, took = self.cpu(), []
        for _ in range(count):
            began = time.perf_counter()
            await call()
            took.append(time.perf_counter() - began)
        self.result[what] = {
            "p50_ms": round(statistics.median(took) * 1000, 1),
            "p95_ms": round(statistics.quantiles(took, n=20)[-1] * 1000, 1),
            "cpu_ms": round((self.cpu() - before) / count * 1000, 1),
        }

    async def _hold(self, client: httpx.AsyncClient, job: str) -> None:
        """Let clients wait for a job, then end it and see when the last of them knows."""
        idle = self.threads()
        waiting = [asyncio.create_task(self.wait(client, job)) for _ in range(CLIENTS)]
        await asyncio.sleep(5)  # until all are there
        before = self.cpu()
        await asyncio.sleep(HOLD_S)
        cpu, threads = self.cpu() - before, self.threads()
        (await self.abort(client, job)).raise_for_status()
        began = time.perf_counter()
        await asyncio.gather(*waiting)
        self.result["wait"] = {
            "clients": CLIENTS,
            "cpu_percent": round(cpu / HOLD_S * 100, 1),
            "threads_more": threads - idle,
            "last_told_s": round(time.perf_counter() - began, 2),
        }


def ours(grid: Grid) -> Server:
    """The portal of a local grid, with jobs that are not started."""
    api = AirflowApi.of(grid.info, USER)
    _in_airflow(grid, FILL.format(jobs=JOBS, user=USER))

    async def create(client: httpx.AsyncClient) -> str:
        data = {"behaviour": "ok", "message": uuid.uuid4().hex, "n_jobs": "3"}
        answer = await client.post("/uws/hello_world/jobs", data=data)
        return answer.headers["location"]

    async def abort(client: httpx.AsyncClient, job: str) -> httpx.Response:
        answer = await client.post(f"{job}/phase", data={"PHASE": "ABORT"}, follow_redirects=True)
        assert "ABORTED" in answer.text
        return answer

    async def wait(client: httpx.AsyncClient, job: str) -> None:
        answer = await client.get(f"{job}/phase", params={"WAIT": 100})
        assert answer.text == "ABORTED", answer.text

    pid = next(s.pid for s in grid.status() if s.name == "airflow-api")
    assert pid is not None
    headers = {"Authorization": f"Bearer {api.token}"}
    return Server("portal", pid, api.url, "/uws/hello_world/jobs", headers, create, abort, wait)


def _in_airflow(grid: Grid, program: str) -> None:
    lines = grid.layout.airflow_environment_file.read_text().splitlines()
    settings = {k: "".join(shlex.split(v)) for k, v in (line.split("=", 1) for line in lines)}
    env = settings | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'plugins'}"}
    subprocess.run([grid.layout.program("airflow", "python"), "-c", program], env=env, check=True)


@contextmanager
def django_uws(folder: Path, port: int) -> Iterator[Server]:
    """A site with django-uws and as many jobs."""
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "bench.django_uws.settings",
        "DJANGO_DATABASE": str(folder / "uws.sqlite"),
        "PYTHONPATH": str(PROJECT),
    }
    subprocess.run([DJANGO / "python", "-m", "bench.django_uws.fill", str(JOBS)], env=env, check=True)
    command = [DJANGO / "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "1", "--threads", "8",
               "--keep-alive", "75", "--log-level", "warning",
               "django.core.wsgi:get_wsgi_application()"]  # fmt: skip
    process = subprocess.Popen(list(map(str, command)), env=env, cwd=PROJECT)
    try:
        url = f"http://127.0.0.1:{port}"
        while True:
            try:
                httpx.get(f"{url}/uws/jobs/1/", headers={"X-User": USER}).raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield _django(process.pid, url)
    finally:
        process.terminate()
        process.wait()


def _django(pid: int, url: str) -> Server:
    async def create(client: httpx.AsyncClient) -> str:
        values = {"behaviour": "ok", "message": uuid.uuid4().hex, "n_jobs": "3"}
        parameters = [{"key": k, "value": v, "byReference": False} for k, v in values.items()]
        answer = await client.post("/uws/jobs/", json={"runId": "x", "parameters": parameters})
        return str(answer.json()["url"])

    async def abort(client: httpx.AsyncClient, job: str) -> httpx.Response:
        answer = await client.post(f"{job}phase/", json={"PHASE": "ABORT"})
        assert answer.json()["phase"] == "ABORTED"
        return await client.get(job)

    async def wait(client: httpx.AsyncClient, job: str) -> None:
        while (await client.get(job)).json()["phase"] != "ABORTED":
            await asyncio.sleep(POLL_S)

    return Server("django-uws", pid, url, "/uws/jobs/", {"X-User": USER}, create, abort, wait)


def show(servers: list[Server]) -> None:
    """Print the results side by side."""
    table = Table("", *(s.name for s in servers))
    for what in ("create", "list", "get"):
        cells = [f"{r['p50_ms']} ms, CPU {r['cpu_ms']} ms" for r in (s.result[what] for s in servers)]
        table.add_row(f"{what}, {JOBS} jobs there", *cells)
    held = [s.result["wait"] for s in servers]
    cells = [f"CPU {w['cpu_percent']} %, {w['threads_more']} threads more" for w in held]
    table.add_row(f"{CLIENTS} clients wait", *cells)
    table.add_row("the last of them is told after", *(f"{w['last_told_s']} s" for w in held))
    console.print(table)


def main(
    home: Annotated[Path, typer.Option(help="state of the grid, removed at the end")] = PROJECT
    / ".localgrid-bench",
    port: Annotated[int, typer.Option(help="of django-uws")] = 18_099,
) -> None:
    """Measure both, one after the other."""
    with tempfile.TemporaryDirectory() as folder, django_uws(Path(folder), port) as other:
        asyncio.run(other.measure())
    grid = Grid(home)
    grid.up()
    try:
        portal = ours(grid)
        asyncio.run(portal.measure())
    finally:
        grid.down(purge=True)
    servers = [portal, other]
    show(servers)
    RESULTS.parent.mkdir(exist_ok=True)
    found = {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[1], 1)}
    RESULTS.write_text(json.dumps(found | {s.name: s.result for s in servers}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
