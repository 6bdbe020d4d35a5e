from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow.sdk import Connection

from esap_batch.jobs import Batch, JobState
from hooks import dirac_wms
from hooks.dirac_wms import STATES, DiracSettings, jdl, state_of
from hooks.errors import BackendRefused, BackendUnavailable, RefusedForGood

SANDBOX = "SB:SandboxSE|/S3/sandboxes/sha256:0123abcd.tar.zst"


def test_every_status_of_diracs_state_machine_is_mapped() -> None:
    from diracx.core.models import JobStatus

    assert {str(s.value) for s in JobStatus} <= set(STATES)


def test_an_unknown_status_never_ends_a_job() -> None:
    assert state_of("Celebrating") is JobState.RUNNING


def test_only_done_is_success() -> None:
    assert [s for s, state in STATES.items() if state is JobState.DONE] == ["Done"]


def test_a_jdl_names_the_job_uniquely_and_carries_no_command_line() -> None:
    text = jdl(Batch("esap-abc", (), site="ESAP.LaPalma.local", job_type="Test"), 7, 2, 600, SANDBOX)
    assert 'JobName = "esap-abc-00007-02";' in text
    assert 'JobGroup = "esap-abc";' in text
    assert 'Site = "ESAP.LaPalma.local";' in text
    assert 'Arguments = "--batch batch.json --index 7 --attempt 2";' in text
    assert f'InputSandbox = {{"{SANDBOX}"}};' in text
    assert "CPUTime = 1200;" in text  # the payload's limit and what the runner needs around it


@pytest.mark.parametrize("site", ["a[b", "a;b", 'a"b', "a\nb", "a\\b"])
def test_what_would_change_or_freeze_the_jdl_parser_is_refused(site: str) -> None:
    with pytest.raises(ValueError, match="JDL value"):
        jdl(Batch("g", (), site=site), 0, 1, 60, SANDBOX)


def test_a_user_without_credentials_is_refused_by_name(tmp_path: Path) -> None:
    extra = json.dumps({"credentials_dir": str(tmp_path)})
    connection = Connection(conn_id="d", conn_type="http", host="http://h", extra=extra)
    with pytest.raises(RefusedForGood, match="no credentials of DIRAC user 'mallory'"):
        DiracSettings.of(connection, "mallory")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, RefusedForGood),
        (403, RefusedForGood),
        (404, BackendRefused),
        (422, BackendRefused),
        (429, BackendUnavailable),
        (500, BackendUnavailable),
        (503, BackendUnavailable),
    ],
)
def test_an_answer_of_http_says_whether_another_try_helps(status: int, kind: type) -> None:
    assert dirac_wms._kind_of(status) is kind
