"""The local grid as its users have it: real processes, real kills."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pytest
from diracx.api.jobs import create_sandbox  # noqa: TID253  this is a test of it
from diracx.client.aio import AsyncDiracClient  # noqa: TID253
from diracx.core.preferences import DiracxPreferences  # noqa: TID253
from pydantic import AnyHttpUrl

from localgrid.grid import Grid, ServiceDown
from localgrid.layout import PROJECT, USERS
from localgrid.programs.site.sandboxes import download
from localgrid.services import SERVICES
from localgrid.setup import airflow, rucio
from localgrid.signin import SignInRefused, sign_in

T = TypeVar("T")
KILLED = (
    "rucio",
    "rucio-daemons",
    "fts",
    "airflow-api",
    "airflow-scheduler",
    "airflow-triggerer",
    "s3",
    "diracx",
    *(name for name in ("sshd", "slurmctld", "slurmdbd") if name in SERVICES),
)
SITE = "ESAP.LaPalma.local"
FINAL = ("Done", "Failed", "Killed")


@pytest.fixture(autouse=True)
def all_up(grid: Grid) -> Iterator[None]:
    """Leave the grid to the next test as it should be."""
    grid.up()
    yield
    grid.up()


@dataclass
class Jobs:
    """Jobs of alice, as her own client submits and sees them."""

    grid: Grid
    tmp: Path

    def call(self, what: Callable[[AsyncDiracClient], Any]) -> Any:
        info = self.grid.info["diracx"]
        credentials = Path(info["credentials_dir"]) / "alice.json"

        async def once() -> Any:
            preferences = DiracxPreferences(url=AnyHttpUrl(info["url"]), credentials_path=credentials)
            async with AsyncDiracClient(diracx_preferences=preferences) as client:
                return await what(client)

        return asyncio.run(once())

    def submit(self, script: str, site: str = SITE, cpu_time: int = 600, count: int = 1) -> list[int]:
        program = self.tmp / "run.sh"
        program.write_text(f"#!/bin/sh\n{script}\n")

        async def work(client: AsyncDiracClient) -> list[int]:
            sandbox = await create_sandbox([program], client=client)
            jdl = (
                f'JobName="t"; Site="{site}"; Executable="run.sh"; Arguments="one two"; CPUTime={cpu_time}; '
                f'InputSandbox={{"{sandbox}"}}; StdOutput="std.out"; StdError="std.err"; '
                'OutputSandbox={"std.out","std.err","result.txt","never.txt"};'
            )
            return [job.job_id for job in await client.jobs.submit_jdl_jobs([jdl] * count)]

        ids: list[int] = self.call(work)
        return ids

    def states(self, ids: list[int]) -> dict[int, tuple[str, str]]:
        async def work(client: AsyncDiracClient) -> Any:
            search: Any = [{"parameter": "JobID", "operator": "in", "values": ids}]
            return await client.jobs.search(parameters=["JobID", "Status", "MinorStatus"], search=search)

        return {row["JobID"]: (row["Status"], row["MinorStatus"]) for row in self.call(work)}

    def wait(self, ids: list[int], *states: str, ignore: tuple[str, ...] = ()) -> dict[int, tuple[str, str]]:
        def reached() -> dict[int, tuple[str, str]] | None:
            now = self.states(ids)
            return now if all(status in states for status, _ in now.values()) else None

        now = self.grid.wait(reached, f"{states} of {ids}", 60, ignore=ignore)
        assert now is not None
        return now

    def kill(self, job_id: int) -> None:
        async def work(client: AsyncDiracClient) -> None:
            from datetime import UTC, datetime

            body: Any = {
                str(job_id): {datetime.now(UTC).isoformat(): {"Status": "Killed", "MinorStatus": "user"}}
            }
            await client.jobs.set_job_statuses(body)

        self.call(work)

    def output(self, job_id: int) -> dict[str, str]:
        target = self.tmp / f"out{job_id}"

        async def work(client: AsyncDiracClient) -> None:
            (pfn,) = await client.jobs.get_job_sandbox(job_id, "output")
            await download(pfn, target, client)

        self.call(work)
        return {path.name: path.read_text() for path in target.iterdir()}


@pytest.fixture
def jobs(grid: Grid, tmp_path: Path) -> Jobs:
    return Jobs(grid, tmp_path)


def processes_with(word: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if word in (p.info["cmdline"] or [])]


def test_all_services_are_healthy_and_have_their_figures(grid: Grid) -> None:
    status = {one.name: one for one in grid.status()}
    assert set(status) == set(SERVICES)
    assert {name: one.detail for name, one in status.items() if not one.healthy} == {}
    for name, one in status.items():
        assert one.memory_mb > 0.3, name  # a node of SLURM takes little more
        assert one.pid > 1, name


def test_a_second_up_starts_nothing(grid: Grid) -> None:
    before = {one.name: one.pid for one in grid.status()}
    grid.up()
    assert {one.name: one.pid for one in grid.status()} == before


def test_every_listener_is_on_loopback(grid: Grid) -> None:
    pids = {pid for name in SERVICES for pid in grid.supervisor.members(name)}
    found = [
        connection
        for connection in psutil.net_connections("tcp")
        if connection.pid in pids and connection.status == psutil.CONN_LISTEN
    ]
    assert {connection.laddr.ip for connection in found} == {"127.0.0.1"}
    listeners = {service.listener for service in SERVICES.values() if service.listener}
    assert {connection.laddr.port for connection in found} == {grid.layout.ports[one] for one in listeners}


def test_nothing_is_written_outside_the_state_directory(grid: Grid) -> None:
    """No process of the grid has a file outside it open for writing."""
    allowed = (str(grid.home), "/dev/", "/proc/", "pipe:", "socket:", "anon_inode:", "/memfd:")
    for name in SERVICES:
        for pid in grid.supervisor.members(name):
            try:
                written = [file.path for file in psutil.Process(pid).open_files() if file.mode != "r"]
            except psutil.NoSuchProcess:  # that of a connection, say
                continue
            assert [path for path in written if not path.startswith(allowed)] == [], name


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_service_is_named_and_comes_back_on_its_port(grid: Grid, name: str) -> None:
    before = next(one for one in grid.status() if one.name == name)
    grid.kill(name)
    with pytest.raises(ServiceDown, match=f"service {name} ended") as error:
        grid.wait(lambda: False, "wonder", 10)
    assert error.value.name == name
    after = {one.name: one for one in grid.status()}
    assert after[name].crashed
    assert not after[name].healthy
    command = [grid.layout.program("airflow", "python"), "-m", "localgrid", "status"]
    environment = dict(os.environ) | {"ESAP_LOCALGRID_HOME": str(grid.home)}
    said = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=PROJECT)
    assert said.returncode == 1
    assert f"{name} has crashed" in said.stdout
    grid.start(name)
    again = next(one for one in grid.status() if one.name == name)
    assert again.healthy
    assert again.port == before.port
    assert again.pid != before.pid


def test_a_killed_database_loses_nothing(grid: Grid) -> None:
    client = rucio.esap_client(grid.layout)
    name = f"/ctao/esap/test/{uuid.uuid4().hex}"
    grid.restart("rucio")  # its pool has an error for each connection that an earlier kill broke
    client.add_dataset("esap", name)
    grid.kill("postgres")
    grid.start("postgres")
    # Airflow's components give up when the database goes away; `up` brings them back.
    found = grid.wait(
        lambda: _try(lambda: client.get_did("esap", name)), "answer of Rucio", 60, ignore=airflow.COMPONENTS
    )
    assert found
    assert found["name"] == name
    grid.restart("rucio", "rucio-daemons")


def _try(what: Callable[[], T]) -> T | None:
    from rucio.common.exception import RucioException

    try:
        return what()
    except RucioException:  # connections of the pool that the kill has broken
        return None


def test_a_job_runs_to_its_end_with_sandboxes(jobs: Jobs, grid: Grid) -> None:
    script = 'echo "hello $1 and $2 at $DIRAC_SITE"; echo oops >&2; env | sort > result.txt'
    (job_id,) = jobs.submit(script)
    assert jobs.wait([job_id], *FINAL) == {job_id: ("Done", "Execution Complete")}
    output = jobs.output(job_id)
    assert output["std.out"] == f"hello one and two at {SITE}\n"
    assert output["std.err"] == "oops\n"
    assert f"VO_CTAO_SW_DIR={grid.layout.software_area}" in output["result.txt"]
    assert "AIRFLOW" not in output["result.txt"]
    assert "DIRACX" not in output["result.txt"]
    assert not grid.layout.path("site", "jobs", str(job_id)).exists()


def test_a_failing_job_fails_with_its_output(jobs: Jobs) -> None:
    (job_id,) = jobs.submit("echo so far; exit 3")
    assert jobs.wait([job_id], *FINAL) == {job_id: ("Failed", "Application Finished With Errors")}
    assert jobs.output(job_id)["std.out"] == "so far\n"


def test_a_job_over_its_time_is_ended(jobs: Jobs) -> None:
    (job_id,) = jobs.submit("sleep 612.5", cpu_time=2)
    ((state, minor),) = jobs.wait([job_id], *FINAL).values()
    assert state == "Failed"
    assert "CPUTime" in minor
    assert processes_with("612.5") == []


def test_a_killed_job_dies_with_its_children(jobs: Jobs, grid: Grid) -> None:
    (job_id,) = jobs.submit("sleep 613.5 & sleep 613.5")
    grid.wait(lambda: len(processes_with("613.5")) == 2, "start of the payload", 30)
    jobs.kill(job_id)
    grid.wait(lambda: not processes_with("613.5"), "end of the payload", 30)
    assert jobs.states([job_id])[job_id][0] == "Killed"


def test_a_job_for_another_site_waits(jobs: Jobs) -> None:
    (elsewhere,) = jobs.submit("true", site="ESAP.Nowhere.local")
    (here,) = jobs.submit("true")
    jobs.wait([here], "Done")
    assert jobs.states([elsewhere])[elsewhere][0] == "Waiting"
    jobs.kill(elsewhere)


def test_jobs_of_a_killed_site_are_stalled_and_their_processes_gone(jobs: Jobs, grid: Grid) -> None:
    ids = jobs.submit("sleep 614.5", count=2)
    grid.wait(lambda: len(processes_with("614.5")) == 2, "start of the payloads", 30)
    grid.kill("site")
    assert processes_with("614.5"), "the payload is a process of its own"
    grid.start("site")
    assert set(jobs.wait(ids, *FINAL).values()) == {("Failed", "Stalled")}
    assert processes_with("614.5") == []


def test_a_job_that_ends_while_diracx_is_away_is_delivered(jobs: Jobs, grid: Grid, tmp_path: Path) -> None:
    go = tmp_path / "go"
    (job_id,) = jobs.submit(f"echo begun; while [ ! -e {go} ]; do sleep 0.1; done; echo ended")
    jobs.wait([job_id], "Running")
    grid.kill("diracx")
    go.touch()
    record = grid.layout.path("site", "jobs", f"{job_id}.json")
    grid.wait(
        lambda: json.loads(record.read_text())["state"] == "finished",
        "end of the job",
        30,
        ignore=("diracx",),
    )
    grid.kill("site")
    grid.start("diracx", "site")
    assert jobs.wait([job_id], *FINAL) == {job_id: ("Done", "Execution Complete")}
    assert jobs.output(job_id)["std.out"] == "begun\nended\n"


def stored_on_tape(grid: Grid, client: Any, data: bytes) -> tuple[str, Path]:
    name = f"/ctao/dl0/test/{uuid.uuid4().hex}.fits"
    (pfn,) = client.lfns2pfns("LAPALMA-TAPE", [f"dl0:{name}"], operation="write").values()
    path = Path(pfn.removeprefix("file://localhost"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    replica = {"scope": "dl0", "name": name, "bytes": len(data), "adler32": f"{zlib.adler32(data):08x}"}
    client.add_replicas("LAPALMA-TAPE", [replica])
    return name, path


def rule_end(grid: Grid, client: Any, rule: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        now: dict[str, Any] = client.get_replication_rule(rule)
        return now if now["state"] in ("OK", "STUCK") else None

    end = grid.wait(ended, "end of the rule", 60)
    assert end is not None
    return end


def test_a_rule_really_copies_from_tape_to_disk(grid: Grid) -> None:
    client, data = rucio.esap_client(grid.layout), os.urandom(50_000)
    name, _ = stored_on_tape(grid, client, data)
    did = {"scope": "dl0", "name": name}
    (rule,) = client.add_replication_rule([did], 1, "CSCS-DISK", activity="Staging")
    assert rule_end(grid, client, rule)["state"] == "OK"
    (replica,) = client.list_replicas([did])
    copy = Path(replica["rses"]["CSCS-DISK"][0].removeprefix("file://localhost"))
    assert copy.read_bytes() == data
    assert copy.is_relative_to(grid.layout.storage("CSCS-DISK"))


def test_a_corrupt_tape_file_is_not_copied(grid: Grid) -> None:
    client = rucio.esap_client(grid.layout)
    name, path = stored_on_tape(grid, client, b"good")
    path.write_bytes(b"evil")
    (rule,) = client.add_replication_rule([{"scope": "dl0", "name": name}], 1, "LAPALMA-DISK")
    end = rule_end(grid, client, rule)
    assert end["state"] == "STUCK"
    assert "CHECKSUM MISMATCH" in end["error"]
    client.update_replication_rule(rule, {"lifetime": -1})


def test_users_come_to_airflow_with_the_issuers_tokens(grid: Grid) -> None:
    for user in USERS:
        me = httpx.get(
            f"{grid.info['airflow']['url']}/ui/auth/me",
            headers={"Authorization": f"Bearer {sign_in(grid.info, user)['access_token']}"},
        )
        assert me.json()["username"] == user
    with pytest.raises(SignInRefused):
        sign_in(grid.info, "alice", "guess")


def test_a_killed_supervisord_leaves_no_strays(tmp_path: Path) -> None:
    grid = Grid(tmp_path / "g")
    try:
        grid.start("fts")
        old = grid.supervisor.states()["fts"].pid
        psutil.Process(int(grid.layout.path("run", "supervisord.pid").read_text())).kill()
        assert psutil.pid_exists(old)
        grid.start("fts")
        assert not psutil.pid_exists(old)
        assert [one.name for one in grid.status() if one.healthy] == ["fts"]
        grid.down(purge=True)
        assert not (tmp_path / "g").exists()
    finally:
        grid.down()
