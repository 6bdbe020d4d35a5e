from __future__ import annotations

import asyncio
import gc
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import zstandard
from airflow.sdk import Connection

from esap_batch.jobs import Attempt, Batch, JobState, Limits
from esap_batch.stages import Moves
from hooks import dirac_wms
from hooks.broker import LoginNeeded, Token
from hooks.dirac_wms import STATES, DiracSettings, DiracWms, Purse, jdl, state_of
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
    text = jdl(Batch("esap-abc", (), site="ESAP.LaPalma.local", job_type="Test"), 7, 2, Limits(600), SANDBOX)
    assert 'JobName = "esap-abc-00007-02";' in text
    assert 'JobGroup = "esap-abc";' in text
    assert 'Site = "ESAP.LaPalma.local";' in text
    assert 'Arguments = "--batch batch.json --index 7 --attempt 2";' in text
    assert f'InputSandbox = {{"{SANDBOX}"}};' in text
    assert "CPUTime = 1200;" in text  # the payload's limit and what the runner needs around it
    assert "NumberOfProcessors" not in text


def test_a_job_of_many_cores_asks_for_them() -> None:
    assert "\nNumberOfProcessors = 4;" in jdl(Batch("g", ()), 0, 1, Limits(cores=4), SANDBOX)


@pytest.mark.parametrize("site", ["a[b", "a;b", 'a"b', "a\nb", "a\\b"])
def test_what_would_change_or_freeze_the_jdl_parser_is_refused(site: str) -> None:
    with pytest.raises(ValueError, match="JDL value"):
        jdl(Batch("g", (), site=site), 0, 1, Limits(60), SANDBOX)


def test_a_user_without_credentials_is_refused_by_name(tmp_path: Path) -> None:
    extra = json.dumps({"credentials_dir": str(tmp_path)})
    connection = Connection(conn_id="d", conn_type="http", host="http://h", extra=extra)
    with pytest.raises(RefusedForGood, match="no credentials of DIRAC user 'mallory'"):
        DiracSettings.of(connection, "mallory")


TOKEN = Token("the-token", 4_000_000_000.0, 3_999_999_000.0)
LOST = LoginNeeded("dirac:d", "alice", "it was revoked", "http://p/credentials")


class FakeBroker:
    """Gives each user's token, or raises what stands in its place."""

    page = "http://p/credentials"

    def __init__(self, **tokens: Token | LoginNeeded) -> None:
        self.tokens = tokens

    def token(self, system: str, user: str) -> Token | None:
        assert system == "dirac:d"
        found = self.tokens.get(user)
        if isinstance(found, LoginNeeded):
            raise found
        return found


def wms_of(broker: FakeBroker, user: str, closing: bool = False, **extra: Any) -> DiracWms:
    connection = Connection(conn_id="d", conn_type="http", host="http://h", extra=json.dumps(extra))
    settings = DiracSettings.of(connection, f"{user}-at-dirac", user, broker)  # type: ignore[arg-type]
    return DiracWms(replace(settings, closing=closing), Path("runner.py"))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for user in ("alice", "bob"):
        (tmp_path / f"{user}-at-dirac.json").write_text("{}")
    return tmp_path


def test_a_users_own_token_comes_before_the_services(files: Path) -> None:
    broker = FakeBroker(alice=TOKEN)
    wms = wms_of(broker, "alice", credentials_dir=str(files))
    own = wms._credentials
    held = json.loads(own.read_text())
    assert held == {"access_token": "the-token", "refresh_token": "", "expires_on": 4_000_000_000}
    assert not str(own.resolve()).startswith(str(files))
    assert wms_of(broker, "bob", credentials_dir=str(files))._credentials == files / "bob-at-dirac.json"


def test_a_login_that_has_ended_is_not_passed_over(files: Path) -> None:
    broker = FakeBroker(alice=LOST)
    with pytest.raises(LoginNeeded):
        _ = wms_of(broker, "alice", credentials_dir=str(files))._credentials
    closing = wms_of(broker, "alice", closing=True, credentials_dir=str(files))
    assert closing._credentials == files / "alice-at-dirac.json"


def test_where_users_must_connect_nothing_else_serves(files: Path) -> None:
    broker = FakeBroker(alice=TOKEN, carol=LOST)
    extra: dict[str, Any] = {"credentials": "broker", "credentials_dir": str(files)}
    wms = wms_of(broker, "alice", **extra)
    assert "the-token" in wms._credentials.read_text()
    with pytest.raises(LoginNeeded, match="nothing is connected") as refusal:
        _ = wms_of(broker, "bob", **extra)._credentials
    assert refusal.value.required
    with pytest.raises(LoginNeeded):
        _ = wms_of(broker, "carol", closing=True, **extra)._credentials


def test_where_the_service_has_none_of_a_user_they_must_connect(tmp_path: Path) -> None:
    wms = wms_of(FakeBroker(alice=TOKEN), "bob", credentials_dir=str(tmp_path))
    with pytest.raises(LoginNeeded, match="bob must log in"):
        _ = wms._credentials


@pytest.mark.parametrize("kind", ["broker", "both"])
def test_settings_that_cannot_work_are_refused(kind: str) -> None:
    extra = json.dumps({"credentials": kind})
    connection = Connection(conn_id="d", conn_type="http", host="http://h", extra=extra)
    with pytest.raises(RefusedForGood, match=f"credentials = '{kind}'"):
        DiracSettings.of(connection, "alice")


def test_a_purse_holds_one_token_and_leaves_no_file_behind() -> None:
    purse = Purse()
    first = purse.hold(replace(TOKEN, secret="a much longer token than the one that comes after it"))
    assert purse.hold(TOKEN) == first
    assert json.loads(first.read_text())["access_token"] == "the-token"
    del purse
    gc.collect()
    assert not first.exists()


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


def sandbox(report: dict[str, Any]) -> bytes:
    content, stream = json.dumps(report).encode(), io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo("job-report.json")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return zstandard.ZstdCompressor().compress(stream.getvalue())


def test_a_lost_or_damaged_sandbox_takes_no_other_report_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store has lost, or spoilt, what DIRAC still knows; an error of the store is no such thing."""

    async def named(job_id: int, _kind: str) -> list[str]:
        return [str(job_id)]

    async def placed(pfn: str) -> SimpleNamespace:
        return SimpleNamespace(url=f"http://store/{pfn}")

    def answer(request: httpx2.Request) -> httpx2.Response:
        status = {"/8": 404, "/9": 503}.get(request.url.path, 200)
        whole = sandbox({"reason": "OK"})
        content = {"/5": whole[: len(whole) // 2], "/6": zstandard.compress(b"no tar")}
        return httpx2.Response(status, content=content.get(request.url.path, whole))

    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", lambda **_: httpx2.MockTransport(answer))
    client: Any = SimpleNamespace(jobs=SimpleNamespace(get_job_sandbox=named, get_sandbox_file=placed))
    five, six, seven, eight, nine = (Attempt(n, 0, 1, JobState.DONE) for n in "56789")
    found = asyncio.run(dirac_wms._fetch_reports(client, [five, six, seven, eight]))
    assert found == {"7": {"reason": "OK"}}
    with pytest.raises(httpx2.HTTPStatusError):
        asyncio.run(dirac_wms._fetch_reports(client, [seven, nine]))


def test_counts_say_which_files_running_jobs_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    fetching = "fetching inputs: 0 of 2 files, 10 of 40 bytes"
    rows = [("Running", fetching, 3), ("Running", "fetching inputs: 1 of 2 files, 20 of 40 bytes", 1),
            ("Running", "Unknown", 2), ("Killed", fetching, 1), ("Waiting", None, 4)]  # fmt: skip

    def summary(**question: Any) -> list[dict[str, Any]]:
        asked.append(question)
        return [
            {"JobGroup": "g", "Status": s, "ApplicationStatus": application, "count": n}
            for s, application, n in rows
        ]

    client = SimpleNamespace(jobs=SimpleNamespace(summary=summary))
    monkeypatch.setattr(DiracWms, "_client", client)
    counts = DiracWms(DiracSettings("http://dirac", tmp_path / "alice.json"), tmp_path).counts(["g", "h"])
    assert counts == {
        "g": {JobState.RUNNING: 6, JobState.CANCELLED: 1, JobState.QUEUED: 4},
        "h": {},
    }
    assert counts["g"].stages == {"fetching inputs": Moves(4, 1, 8, 50, 160)}
    assert len(asked) == 1


def test_of_a_double_submission_only_the_one_that_stands_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later one was killed, but DIRAC lists it still, behind the other."""
    rows = [{"JobID": 7, "JobName": "g-00000-01", "Status": "Running"},
            {"JobID": 8, "JobName": "g-00001-01", "Status": "Running"},
            {"JobID": 10, "JobName": "g-00000-01", "Status": "Killed"}]  # fmt: skip
    killed: list[str] = []
    monkeypatch.setattr(DiracWms, "_search", lambda *_: rows)
    monkeypatch.setattr(
        DiracWms, "_kill", lambda _self, _group, found, _why: killed.extend(a.job_id for a in found)
    )
    wms = DiracWms(DiracSettings("http://dirac", tmp_path / "alice.json"), tmp_path)
    assert [(a.job_id, a.state) for a in wms.attempts("g")] == [
        ("7", JobState.RUNNING),
        ("8", JobState.RUNNING),
    ]
    rows[2]["Status"] = "Running"
    assert len(wms.attempts("g")) == 2
    assert wms.cancel("g") == 3
    assert killed == ["7", "8", "10"]


class Service:
    """DiracX's rule on statuses: one that is older than the job's last counts for nothing, without a word."""

    def __init__(self, ahead: dict[int, timedelta]) -> None:
        now = datetime.now(UTC)
        self.rows = [{"JobID": n, "JobName": f"g-{n:05d}-01", "Status": "Running"} for n in ahead]
        self.last = {str(n): now + by for n, by in ahead.items()}
        self.asked: list[list[str]] = []

    def set_job_statuses(self, changes: dict[str, dict[str, dict[str, str]]]) -> None:
        self.asked.append(sorted(changes))
        for row in self.rows:
            for when, change in changes.get(str(row["JobID"]), {}).items():
                if datetime.fromisoformat(when) >= self.last[str(row["JobID"])]:
                    row["Status"] = change["Status"]


@pytest.fixture
def killing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Service], DiracWms]:
    def made(service: Service) -> DiracWms:
        monkeypatch.setattr(DiracWms, "_client", SimpleNamespace(jobs=service))
        monkeypatch.setattr(DiracWms, "_search", lambda *_: service.rows)
        return DiracWms(DiracSettings("http://dirac", tmp_path / "alice.json"), tmp_path)

    return made


def test_jobs_are_killed_whatever_the_clocks_of_their_nodes_say(
    killing: Callable[[Service], DiracWms],
) -> None:
    service = Service({7: timedelta(0), 8: timedelta(minutes=3), 9: timedelta(hours=2)})
    assert killing(service).cancel("g") == 3
    assert {row["Status"] for row in service.rows} == {"Killed"}
    assert service.asked == [["7", "8", "9"], ["8", "9"], ["8", "9"], ["9"]]


def test_a_kill_that_does_nothing_is_told(killing: Callable[[Service], DiracWms]) -> None:
    service = Service({7: timedelta(0), 8: timedelta(days=3)})
    with pytest.raises(BackendUnavailable, match="1 jobs are not killed yet"):
        killing(service).cancel("g")
    assert [row["Status"] for row in service.rows] == ["Killed", "Running"]
