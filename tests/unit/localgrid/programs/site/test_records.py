"""What the site remembers, and the killing of left-over jobs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from localgrid.programs.site.records import Record, Records, kill_group, start_ticks


@pytest.fixture
def job() -> Iterator[subprocess.Popen[bytes]]:
    """A job with a child that outlives its leader."""
    process = subprocess.Popen(["sh", "-c", "sleep 600 & exec sleep 600"], start_new_session=True)
    deadline = time.monotonic() + 10
    while not psutil.Process(process.pid).children():
        assert time.monotonic() < deadline
    yield process
    process.kill()
    process.wait()


def record(pid: int, ticks: int) -> Record:
    return Record(7, "SITE", "ctao", "alice", "ctao_user", "", pid=pid, started_ticks=ticks)


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_the_whole_group_dies(job: subprocess.Popen[bytes]) -> None:
    child = psutil.Process(job.pid).children()[0]
    assert kill_group(record(job.pid, start_ticks(job.pid)))
    assert job.wait(10) == -9
    psutil.wait_procs([child], timeout=10)
    assert is_gone(child)


def test_a_child_dies_also_when_its_leader_is_gone(job: subprocess.Popen[bytes]) -> None:
    child, ticks = psutil.Process(job.pid).children()[0], start_ticks(job.pid)
    job.kill()
    job.wait()
    assert kill_group(record(job.pid, ticks))
    psutil.wait_procs([child], timeout=10)
    assert is_gone(child)


def test_another_process_with_the_same_id_is_spared(job: subprocess.Popen[bytes]) -> None:
    assert not kill_group(record(job.pid, start_ticks(job.pid) - 1))
    assert job.poll() is None


def test_nothing_to_kill(job: subprocess.Popen[bytes]) -> None:
    assert not kill_group(record(0, 0))
    assert start_ticks(2**22 + 1) == 0


def test_records_come_back_until_dropped(tmp_path: Path) -> None:
    kept = Records(tmp_path / "jobs")
    one = record(1, 2)
    kept.save(one)
    (kept.workdir(7) / "deep").mkdir(parents=True)
    assert list(Records(tmp_path / "jobs").load()) == [one]
    kept.drop(one)
    kept.drop(one)
    assert list((tmp_path / "jobs").iterdir()) == []
