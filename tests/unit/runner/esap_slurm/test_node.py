from __future__ import annotations

import errno
import json
import os
import shutil
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
    monkeypatch.setenv("TMPDIR", "/scratch")

    def full(**_options: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    assert node.run(area.folder, 0, 1) == 34
    report = json.loads(Path(area.out(8, 2), "job-report.json").read_text())
    assert (report["reason"], report["index"], report["attempt"]) == ("DISK_LIMIT", 8, 2)
    assert report["message"].startswith("the worker node's disk is full: ")
    assert "No space left" in report["message"]


def test_a_work_area_without_room_is_not_taken_for_the_nodes_disk(
    area: Area, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order(area)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def full(*_arguments: Any) -> int:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(node, "run_in", full)
    assert node.run(area.folder, 0, 1) == 34
    report = json.loads(Path(area.out(8, 2), "job-report.json").read_text())
    assert report["message"].startswith("the disk or the quota of the work area is full: ")


@pytest.fixture
def brought(tmp_path: Path) -> tuple[Path, Path]:
    """What a runner has left on a node, and the folder for it in the work area."""
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    out.mkdir()
    (scratch / "job-report.json").write_text("{}")
    (scratch / "payload.log").write_bytes(b"begin" + b"x" * node.LOG_KEPT)
    return scratch, out


def test_of_a_log_only_the_end_comes_back(brought: tuple[Path, Path]) -> None:
    scratch, out = brought
    assert node.bring_back(str(scratch), str(out))
    assert (out / "payload.log").read_bytes() == b"x" * node.LOG_KEPT


@pytest.mark.parametrize(
    ("missing", "comes", "left"), [("log", True, ["job-report.json"]), ("report", False, ["payload.log"])]
)
def test_a_full_work_area_loses_the_report_last_and_leaves_no_part(
    brought: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: str,
    comes: bool,
    left: list[str],
) -> None:
    scratch, out = brought
    asked: list[str] = []
    copy = shutil.copyfileobj

    def full(source: Any, target: Any) -> None:
        asked.append(Path(source.name).name)
        if missing in source.name:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfileobj", full)
    assert node.bring_back(str(scratch), str(out)) is comes
    assert asked == ["job-report.json", "payload.log"]
    assert [p.name for p in out.iterdir()] == left
    assert "cannot be copied to the work area: " in capsys.readouterr().err


def test_a_job_whose_log_finds_no_room_has_the_runners_exit_code(program: Path, area: Area) -> None:
    order(area, ends=0)
    Path(area.out(8, 2), "payload.log.part").mkdir(parents=True)
    process = started(program, area)
    assert process.wait() == 0
    assert "batch" in json.loads(Path(area.out(8, 2), "job-report.json").read_text())


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
