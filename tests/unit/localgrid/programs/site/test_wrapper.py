"""What the site reads from a JDL, and what a payload sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from localgrid.programs.site.records import Record
from localgrid.programs.site.wrapper import DEFAULT_LIMIT_S, Description, job_environment

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
