"""What the site reads from a JDL, and what a payload sees."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from localgrid.programs.site import wrapper
from localgrid.programs.site.access import RefusedError
from localgrid.programs.site.records import Record, Records
from localgrid.programs.site.reporter import Step
from localgrid.programs.site.wrapper import DEFAULT_LIMIT_S, STAGE, Description, Wrapper, job_environment

JDL = """[
    Executable = "run.sh"; Arguments = "--index 3 'two words'"; StdOutput = "out.txt"; StdError = "err.txt";
    InputSandbox = {"SB:S|/S3/a"}; OutputSandbox = {"out.txt","job-report.json"}; CPUTime = 600; Site = "X";
]"""


def test_a_jdl_is_read() -> None:
    assert Description.parse(JDL) == Description(
        executable="run.sh",
        arguments=("--index", "3", "two words"),
        stdout="out.txt",
        stderr="err.txt",
        inputs=("SB:S|/S3/a",),
        outputs=("out.txt", "job-report.json"),
        limit_s=600,
    )


def test_defaults() -> None:
    read = Description.parse('[Executable = "true";]')
    assert (read.stdout, read.stderr, read.limit_s) == ("std.out", "std.err", DEFAULT_LIMIT_S)
    assert read.arguments == read.inputs == read.outputs == ()


def test_unbalanced_quotes_are_an_error() -> None:
    with pytest.raises(ValueError, match="quotation"):
        Description.parse("""[Executable = "true"; Arguments = "it's";]""")


def test_the_payload_sees_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIRACX_SERVICE_AUTH_STATE_KEY", "secret")
    record = Record(5, "ESAP.CSCS.local", "ctao", "alice", "ctao_user", "")
    seen = job_environment(record, Path("/job"), Path("/software"))
    assert seen["DIRAC_SITE"] == seen["DIRACSITE"] == "ESAP.CSCS.local"
    assert seen["VO_CTAO_SW_DIR"] == "/software"
    assert seen["JOBID"] == "5"
    assert set(seen) == {
        *("PATH", "HOME", "TMPDIR", "LANG", "JOBID", "DIRACSITE", "DIRAC_SITE", "VO_CTAO_SW_DIR"),
        "ESAP_IMAGE_CACHE",
    }


class Reporter:
    """Takes what is reported; the job changes its stage after each report, and is gone after the last."""

    def __init__(self, path: Path, *stages: str) -> None:
        self.path, self.stages = path, list(stages)
        self.told: list[Step] = []
        self.turn()

    def turn(self) -> None:
        if stage := self.stages.pop(0):
            self.path.write_text(stage)
        else:
            self.path.unlink()

    async def report(self, _job_id: int, step: Step) -> str:
        self.told.append(step)
        if not self.stages:
            raise RefusedError("no such job")
        self.turn()
        return "Running"


def test_the_stage_of_a_payload_is_reported_as_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wrapper, "STAGE_S", 0.001)
    records = Records(tmp_path)
    records.workdir(5).mkdir(parents=True)
    reporter: Any = Reporter(records.workdir(5) / STAGE, "fetching", "", "x" * 300)
    nobody: Any = None
    asyncio.run(Wrapper(nobody, reporter, records, tmp_path, tmp_path)._tell_stage(5))
    told = [step.body() for step in reporter.told]
    assert [step.pop("ApplicationStatus") for step in told] == ["fetching", "moves no files", "x" * 200]
    assert told == [{"Source": "JobWrapper"}] * 3
