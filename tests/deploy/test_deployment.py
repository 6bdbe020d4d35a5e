"""The unchanged compose file on a real engine: what holds at rest, then what holds while parts die."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from esap_batch.jobs import group_name
from esap_batch.progress import PROGRESS
from localgrid.airflow_api import ENDED, AirflowApi
from localgrid.layout import PROJECT
from localgrid.screenshots.browser import BROWSER, SWITCHES
from tests.deploy.deployment import Deployment

DAG, CAMPAIGN, SLOW = "cta_irf", "cta_reprocessing", "hello_world"
SUBMITS = {DAG: ("submit_simulation", "submit_merge"), SLOW: ("submit_jobs",)}
EXAMPLE = json.loads((PROJECT / "config" / "workflows" / DAG / "example.json").read_text())
RUN_WITHIN_S = 900
AT_ONCE = 400  # of deploy/nginx.conf
JOBS = "/var/lib/esap-grid/diracx/db/jobdb.db"
PASSWORDS = "/var/lib/esap-grid/secrets/passwords.json"
# What takes the service's own tables back to those of the version before.
BEFORE = ("store.manager.EsapDBManager", "--yes", "--to-revision", "0001")
GRID = ("issuer", "diracx", "rucio", "slurm")
PARTS = ("api-server", "scheduler", "dag-processor", "triggerer", "worker")
MADE_AS_ROOT = {"postgres"}  # becomes the user postgres
EXPORTED = {("postgres", "postgres_password")}  # by the image's entry point, to its own processes
Wait = Callable[..., Any]
# The first test waits for all images: minutes on a machine of two cores.
pytestmark = pytest.mark.timeout(2400)


@pytest.fixture(scope="module")
def alice(deployment: Deployment) -> AirflowApi:
    return deployment.api("alice")


def start(api: AirflowApi, **conf: Any) -> str:
    answer = api.trigger(DAG, EXAMPLE | conf)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["dag_run_id"])


def ask(deployment: Deployment, api: AirflowApi, **conf: Any) -> tuple[str, str]:
    """Ask for an IRF as a client of UWS does; give the number of the job and the id of its run."""
    form = {"PHASE": "RUN", **{name: str(value) for name, value in (EXAMPLE | conf).items()}}
    answer = deployment.http(api.token).post(f"/uws/{DAG}/jobs", data=form)
    assert answer.status_code == 303, answer.text
    where, _, job = answer.headers["location"].rpartition("/")
    assert where == f"{deployment.url}/uws/{DAG}/jobs"
    (run,) = api.get(f"/dags/{DAG}/dagRuns", run_id_pattern=f"uws-{job}-%")["dag_runs"]
    return job, run["dag_run_id"]


def state_of(api: AirflowApi, run: str, task: str) -> str:
    return str(api.tasks(DAG, run)[task]["state"])


def product(api: AirflowApi, run: str, wait_for: Wait, dag: str = DAG) -> dict[str, Any]:
    """Wait for a run and give its product."""
    wait_for(lambda: api.run(dag, run)["state"] in ENDED, RUN_WITHIN_S)
    states = {name: task["state"] for name, task in api.tasks(dag, run).items()}
    assert api.run(dag, run)["state"] == "success", states
    end = api.xcom(dag, run, "report_end")
    assert end["outcome"] == "published"
    return dict(end["product"])


def jobs_of(deployment: Deployment, run: str, dag: str = DAG) -> list[str]:
    """Give the names of all jobs that DiracX has of a run, from its own database."""
    groups = ", ".join(repr(group_name(dag, run, task)) for task in SUBMITS[dag])
    query = f"select JobName from Jobs where JobGroup in ({groups})"
    program = f"import sqlite3; print(*[r[0] for r in sqlite3.connect({JOBS!r}).execute({query!r})])"
    return deployment.compose("exec", "-T", "diracx", ".venv/bin/python", "-c", program).split()


# At rest.


def test_everything_is_healthy(deployment: Deployment) -> None:
    states = {
        one["Config"]["Labels"]["com.docker.compose.service"]: one["State"] for one in deployment.containers()
    }
    init = states.pop("init")
    assert (init["Status"], init["ExitCode"]) == ("exited", 0)
    assert {name: state["Health"]["Status"] for name, state in states.items()} == dict.fromkeys(
        states, "healthy"
    )


def test_only_the_proxy_is_reached_from_outside(deployment: Deployment) -> None:
    published = {}
    for one in deployment.containers():
        service = one["Config"]["Labels"]["com.docker.compose.service"]
        bound = [b["HostIp"] for ports in one["NetworkSettings"]["Ports"].values() for b in ports or ()]
        if bound:
            published[service] = set(bound)
    # The grid is a laptop's: these pages are for the browser on the same machine.
    assert published == {name: {"127.0.0.1"} for name in ("proxy", "issuer", "diracx")}


def test_nobody_has_more_rights_than_needed(deployment: Deployment) -> None:
    for one in deployment.containers():
        service, host = one["Config"]["Labels"]["com.docker.compose.service"], one["HostConfig"]
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert host["SecurityOpt"] == ["no-new-privileges:true"], service
        assert host["Memory"] > 0, service
        assert host["PidsLimit"] > 0, service
        assert service in MADE_AS_ROOT or one["Config"]["User"] not in ("", "root", "0", "0:0"), service


def test_no_secret_is_in_an_environment(deployment: Deployment) -> None:
    """Neither in a container's settings nor in any process's environment or command line but EXPORTED."""
    secrets = {
        name: value
        for name, value in deployment.secrets().items()
        if name not in ("tls.crt", "tls.key", "redis.conf", "connections.json")
    }
    read = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' || true"
    for one in deployment.containers():
        if one["State"]["Status"] != "running":
            continue
        service, settings = one["Config"]["Labels"]["com.docker.compose.service"], json.dumps(one)
        processes = deployment.engine.docker("exec", one["Id"], "sh", "-c", read)
        for name, value in secrets.items():
            assert value.strip() not in settings, (service, name)
            assert (service, name) in EXPORTED or value.strip() not in processes, (service, name)


def test_a_worker_has_no_way_to_the_database(deployment: Deployment) -> None:
    program = "import socket; socket.create_connection(('postgres', 5432), 3)"
    with pytest.raises(RuntimeError, match="gaierror"):
        deployment.compose("exec", "-T", "worker", "python", "-c", program)
    there = set(deployment.compose("exec", "-T", "worker", "ls", "/run/secrets").split())
    assert there == {"broker_url", "result_backend_url", "connections.json"}


# With users.


def test_strangers_are_refused(deployment: Deployment, alice: AirflowApi) -> None:
    body = {"logical_date": None, "conf": EXAMPLE}
    path = f"/api/v2/dags/{DAG}/dagRuns"
    assert deployment.http().post(path, json=body).status_code == 401
    assert deployment.http(alice.token[:-6] + "aaaaaa").post(path, json=body).status_code == 401
    assert deployment.api("dave").trigger(DAG, EXAMPLE).status_code == 403  # of another experiment


def test_one_address_cannot_take_all_connections(deployment: Deployment, wait_for: Wait) -> None:
    """More requests at the same time than deploy/nginx.conf allows, none of which ever ends."""
    request = b"POST /uws/cta_irf/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
    with ExitStack() as stack:
        connections = [stack.enter_context(opened(deployment)) for _ in range(AT_ONCE + 1)]
        for one in connections:
            one.sendall(request)
        refused = wait_for(lambda: [*filter(None, map(answered, connections))], 60)
        assert [answer.split()[1] for answer in refused] == [b"429"]
    assert deployment.http().get("/api/v2/version").status_code == 200


def opened(deployment: Deployment) -> ssl.SSLSocket:
    plain = socket.create_connection(("localhost", deployment.port), 30)
    return deployment.trust.wrap_socket(plain, server_hostname="localhost")


def answered(connection: ssl.SSLSocket) -> bytes:
    connection.settimeout(0)
    try:
        return connection.recv(100)
    except ssl.SSLWantReadError:
        return b""


def test_a_request_becomes_a_product(
    deployment: Deployment, alice: AirflowApi, wait_for: Wait, figures: dict[str, object]
) -> None:
    """Asked for as a client of UWS does, from outside: the addresses that it is given lead on."""
    job, run = ask(deployment, alice)
    http = deployment.http(alice.token)
    made = product(alice, run, wait_for)
    figures["cta_irf"] = f"{alice.run(DAG, run)['duration']:.0f} s"
    results = http.get(f"/batch/jobs/{job}/results.zip")
    assert results.status_code == 200, results.text[:500]
    names = set(ZipFile(BytesIO(results.content)).namelist())
    assert len([name for name in names if name.endswith((".fits", ".fits.gz"))]) >= 1, names
    assert made["files"] <= len(names)
    assert (
        deployment.http(deployment.api("dave").token).get(f"/batch/jobs/{job}/results.zip").status_code == 404
    )
    figures["memory of all containers"] = memory(deployment)


def test_a_person_logs_in_by_browser(deployment: Deployment) -> None:
    """At the grid's issuer and back, through the proxy; then Airflow's own pages know the person as well."""
    from playwright.sync_api import sync_playwright

    told = json.loads(deployment.compose("exec", "-T", "issuer", "cat", PASSWORDS))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=SWITCHES)
        # The certificate is of this deployment's own making; `Deployment.trust` knows it, a browser does not.
        page = chromium.new_page(base_url=deployment.url, ignore_https_errors=True)
        page.goto("/batch/facilities")
        assert "issuer.grid.localhost" in page.url
        page.fill("input[name=username]", "alice")
        page.fill("input[name=password]", told["alice"])
        page.click("button[type=submit]")
        page.wait_for_url(f"{deployment.url}/batch/facilities")
        assert "SLURM over SSH" in page.locator("body").inner_text()
        page.goto("/batch/")
        assert DAG in page.locator("body").inner_text()
        cookies = page.context.cookies(deployment.url)
        assert cookies
        assert all(one["secure"] for one in cookies), cookies
        page.goto(f"/dags/{DAG}")
        page.get_by_role("button", name="Trigger").wait_for()
        chromium.close()


def memory(deployment: Deployment) -> str:
    """Give what each container holds, as the engine tells."""
    ids = [one["Id"] for one in deployment.containers() if one["State"]["Status"] == "running"]
    lines = deployment.engine.docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", *ids)
    short = [line.removeprefix(f"{deployment.name}-").split(" / ")[0] for line in lines.splitlines()]
    return ", ".join(sorted(short))


def test_parts_die_and_are_replaced_while_a_run_goes_on(
    deployment: Deployment, alice: AirflowApi, wait_for: Wait
) -> None:
    """Three workers, the busy one killed; two schedulers and triggerers; all of them replaced in mid-run."""
    scales = ("--scale", "worker=3", "--scale", "scheduler=2", "--scale", "triggerer=2")
    deployment.up(*scales)
    run = start(alice, azimuth_deg=0)

    def busy() -> str:
        submit = alice.tasks(DAG, run)["submit_simulation"]
        assert submit["state"] not in ("success", "failed"), "submitted before its worker could be killed"
        return str(submit["hostname"] or "") if submit["state"] == "running" else ""

    victim = wait_for(busy, 240)
    deployment.engine.docker("kill", victim)
    wait_for(lambda: state_of(alice, run, "await_simulation") == "deferred", 400)
    schedulers, triggerers = deployment.containers("scheduler"), deployment.containers("triggerer")
    deployment.engine.docker("kill", schedulers[0]["Id"], triggerers[0]["Id"])
    deployment.up(*scales, "--force-recreate", "--no-deps", "scheduler", "triggerer", "worker")
    made = product(alice, run, wait_for)
    names = jobs_of(deployment, run)
    assert len(names) == len(set(names)) == made["jobs"]
    assert alice.tasks(DAG, run)["submit_simulation"]["try_number"] > 1
    deployment.up()


def test_an_upgrade_migrates_and_loses_nothing(
    deployment: Deployment, alice: AirflowApi, wait_for: Wait
) -> None:
    """From the tables of the version before, with a run that waits."""
    run = start(alice, zenith_deg=60)
    wait_for(lambda: state_of(alice, run, "await_simulation") == "deferred", 240)
    deployment.compose("stop", *PARTS)
    deployment.compose("run", "--rm", "init", "airflow", "db-manager", "downgrade", *BEFORE)
    assert revision(deployment) == BEFORE[-1]
    deployment.up("--force-recreate", "init", *PARTS, "proxy")
    assert revision(deployment) > BEFORE[-1]
    made = product(deployment.api("alice"), run, wait_for)
    names = jobs_of(deployment, run)
    assert len(names) == len(set(names)) == made["jobs"]


def revision(deployment: Deployment) -> str:
    """Tell how far this service's own tables are migrated."""
    query = ("psql", "--username=airflow", "--tuples-only", "--no-align", "--command")
    told = deployment.compose(
        "exec", "-T", "postgres", *query, "select version_num from alembic_version_esap"
    )
    return told.strip()


def test_a_backup_brings_back_a_run_and_a_campaign_that_go_on(
    deployment: Deployment, wait_for: Wait, tmp_path: Path, figures: dict[str, object]
) -> None:
    alice = deployment.api("alice")
    deployment.compose("exec", "-T", "rucio", ".venv/bin/python", "-m", "localgrid", "samples", CAMPAIGN)
    asked = {"obs_ids": "101-106", "window_gb": 0.0004}  # room for two observations at a time
    campaign = str(alice.trigger(CAMPAIGN, asked).json()["dag_run_id"])
    wait_for(lambda: published(alice, campaign) > 0, 400)
    # Its job lasts longer than everything up to the restore.
    slow = {"n_jobs": 1, "message": "slow", "behaviour": "slow", "duration_s": 240}
    run = str(alice.trigger(SLOW, slow).json()["dag_run_id"])
    wait_for(lambda: alice.tasks(SLOW, run)["await_jobs"]["state"] == "deferred", 240)
    short = str(alice.trigger(SLOW, {**slow, "message": "short", "duration_s": 30}).json()["dag_run_id"])
    wait_for(lambda: alice.tasks(SLOW, short)["await_jobs"]["state"] == "deferred", 240)
    deployment.script("backup.sh", tmp_path / "backup.tar.gz")
    assert (tmp_path / "backup.tar.gz").stat().st_mode & 0o777 == 0o600
    secrets = deployment.secrets()
    # Of what comes after the backup only the grid will know.
    lost, lost_run = ask(deployment, alice, zenith_deg=52)
    wait_for(lambda: state_of(alice, lost_run, "await_simulation") == "deferred", 240)
    ended = product(alice, short, wait_for, SLOW)

    # All that is this deployment's is gone; the grid, which stands for the site's systems, stays.
    services = [s for s in deployment.compose("config", "--services").split() if s not in GRID]
    deployment.compose("rm", "--stop", "--force", *services)
    deployment.engine.docker("volume", "rm", f"{deployment.name}_database")
    shutil.rmtree(deployment.project / "deploy" / "secrets")
    (deployment.project / ".env").unlink()

    deployment.script("restore.sh", tmp_path / "backup.tar.gz")
    assert deployment.secrets() == secrets
    figures["start after a restore"] = f"{deployment.up():.0f} s"
    assert alice.run(SLOW, run)["state"] == "running"
    made = product(alice, run, wait_for, SLOW)
    assert len(jobs_of(deployment, run, SLOW)) == made["jobs"] == 1
    wait_for(lambda: alice.run(SLOW, short)["state"] == "failed", RUN_WITHIN_S)  # its work area is empty
    alice.clear(SLOW, short, "validate_request")
    wait_for(lambda: alice.run(SLOW, short)["state"] == "success", RUN_WITHIN_S)
    assert alice.xcom(SLOW, short, "report_end")["product"]["dataset"] == ended["dataset"]
    wait_for(lambda: alice.run(CAMPAIGN, campaign)["state"] in ENDED, RUN_WITHIN_S)
    end = alice.xcom(CAMPAIGN, campaign, "report_end")
    assert (end["outcome"], end["done"], end["failed"]) == ("published", 6, 0)
    again, new_run = ask(deployment, alice, zenith_deg=20, azimuth_deg=90)
    assert again == lost  # the database counts on from the backup
    made = product(alice, new_run, wait_for)
    names = jobs_of(deployment, new_run)
    assert len(names) == made["jobs"]
    assert set(names).isdisjoint(jobs_of(deployment, lost_run))


def published(api: AirflowApi, campaign: str) -> int:
    """Tell how many observations of a campaign are done, while others are not."""
    told = api.xcom(CAMPAIGN, campaign, "process_observations", PROGRESS)
    assert api.run(CAMPAIGN, campaign)["state"] not in ENDED, "over before it could be interrupted"
    return int(told["observations"].get("done", 0)) if told else 0
