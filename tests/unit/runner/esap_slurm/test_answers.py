from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from runner.esap_slurm import answers
from runner.esap_slurm.answers import KEPT_S, answer
from runner.esap_slurm.folders import Area, write_json
from tests.unit.runner.esap_slurm.conftest import Says


@pytest.fixture
def ask(area: Area) -> Any:
    who = {"work_area": str(Path(area.owner_folder).parent), "owner": "alice"}
    return lambda what, **more: answer({"ask": what, **who, **more})


@pytest.fixture
def ended(says: Says, area: Area) -> None:
    """A batch of two jobs, one done, one failed."""
    says("squeue", "12|0|COMPLETED|None\n12|1|FAILED|NonZeroExitCode\n")
    write_json(area.path("0000.batch"), {"jobs": []})
    write_json(area.path("0000.json"), {"jobs": [[0, 1], [7, 2]], "time": time.time()})
    ids = Path(area.owner_folder, "ids")
    ids.mkdir()
    (ids / "12").symlink_to(area.path("0000.json"))
    area.orders()[0].accepted("12")
    folder = Path(area.out(7, 2))
    folder.mkdir(parents=True)
    (folder / "job-report.json").write_text('{"index": 7}')
    (folder / "std.out").write_text("said\n")
    Path(area.path("slurm-0000-1.out")).write_text("slurmd: hm\n")


def names(*parts: str) -> list[str]:
    return sorted(path.name for path in Path(*parts).iterdir())


def test_jobs_are_counted_by_slurms_words(ended: None, ask: Any) -> None:
    assert ask("counts", groups=["esap-abc", "esap-none"]) == {
        "answer": {
            "esap-abc": {"states": {"COMPLETED": 1, "FAILED": 1}, "stages": {}},
            "esap-none": {"states": {}, "stages": {}},
        }
    }


def test_attempts_name_job_and_attempt(ended: None, ask: Any) -> None:
    assert ask("attempts", group="esap-abc")["answer"] == [
        ["12_0", 0, 1, "COMPLETED", ""],
        ["12_1", 7, 2, "FAILED", "NonZeroExitCode"],
    ]


def test_reports_and_logs_are_found_by_slurms_id(ended: None, ask: Any) -> None:
    jobs = ["12_0", "12_1", "99_0", "12", "../etc_0", "12_x"]
    assert ask("reports", jobs=jobs) == {"answer": {"12_1": {"index": 7}}}
    assert ask("logs", job="12_1") == {"answer": {"slurm-0000-1.out": "slurmd: hm\n", "std.out": "said\n"}}
    assert ask("logs", job="99_0") == {"answer": {}}


def test_logs_of_the_ten_thousandth_order_are_found(ended: None, ask: Any, area: Area) -> None:
    write_json(area.path("10000.json"), {"jobs": [[7, 3]], "time": time.time()})
    Path(area.owner_folder, "ids", "13").symlink_to(area.path("10000.json"))
    Path(area.path("slurm-10000-0.out")).write_text("hm\n")
    assert ask("logs", job="13_0") == {"answer": {"slurm-10000-0.out": "hm\n"}}


def test_cleaning_up_keeps_what_became_of_the_jobs(ended: None, ask: Any, says: Says, area: Area) -> None:
    before = ask("attempts", group="esap-abc")
    assert ask("clean_up", group="esap-abc") == {"answer": 2}
    says("squeue")
    assert ask("attempts", group="esap-abc") == before
    assert ask("reports", jobs=["12_1"]) == {"answer": {}}
    assert names(area.folder) == ["0000.id", "0000.json", "jobs", "states.json"]
    assert ask("clean_up", group="esap-abc") == {"answer": 0}


def test_a_batch_that_runs_is_not_cleaned_up(ended: None, ask: Any, says: Says) -> None:
    says("squeue", "12|0|RUNNING|None\n12|1|FAILED|NonZeroExitCode\n")
    assert ask("clean_up", group="esap-abc")["error"] == {
        "kind": "refused",
        "message": "some of its jobs have not ended",
    }


def test_old_batches_are_forgotten(ended: None, ask: Any, area: Area) -> None:
    old = Path(area.owner_folder, "esap-old")
    old.mkdir()
    os.utime(old, (time.time() - KEPT_S - 60,) * 2)
    Path(area.owner_folder, "ids", "1").symlink_to(old / "0000.json")
    ask("clean_up", group="esap-abc")
    assert not old.exists()
    assert names(area.owner_folder, "ids") == ["12"]


def test_only_what_has_not_ended_is_cancelled(ended: None, ask: Any, says: Says) -> None:
    log = says("scancel")
    assert ask("cancel", group="esap-abc") == {"answer": 0}
    assert not log.exists()


def test_load_counts_everybodys_jobs(ask: Any, says: Says) -> None:
    says("squeue", "PENDING\nPENDING\nRUNNING\n")
    says("sacct", "COMPLETED\nCANCELLED by 0\nFAILED\n")
    assert ask("load", site="main", recent_s=3600)["answer"] == {
        "queue": {"PENDING": 2, "RUNNING": 1},
        "ended": {"COMPLETED": 1, "CANCELLED": 1, "FAILED": 1},
    }


@pytest.mark.parametrize(
    ("code", "said"), [(errno.EDQUOT, "quota of the work area is full"), (errno.EIO, "")]
)
def test_a_fault_of_the_disk_is_told(monkeypatch: pytest.MonkeyPatch, code: int, said: str) -> None:
    def fails(_question: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setitem(answers.ANSWERS, "hello", fails)
    error = answer({"ask": "hello"})["error"]
    assert error["kind"] == "unavailable"
    assert said in error["message"]
    assert os.strerror(code) in error["message"]


def test_answers_are_json(ended: None, ask: Any) -> None:
    assert json.loads(json.dumps(ask("counts", groups=["esap-abc"])))
