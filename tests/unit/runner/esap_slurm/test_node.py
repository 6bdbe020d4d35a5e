from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from hooks.site_programs import packed
from runner.esap_slurm import node
from runner.esap_slurm.folders import Area, write_json

PROGRAMS = Path(__file__).parents[4] / "runner"
# Stands for the runner: says what it got, and ends as it is told.
STAND_IN = """import json, os, signal, sys, time
batch = json.load(open("batch.json"))
open("payload.log", "w").write("log of " + os.environ["ESAP_SITE"])
if batch["waits"]:
    def ends(number, frame):
        with open("job-report.json", "w") as report:
            json.dump({"got": number}, report)
        os._exit(60)
    signal.signal(signal.SIGTERM, ends)
    open(batch["waits"], "w").close()
    time.sleep(60)
json.dump({"batch": batch, "arguments": sys.argv[1:]}, open("job-report.json", "w"))
sys.exit(batch["ends"])
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Pack the program as the service does, with a stand-in of the runner beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    archive = folder / "esap_slurm.pyz"
    archive.write_bytes(packed(PROGRAMS, "esap_slurm"))
    (folder / "esap_runner.pyz").write_text(STAND_IN)
    return archive


def order(area: Area, **batch: Any) -> None:
    jobs = [{"index": i, "limits": {"disk_mb": 1}} for i in (3, 8)]
    content = {"group": "esap-abc", "jobs": jobs, "ends": 0, "waits": "", **batch}
    write_json(area.path("0000.batch"), content)
    document = {"jobs": [[3, 1], [8, 2]], "scratch_env": "", "site": "main", "time": 0}
    write_json(area.path("0000.json"), document)
    area.orders()[0].accepted("12")


def started(program: Path, area: Area, array: str = "12") -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if k != "TMPDIR"}
    environment |= {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": "1"}
    command = [sys.executable, str(program), "run", area.folder, "0"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def test_a_task_runs_its_own_job_and_leaves_report_and_logs(program: Path, area: Area) -> None:
    order(area, ends=30)
    assert started(program, area).wait() == 30
    out = Path(area.out(8, 2))
    report = json.loads((out / "job-report.json").read_text())
    assert [job["index"] for job in report["batch"]["jobs"]] == [8]
    *arguments, stage = report["arguments"]
    assert arguments == ["--batch", "batch.json", "--index", "8", "--attempt", "2", "--stage"]
    assert stage == area.path("stages", "00008-02")
    assert Path(stage).parent.is_dir()
    assert (out / "payload.log").read_text() == "log of main"
    assert sorted(p.name for p in out.iterdir()) == ["job-report.json", "payload.log", "std.err", "std.out"]


def test_a_task_of_an_order_that_was_given_up_ends(program: Path, area: Area) -> None:
    order(area)
    area.orders()[0].drop()
    process = started(program, area)
    assert process.wait() == 1
    assert process.stderr is not None
    assert b"submitted twice, or given up" in process.stderr.read()


def test_a_second_array_of_an_order_does_not_run(program: Path, area: Area) -> None:
    order(area)
    assert started(program, area, array="13").wait() == 1
    assert not Path(area.path("jobs")).exists()


def test_a_signal_reaches_the_runner_and_its_report_comes_back(
    program: Path, area: Area, wait_for: Any
) -> None:
    runs = Path(area.path("runs"))
    order(area, waits=str(runs))
    process = started(program, area)
    wait_for(runs.exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 60
    assert json.loads(Path(area.out(8, 2), "job-report.json").read_text()) == {"got": signal.SIGTERM}


def test_an_array_whose_submission_broke_off_runs(area: Area, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "ID_TIMEOUT_S", 0.0)
    assert node.awaited_id(area.path("0000.id")) == ""


def test_an_id_that_is_written_a_little_later_is_waited_for(
    area: Area, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = area.path("0000.id")
    monkeypatch.setattr(time, "sleep", lambda _s: write_json(path, "12"))
    assert node.awaited_id(path) == "12"


def test_a_node_without_room_is_reported(area: Area, monkeypatch: pytest.MonkeyPatch) -> None:
    order(area)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")

    def full(**_options: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    assert node.run(area.folder, 0, 1) == 34
    report = json.loads(Path(area.out(8, 2), "job-report.json").read_text())
    assert (report["reason"], report["index"], report["attempt"]) == ("DISK_LIMIT", 8, 2)
    assert "No space left" in report["message"]


def test_other_faults_of_the_disk_are_not_taken_for_a_full_one(
    area: Area, monkeypatch: pytest.MonkeyPatch
) -> None:
    order(area)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")

    def broken(**_options: Any) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(tempfile, "mkdtemp", broken)
    with pytest.raises(OSError, match="Input/output error"):
        node.run(area.folder, 0, 1)
