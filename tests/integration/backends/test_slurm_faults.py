"""What goes wrong at a real SLURM site behind a real sshd: the right state, a diagnosis, nothing twice."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from esap_batch.jobs import Batch, InputFile, JobSpec, JobState, Limits
from esap_batch.retries import Diagnosis, diagnose
from hooks.errors import BackendUnavailable, RefusedForGood
from hooks.slurm_ssh import SlurmSsh
from localgrid.grid import Grid
from tests.integration.backends.places import Slurm, a_batch, firsts

WaitFor = Callable[..., Any]
EATS = "x = bytearray(300 << 20); import time; time.sleep(300)"
SLEEPS = "import time; time.sleep(300)"


@pytest.fixture
def backend(slurm: Slurm) -> SlurmSsh:
    return slurm.open_at(slurm.owner)


@pytest.fixture
def area(tmp_path: Path) -> Path:
    """Give a work area of the test's own."""
    made = tmp_path / "work"
    made.mkdir()
    return made


def with_commands(folder: Path, **scripts: str) -> dict[str, str]:
    """Give extra of a connection with which some commands of the login node are other ones.

    In a script `$REAL` is the true command. The rest of the site stays as it is.
    """
    (folder / "bin").mkdir(parents=True)
    for name, script in scripts.items():
        program = folder / "bin" / name
        program.write_text(f"#!/bin/sh\nREAL=$(PATH=${{PATH#*:}} command -v {name})\n{script}\n")
        program.chmod(0o755)
    python = folder / "python3"
    python.write_text(
        f'#!/bin/sh\nexport ESAP_SLURM_TIMEOUT_S=5 PATH={folder}/bin:$PATH\nexec python3 "$@"\n'
    )
    python.chmod(0o755)
    return {"python": str(python)}


def runs(program: str, **limits: int) -> tuple[JobSpec, ...]:
    return (JobSpec(0, ("python3", "-c", program), limits=Limits(**{"memory_mb": 200, **limits})),)


def ended(backend: SlurmSsh, batch: Batch, wait_for: WaitFor, within: float = 120) -> dict[int, Diagnosis]:
    """Wait for the end of all jobs; say why each that has not done well has not."""

    def attempts() -> Any:
        found = backend.attempts(batch.group)
        return found if found and all(a.state.is_terminal for a in found) else None

    found = wait_for(attempts, within)
    reports = backend.reports(found)
    return {a.index: diagnose(a, reports.get(a.job_id)) for a in found if a.state is not JobState.DONE}


def alive(slurm: Slurm, group: str) -> int:
    """Count the jobs of a batch that SLURM has, whatever our files say."""
    command = ["squeue", "--noheader", "--array", "--format=%j", "--states=PENDING,RUNNING"]
    environment = {**os.environ, "SLURM_CONF": slurm.grid.info["slurm"]["conf"]}
    lines = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    return sum(line.startswith(group) for line in lines)


# --- who and where ---


def test_a_host_with_another_key_is_not_talked_to(slurm: Slurm) -> None:
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS"
    with pytest.raises(RefusedForGood, match="host key is not the one in its connection"):
        slurm.open_at(slurm.owner, extra={"host_key": other}).hello()


def test_a_key_that_the_site_has_not_admitted_is_refused(slurm: Slurm) -> None:
    with pytest.raises(RefusedForGood, match=r"does not take this user's key"):
        slurm.open_at("bob").hello()


def test_a_user_without_a_key_is_refused_by_name(slurm: Slurm) -> None:
    with pytest.raises(RefusedForGood, match="no SSH key of user 'mallory' here"):
        slurm.open_at("mallory")


def test_a_login_node_without_python_is_named(slurm: Slurm) -> None:
    with pytest.raises(BackendUnavailable, match="python9"):
        slurm.open_at(slurm.owner, extra={"python": "python9"}).hello()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"site": "nowhere"}, "invalid partition"),
        ({"site": "short", "jobs": runs(SLEEPS, wall_time_s=7200)}, "time limit"),
        ({"jobs": runs(SLEEPS, memory_mb=10**6)}, "memory|node configuration"),
        ({"jobs": runs(SLEEPS, cores=4000)}, "cpu|processors"),
    ],
)
def test_what_slurm_does_not_take_is_refused_with_its_words(
    slurm: Slurm, backend: SlurmSsh, changed: dict[str, Any], said: str
) -> None:
    batch = a_batch(slurm, 1, **changed)
    with pytest.raises(RefusedForGood, match=f"(?i)sbatch: .*({said})"):
        backend.submit(batch, firsts(batch))
    assert backend.attempts(batch.group) == []
    assert alive(slurm, batch.group) == 0


def test_an_account_that_may_not_charge_is_refused(slurm: Slurm) -> None:
    batch = a_batch(slurm, 1)
    with pytest.raises(RefusedForGood, match=r"(?i)invalid account"):
        slurm.open_at(slurm.owner, account="strangers").submit(batch, firsts(batch))


# --- jobs that end badly ---


def test_time_memory_and_image_are_diagnosed(slurm: Slurm, backend: SlurmSsh, wait_for: WaitFor) -> None:
    lacks_image = {"type": "rootfs", "image": "image.tar", "sha256": "0" * 64}
    image = InputFile("image.tar", "/gone", 1, "0" * 8, "file:///gone/image.tar")
    batches = {
        "TIME_LIMIT": a_batch(slurm, 1, jobs=runs(SLEEPS, wall_time_s=1)),
        "MEMORY_LIMIT": a_batch(slurm, 1, jobs=runs(EATS)),
        "INPUT_MISSING": a_batch(
            slurm,
            1,
            runtime=lacks_image,
            jobs=(JobSpec(0, ("true",), inputs=(image,)),),
            software=(),
        ),
        "SOFTWARE_MISSING": a_batch(slurm, 1, software=({"name": "esap-noop", "version": "9"},)),
    }
    for batch in batches.values():
        backend.submit(batch, firsts(batch))
    assert {name: ended(backend, batch, wait_for)[0].reason for name, batch in batches.items()} == {
        name: name for name in batches
    }


def test_memory_that_slurm_itself_limits_is_diagnosed(slurm: Slurm, wait_for: WaitFor) -> None:
    backend = slurm.open_at(slurm.owner, mem="100M")
    batch = a_batch(slurm, 1, jobs=runs(EATS, memory_mb=2000))
    backend.submit(batch, firsts(batch))
    found = ended(backend, batch, wait_for)[0]
    assert (found.reason, "OUT_OF_MEMORY" in found.message) in [("MEMORY_LIMIT", True), ("LOST", False)]
    assert "FAILED" in found.message or found.reason == "MEMORY_LIMIT"


def test_a_job_beyond_slurms_own_time_limit_is_diagnosed(slurm: Slurm, wait_for: WaitFor) -> None:
    backend = slurm.open_at(slurm.owner, time="1")  # minute: the shortest that SLURM keeps
    batch = a_batch(slurm, 1, jobs=runs(SLEEPS, wall_time_s=3000))
    backend.submit(batch, firsts(batch))
    found = ended(backend, batch, wait_for, within=240)[0]
    assert (found.reason, found.message) == ("TIME_LIMIT", "the facility says: TIMEOUT; TimeLimit.")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no file system of 1 MB can be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    return ballast


def test_a_full_work_area_refuses_and_takes_jobs_again_once(
    slurm: Slurm, full_disk: Path, wait_for: WaitFor
) -> None:
    backend = slurm.open_at(slurm.owner, extra={"work_area": str(full_disk)})
    backend.hello()
    ballast, batch = fill(full_disk), a_batch(slurm, 3)
    with pytest.raises(BackendUnavailable, match="disk or the quota of the work area is full"):
        backend.submit(batch, firsts(batch))
    assert alive(slurm, batch.group) == 0
    ballast.unlink()
    backend.submit(batch, firsts(batch))
    assert ended(backend, batch, wait_for) == {}
    assert len(backend.attempts(batch.group)) == 3


def test_a_full_disk_on_the_node_is_diagnosed(slurm: Slurm, full_disk: Path, wait_for: WaitFor) -> None:
    fill(full_disk)
    backend = slurm.open_at(slurm.owner, scratch_env="ESAP_SCRATCH", export=f"ALL,ESAP_SCRATCH={full_disk}")
    batch = a_batch(slurm, 1)
    backend.submit(batch, firsts(batch))
    found = ended(backend, batch, wait_for)[0]
    assert (found.reason, "the worker node's disk is full" in found.message) == ("DISK_LIMIT", True)


# --- daemons that end ---


def test_a_node_that_fails_ends_its_job(slurm: Slurm, grid: Grid, wait_for: WaitFor) -> None:
    backend = slurm.open_at(slurm.owner, nodelist="node2")
    batch = a_batch(slurm, 1, jobs=runs(SLEEPS))
    backend.submit(batch, firsts(batch))
    wait_for(lambda: backend.counts([batch.group])[batch.group][JobState.RUNNING] == 1)
    grid.supervisor.kill("slurm-node2")
    try:
        found = ended(backend, batch, wait_for, within=240)[0]
    finally:
        grid.start("slurm-node2")
    assert (found.reason, found.message.startswith("the facility says: NODE_FAIL")) == ("NODE_FAILED", True)
    again = slurm.open_at(slurm.owner)
    again.submit(replace(batch, jobs=runs("pass")), {0: 2})
    wait_for(lambda: again.counts([batch.group])[batch.group] == {JobState.FAILED: 1, JobState.DONE: 1})


def test_a_controller_that_restarts_in_mid_run_loses_nothing(
    slurm: Slurm, grid: Grid, backend: SlurmSsh, tmp_path: Path, wait_for: WaitFor
) -> None:
    gate = tmp_path / "gate"
    waits = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.1)"
    batch = a_batch(slurm, 1, jobs=tuple(replace(runs(waits)[0], index=i) for i in range(6)))
    backend.submit(batch, firsts(batch))
    wait_for(lambda: backend.counts([batch.group])[batch.group][JobState.RUNNING] > 0)
    grid.stop("slurmctld")
    quick = slurm.open_at(slurm.owner, extra=with_commands(tmp_path / "quick"))
    other = a_batch(slurm, 2)
    with pytest.raises(BackendUnavailable, match=r"(?i)slurm controller|did not answer"):
        quick.counts([batch.group])
    with pytest.raises(BackendUnavailable, match=r"(?i)slurm controller|did not answer"):
        quick.submit(other, firsts(other))
    gate.touch()
    grid.start("slurmctld")
    assert ended(backend, batch, wait_for) == {}
    assert Counter(a.key for a in backend.attempts(batch.group)) == Counter((i, 1) for i in range(6))
    backend.submit(other, firsts(other))
    assert ended(backend, other, wait_for) == {}
    assert sorted(a.key for a in backend.attempts(other.group)) == [(0, 1), (1, 1)]


def test_accounting_that_is_down_is_not_needed_while_the_queue_knows(
    slurm: Slurm, grid: Grid, backend: SlurmSsh, wait_for: WaitFor
) -> None:
    grid.supervisor.kill("slurmdbd")
    try:
        batch = a_batch(slurm, 2)
        backend.submit(batch, firsts(batch))
        assert ended(backend, batch, wait_for) == {}
    finally:
        grid.start("slurmdbd")


@pytest.mark.parametrize("accounting", ["Slurm accounting storage is disabled", ""])
def test_jobs_that_slurm_has_forgotten_are_judged_by_their_reports(
    slurm: Slurm, backend: SlurmSsh, tmp_path: Path, wait_for: WaitFor, accounting: str
) -> None:
    """With and without accounting; a job that left no report is lost, never done."""
    forgets = {"squeue": "exit 0", "sacct": f'echo "{accounting}" >&2; exit {int(bool(accounting))}'}
    batch = a_batch(
        slurm, 1, jobs=(*a_batch(slurm, 1).jobs, replace(runs("raise SystemExit(3)")[0], index=1))
    )
    backend.submit(batch, firsts(batch))
    ended(backend, batch, wait_for)
    area = Path(slurm.grid.info["slurm"]["work_area"]) / slurm.owner / batch.group
    (area / "states.json").unlink()
    forgetful = slurm.open_at(slurm.owner, extra=with_commands(tmp_path / "forgetful", **forgets))
    assert {a.index: a.state for a in forgetful.attempts(batch.group)} == {
        0: JobState.DONE,
        1: JobState.FAILED,
    }
    (area / "states.json").unlink()
    shutil.rmtree(area / "jobs")
    assert {a.state for a in forgetful.attempts(batch.group)} == {JobState.QUEUED}  # they are young
    for path in area.glob("[0-9]*.json"):
        order = json.loads(path.read_text())
        path.write_text(json.dumps({**order, "time": order["time"] - 120}))
    assert {(a.state, a.detail.startswith("LOST; ")) for a in forgetful.attempts(batch.group)} == {
        (JobState.LOST, True)
    }


# --- connections that are cut, programs that are killed ---


def sessions(grid: Grid) -> list[psutil.Process]:
    """Give the processes of sshd that serve a connection."""
    found: list[psutil.Process] = psutil.Process(grid.supervisor.states()["sshd"].pid).children()
    return found


def test_a_poll_survives_a_cut_connection(
    slurm: Slurm, grid: Grid, backend: SlurmSsh, wait_for: WaitFor
) -> None:
    batch = a_batch(slurm, 1)
    backend.submit(batch, firsts(batch))
    for _ in range(3):
        backend.counts([batch.group])
    assert backend.site.connections == 1
    for session in sessions(grid):
        session.kill()

    def answers() -> bool:
        try:
            return bool(backend.counts([batch.group]))
        except BackendUnavailable:
            return False

    wait_for(answers)
    assert backend.site.connections == 2
    assert ended(backend, batch, wait_for) == {}


def test_a_submission_whose_connection_is_cut_is_made_once(
    slurm: Slurm, grid: Grid, area: Path, wait_for: WaitFor
) -> None:
    """What goes on at the site without us is found when we ask again."""
    backend = slurm.open_at(slurm.owner, begin="now+1day", extra={"work_area": str(area)})
    batch, errors = a_batch(slurm, 20), []
    folder = area / slurm.owner / batch.group
    folder.mkdir(parents=True)
    before = {p.pid for p in sessions(grid)}

    def submit() -> None:
        try:
            backend.submit(batch, firsts(batch))
        except BackendUnavailable as error:
            errors.append(error)

    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=submit)
        thread.start()
        (program,) = wait_for(lambda: [one for one in agents(area) if holds(one, folder / "lock")])
        for session in sessions(grid):
            if session.pid not in before:
                session.kill()
        thread.join()
    assert len(errors) == 1
    wait_for(lambda: not program.is_running())
    assert alive(slurm, batch.group) == 20
    backend.submit(batch, firsts(batch))
    assert alive(slurm, batch.group) == 20
    assert backend.cancel(batch.group) == 20


def holds(process: psutil.Process, file: Path) -> bool:
    """Tell whether a process has a file open: one that waits for the lock has read its question."""
    return any(one.path == str(file) for one in process.open_files())


def agents(area: Path) -> list[psutil.Process]:
    """Give the processes of our program at the site."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if line[-1:] == ["call"] and any(str(area) in word for word in line):
            found.append(process)
    return found


SILENT = '"$REAL" "$@" >/dev/null; sleep 60'
BREAKS = {
    "killed before": "kill -9 $PPID; exit 1",
    "killed after": '"$REAL" "$@" >/dev/null; kill -9 $PPID',
    "silent before": "sleep 60",
    "silent after": SILENT,
    "no controller": 'echo "sbatch: error: Unable to contact slurm controller" >&2; exit 1',
}


@pytest.mark.parametrize("script", BREAKS.values(), ids=BREAKS)
def test_a_submission_that_breaks_off_is_completed_once(slurm: Slurm, tmp_path: Path, script: str) -> None:
    area = {"work_area": str(tmp_path)}
    broken = slurm.open_at(
        slurm.owner, begin="now+1day", extra={**area, **with_commands(tmp_path / "broken", sbatch=script)}
    )
    batch = a_batch(slurm, 12)
    with pytest.raises(BackendUnavailable):
        broken.submit(batch, firsts(batch))
    whole = slurm.open_at(slurm.owner, begin="now+1day", extra=area)
    assert sorted(a.key for a in whole.submit(batch, firsts(batch))) == [(i, 1) for i in range(12)]
    assert alive(slurm, batch.group) == 12
    assert whole.cancel(batch.group) == 12


def test_a_work_area_that_is_not_mounted_is_no_site_without_jobs(slurm: Slurm, tmp_path: Path) -> None:
    backend = slurm.open_at(slurm.owner, extra={"work_area": str(tmp_path / "work")})
    batch = a_batch(slurm, 1)
    for ask in (backend.attempts, backend.cancel, lambda group: backend.counts([group])):
        with pytest.raises(BackendUnavailable, match=r"work area .* is not there"):
            ask(batch.group)
    with pytest.raises(BackendUnavailable):
        backend.submit(batch, firsts(batch))
    assert not (tmp_path / "work").exists()


def test_a_submission_that_is_killed_anywhere_is_completed_once(
    slurm: Slurm, area: Path, wait_for: WaitFor
) -> None:
    backend = slurm.open_at(slurm.owner, begin="now+1day", extra={"work_area": str(area)})
    batch, chance = a_batch(slurm, 40), random.Random(5)

    def submit(count: int) -> None:
        with contextlib.suppress(BackendUnavailable):
            backend.submit(batch, dict.fromkeys(range(count), 1))

    for turn in range(1, 11):
        with ThreadPoolExecutor(1) as pool:
            submission = pool.submit(submit, 4 * turn)
            wait_for(lambda running=submission: agents(area) or running.done())
            wait([submission], chance.uniform(0, 0.4))
            for process in agents(area):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
    backend.submit(batch, firsts(batch))
    assert sorted(a.key for a in backend.attempts(batch.group)) == [(i, 1) for i in range(40)]
    assert alive(slurm, batch.group) == 40
    assert backend.cancel(batch.group) == 40


def test_an_array_that_was_accepted_twice_runs_once(slurm: Slurm, tmp_path: Path, wait_for: WaitFor) -> None:
    twice = with_commands(
        tmp_path / "twice", sbatch='cat >script; "$REAL" "$@" <script >/dev/null; "$REAL" "$@" <script'
    )
    backend = slurm.open_at(slurm.owner, extra={"work_area": str(tmp_path), **twice})
    count = tmp_path / "count"
    batch = a_batch(slurm, 1, jobs=runs(f"open({str(count)!r}, 'a').write('x')"))
    backend.submit(batch, firsts(batch))
    assert ended(backend, batch, wait_for) == {}
    wait_for(lambda: alive(slurm, batch.group) == 0)
    assert count.read_text() == "x"
    assert len(backend.attempts(batch.group)) == 1
