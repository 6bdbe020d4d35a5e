"""The grid's SLURM site as its users have it: over a real sshd, with real jobs and real kills."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from localgrid.grid import Grid
from localgrid.setup import slurm, slurm_packages, ssh

pytestmark = pytest.mark.skipif(bool(slurm_packages.missing()), reason=slurm_packages.missing_words())
SITE = ("slurm-node1", "slurm-node2", "sshd")  # with what they need
RUNNING = "RUNNING"


@dataclass(frozen=True)
class Said:
    """What a command at the login node has answered."""

    code: int
    out: str
    err: str


@dataclass
class Login:
    """Logins of one user."""

    grid: Grid
    user: str = "frank"
    places: dict[str, str] = field(default_factory=dict)

    def try_to(self, command: str, **options: object) -> Said:
        line = ssh.client_command(self.grid.layout, self.user)
        for name, value in options.items():
            line[1:1] = ["-o", f"{name}={value}"]  # ssh takes the first value that it is given
        done = subprocess.run([*line, command], capture_output=True, text=True, check=False, timeout=60)
        return Said(done.returncode, done.stdout, done.stderr)

    def run(self, command: str) -> str:
        said = self.try_to(command)
        assert said.code == 0, said
        return said.out.strip()

    def submit(self, script: str, *options: str) -> str:
        name = uuid.uuid4().hex[:12]
        place = f"{self.grid.info['slurm']['work_area']}/{name}"
        self.run(f"mkdir {place} && printf '#!/bin/sh\\n%s\\n' '{script}' > {place}/run.sh")
        more = " ".join(options)
        job = self.run(
            f"sbatch --parsable -D {place} -J {name} -o {place}/out -e {place}/err {more} {place}/run.sh"
        )
        self.places[job] = place  # the accounting may lack it for a short job
        return job

    def state(self, job: str) -> str:
        """Give the state by the accounting, empty when it has not heard of the job yet."""
        return self.run(f"sacct -X -n -P -j {job} -o State")

    def output(self, job: str) -> str:
        return self.run(f"cat {self.places[job]}/out")

    def wait(self, job: str, *states: str, within: float = 60, ignore: tuple[str, ...] = ()) -> str:
        def reached() -> str:
            state = self.state(job)
            return state if state.split(" ")[0] in states else ""

        return self.grid.wait(reached, f"{states} of job {job}", within, ignore=ignore)


@pytest.fixture(scope="module", autouse=True)
def up(grid: Grid) -> None:
    grid.start(*SITE)


@pytest.fixture
def site(grid: Grid) -> Iterator[Login]:
    """Give logins of a user, and leave the site well and empty."""
    login = Login(grid)
    yield login
    grid.start(*SITE)
    login.run("scancel --me")


def sleepers(number: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if number in (p.info["cmdline"] or [])]


def test_a_job_runs_in_the_logins_environment_and_the_accounting_tells(site: Login) -> None:
    job = site.submit("id -un; echo $SLURM_JOB_ACCOUNT $SLURM_JOB_PARTITION; env")
    assert site.wait(job, "COMPLETED", "FAILED") == "COMPLETED"
    lines = site.output(job).splitlines()
    assert lines[:2] == [slurm.account_name(), "esap main"]
    for name, value in ssh.login_environment(site.grid.layout).items():
        assert f"{name}={value}" in lines, name
    assert site.run(f"sacct -X -n -P -j {job} -o Account,ExitCode,NodeList") in (
        "esap|0:0|node1",
        "esap|0:0|node2",
    )


def test_both_nodes_take_jobs_at_once(site: Login) -> None:
    go = f"{site.grid.info['slurm']['work_area']}/{uuid.uuid4().hex}"
    slots = 2 * site.grid.info["sites"]["ESAP.CSCS.local"]
    job = site.submit(f"echo $SLURMD_NODENAME; while [ ! -e {go} ]; do sleep 0.1; done", f"-a 0-{slots - 1}")
    site.grid.wait(lambda: site.state(job).split() == [RUNNING] * slots, "start of all tasks", 60)
    assert set(site.run(f"squeue -h -j {job} -o %N").split()) == {"node1", "node2"}
    site.run(f"touch {go}")
    site.grid.wait(lambda: set(site.state(job).split()) == {"COMPLETED"}, "end of all tasks", 60)


@pytest.mark.parametrize("user", ["alice", "carol", "dave", "frank", "sofia"])
def test_admitted_users_log_in(grid: Grid, user: str) -> None:
    assert Login(grid, user).run("id -un") == slurm.account_name()


def test_bob_and_unknown_keys_are_refused(site: Login, tmp_path: Path) -> None:
    said = Login(site.grid, "bob").try_to("id")
    assert (said.code, said.out) == (255, "")
    assert "Permission denied (publickey)" in said.err
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    shutil.copy(key, ssh.keys_directory(site.grid.layout) / "mallory")
    try:
        said = Login(site.grid, "mallory").try_to("id")
    finally:
        (ssh.keys_directory(site.grid.layout) / "mallory").unlink()
    assert "Permission denied (publickey)" in said.err


def test_passwords_are_not_asked_for(site: Login) -> None:
    said = Login(site.grid, "bob").try_to(
        "id", PreferredAuthentications="password,keyboard-interactive", PubkeyAuthentication="no"
    )
    assert said.code == 255
    assert "Permission denied (publickey)" in said.err


def test_another_host_key_is_refused(site: Login, tmp_path: Path) -> None:
    other = tmp_path / "host"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    known = tmp_path / "known_hosts"
    public = other.with_suffix(".pub").read_text()
    known.write_text(f"[127.0.0.1]:{site.grid.info['slurm']['port']} {public}")
    said = site.try_to("id", UserKnownHostsFile=known)
    assert (said.code, said.out) == (255, "")
    assert "Host key verification failed" in said.err


def test_files_go_by_sftp_and_ports_are_not_forwarded(site: Login, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("content")
    there = f"{site.grid.info['slurm']['work_area']}/{uuid.uuid4().hex}"
    command = ssh.client_command(site.grid.layout, site.user)
    options = [part for part in command[1:-1] if part != "-p"]
    port = options.pop(options.index(str(site.grid.info["slurm"]["port"])))
    batch = f"put {tmp_path / 'here'} {there}\n"
    subprocess.run(
        ["sftp", "-b", "-", "-P", port, *options, command[-1]],
        input=batch,
        text=True,
        check=True,
        capture_output=True,
    )
    assert site.run(f"cat {there}; rm {there}") == "content"
    forward = f"localhost:{site.grid.layout.ports['slurmctld']}"
    said = subprocess.run(
        [*command[:-1], "-W", forward, command[-1]],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert said.returncode != 0
    assert "forwarding failed" in said.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("-A nobody", "Invalid account"),
        ("-p gpu", "invalid partition"),
        ("-p short -t 10", "Requested time limit is invalid"),
        ("--mem 64000", "Requested node configuration is not available"),
        ("-a 0-1001", "Invalid job array specification"),
    ],
)
def test_what_the_site_cannot_do_is_refused_at_submission(site: Login, options: str, words: str) -> None:
    said = site.try_to(f"sbatch {options} --wrap true")
    assert said.code != 0
    assert words in said.err


def test_limits_end_a_job(site: Login) -> None:
    hungry = 'python3 -c "import time; x = bytearray(300_000_000); time.sleep(611)"'
    job = site.submit(hungry, "--mem 100")
    assert site.wait(job, "FAILED", "OUT_OF_MEMORY", "COMPLETED") in ("FAILED", "OUT_OF_MEMORY")
    assert sleepers("611.25") == []


def test_a_cancelled_job_dies_with_its_children(site: Login) -> None:
    job = site.submit("sleep 612.25 & sleep 612.25")
    site.grid.wait(lambda: len(sleepers("612.25")) == 2, "start of the payload", 30)
    site.run(f"scancel {job}")
    assert site.wait(job, "CANCELLED").startswith("CANCELLED")
    site.grid.wait(lambda: not sleepers("612.25"), "end of the payload", 30)


@pytest.mark.parametrize("name", ["slurmctld", "slurmdbd", "mariadb", "munge", "sshd"])
def test_running_jobs_outlive_a_restart(site: Login, name: str) -> None:
    go = f"{site.grid.info['slurm']['work_area']}/{uuid.uuid4().hex}"
    job = site.submit(f"while [ ! -e {go} ]; do sleep 0.1; done; echo $SLURM_RESTART_COUNT ended")
    site.wait(job, RUNNING)
    site.grid.restart(name)
    site.grid.start(*SITE)
    assert site.state(job) == RUNNING
    site.run(f"touch {go}")
    assert site.wait(job, "COMPLETED", "FAILED", "NODE_FAIL") == "COMPLETED"
    assert site.output(job) == "ended", "it ran once"
    again = site.submit("true")
    assert site.wait(again, "COMPLETED", "FAILED") == "COMPLETED"


def test_a_killed_node_fails_its_jobs_and_comes_back(site: Login) -> None:
    gone = site.submit("sleep 613.25", "-w node1")
    stays = site.submit("sleep 614.25", "-w node2")
    for job in (gone, stays):
        site.wait(job, RUNNING)
    site.grid.wait(lambda: sleepers("613.25"), "start of the payload", 30)
    site.grid.kill("slurm-node1")
    assert sleepers("613.25") == [], "a node takes its jobs along"
    site.grid.start("slurm-node1")
    assert site.wait(gone, "NODE_FAIL", "FAILED", "COMPLETED", within=90) == "NODE_FAIL"
    assert site.state(stays) == RUNNING
    again = site.submit("echo $SLURMD_NODENAME", "-w node1")
    assert site.wait(again, "COMPLETED", "FAILED") == "COMPLETED"
    assert site.output(again) == "node1"


def test_a_node_that_stays_away_is_told(site: Login) -> None:
    job = site.submit("sleep 615.25", "-w node2")
    site.wait(job, RUNNING)
    site.grid.kill("slurm-node2")
    status = {one.name: one for one in site.grid.status()}
    assert status["slurm-node2"].crashed
    assert status["slurm-node1"].healthy
    assert site.wait(job, "NODE_FAIL", within=90, ignore=("slurm-node2",)) == "NODE_FAIL"
    assert "NOT_RESPONDING" in site.run("scontrol -o show node node2")


def test_a_drained_node_is_unhealthy_until_the_next_start(site: Login) -> None:
    site.run("scontrol update NodeName=node1 State=DRAIN Reason=maintenance")
    (found,) = (one for one in site.grid.status() if one.name == "slurm-node1")
    assert not found.healthy
    assert "DRAIN maintenance" in found.detail
    site.grid.start("slurm-node1")
    assert all(one.healthy for one in site.grid.status() if one.name in SITE)


def test_a_second_grid_stands_beside_the_first_and_leaves_nothing(site: Login) -> None:
    # A short path: pytest's are too long for SLURM's sockets on some machines.
    home = Path(os.environ.get("TMPDIR", "/tmp")) / f"grid-{uuid.uuid4().hex[:8]}"
    second = Grid(home)
    try:
        second.start(*SITE)
        other = Login(second)
        waiting = [other.submit(f"sleep 616.{n}") for n in (25, 5)]
        for job in waiting:
            other.wait(job, RUNNING)
        assert site.run("squeue -h --me") == ""
        assert {one.healthy for one in site.grid.status() if one.name in SITE} == {True}
        supervisord = psutil.Process(int(second.layout.path("run", "supervisord.pid").read_text()))
        supervisord.kill()  # nobody is left who knows the daemons, still less the jobs
        psutil.wait_procs([supervisord], timeout=10)
    finally:
        second.down(purge=True)
    assert not home.exists()
    assert sleepers("616.25") == []
    assert sleepers("616.5") == []
    left = [
        p.info
        for p in psutil.process_iter(["pid", "cmdline"])
        if str(home) in " ".join(p.info["cmdline"] or [])
    ]
    assert left == []
    job = site.submit("true")
    assert site.wait(job, "COMPLETED", "FAILED") == "COMPLETED"
