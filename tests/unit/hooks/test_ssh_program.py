from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection

from hooks.errors import BackendRefused, BackendUnavailable, RefusedForGood
from hooks.settings import runner_dir
from hooks.slurm_ssh import SlurmSsh
from hooks.ssh_program import SshProgram, SshSettings

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS"


def connection(**changed: Any) -> Connection:
    extra = {"host_key": HOST_KEY, **changed.pop("extra", {})}
    known = {"conn_type": "ssh", "host": "login.example.org", "login": "esap", **changed}
    return Connection(conn_id="slurm", extra=json.dumps(extra), **known)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    (tmp_path / "alice").write_text("key")
    return tmp_path


def test_a_connection_says_how_to_reach_the_site(keys: Path) -> None:
    found = SshSettings.of(connection(extra={"keys_dir": str(keys), "work_area": "/lustre/esap"}), "alice")
    assert found.address == "esap@login.example.org:22"
    assert (found.key_file, found.work_area, found.python) == (keys / "alice", "/lustre/esap", "python3")


def test_without_a_login_each_user_has_their_own(keys: Path) -> None:
    at = connection(login=None, port=2222, extra={"keys_dir": str(keys)})
    assert SshSettings.of(at, "alice").address == "alice@login.example.org:2222"


def test_a_key_may_serve_all(keys: Path) -> None:
    assert (
        SshSettings.of(connection(extra={"key_file": str(keys / "alice")}), "bob").key_file == keys / "alice"
    )


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"host_key": ""}, "connection slurm has no extra host_key"),
        ({}, "connection slurm: neither keys_dir nor key_file"),
        ({"keys_dir": "/nowhere"}, "no SSH key of user 'bob' here"),
    ],
)
def test_what_is_missing_is_named(extra: dict[str, str], said: str) -> None:
    with pytest.raises(RefusedForGood, match=said):
        SshSettings.of(connection(extra=extra), "bob")


class Scripted(SshProgram):
    """Answers from a list instead of over a connection."""

    def __init__(self, *answers: tuple[int, bytes, bytes]) -> None:
        at = SshSettings("host", 22, "esap", HOST_KEY, Path("key"), "work")
        super().__init__(at, runner_dir(), "esap_slurm", "esap_runner")
        self.answers, self.installed = list(answers), 0

    def _run(self, text: bytes, within: float) -> tuple[int, bytes, bytes]:
        return self.answers.pop(0)

    def _install(self) -> None:
        self.installed += 1


def test_the_program_is_installed_where_it_is_missing() -> None:
    site = Scripted((2, b"", b"can't open file"), (0, b'{"answer": 7}', b""))
    assert site.ask({"ask": "hello"}) == 7
    assert site.installed == 1


class Hanging(contextlib.AbstractContextManager["Hanging"]):
    """A login node that takes commands and says nothing."""

    def __init__(self) -> None:
        self.limit = 0.0

    def __exit__(self, *_error: object) -> None:
        """Hang up."""

    def open_session(self, timeout: float) -> Hanging:
        return self

    def settimeout(self, seconds: float) -> None:
        self.limit = seconds

    def exec_command(self, command: str) -> None:
        """Take it."""

    def sendall(self, text: bytes) -> None:
        """Take it."""

    def shutdown_write(self) -> None:
        """Take it."""

    def recv(self, _size: int) -> bytes:
        raise TimeoutError(f"nothing for {self.limit:g} s")


@pytest.mark.parametrize(("ask", "limit"), [("counts", 60), ("attempts", 300)])
def test_a_poll_bears_less_with_a_node_that_hangs(
    monkeypatch: pytest.MonkeyPatch, ask: str, limit: int
) -> None:
    at = SshSettings("host", 22, "esap", HOST_KEY, Path("key"), "work")
    slurm = SlurmSsh(at, "alice", runner_dir())
    monkeypatch.setattr(slurm.site, "_connected", Hanging)
    with pytest.raises(BackendUnavailable, match=f"nothing for {limit} s"):
        getattr(slurm, ask)("esap-abc")


class Disk:
    """A site's disk, as SFTP shows it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open_sftp_client(self) -> Any:
        return contextlib.nullcontext(self)

    def stat(self, path: str) -> Any:
        return (self.root / path).stat()

    def mkdir(self, path: str) -> None:
        (self.root / path).mkdir()

    def putfo(self, stream: Any, path: str) -> None:
        (self.root / path).write_bytes(stream.read())

    def posix_rename(self, path: str, name: str) -> None:
        (self.root / path).rename(self.root / name)


def test_programs_are_put_into_a_work_area_that_is_there_and_into_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    area = tmp_path / "esap" / "work"
    at = SshSettings("host", 22, "esap", HOST_KEY, Path("key"), str(area))
    site = SshProgram(at, runner_dir(), "esap_slurm", "esap_runner")
    monkeypatch.setattr(site, "_connected", lambda: Disk(tmp_path))
    with pytest.raises(BackendUnavailable, match=r"work area .*/esap/work is not there: is the disk mounted"):
        site._install()
    assert list(tmp_path.iterdir()) == []
    area.mkdir(parents=True)
    for _ in range(2):
        site._install()
    assert {p.name for p in (area / "bin").glob("*/*")} == {"esap_slurm.pyz", "esap_runner.pyz"}


def test_a_work_area_in_the_home_directory_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = SshSettings("host", 22, "", HOST_KEY, Path("key"), "esap/work")
    site = SshProgram(at, runner_dir(), "esap_slurm", "esap_runner")
    monkeypatch.setattr(site, "_connected", lambda: Disk(tmp_path))
    site._install()
    placed = {p.name for p in (tmp_path / "esap" / "work" / "bin").glob("*/*")}
    assert placed == {"esap_slurm.pyz", "esap_runner.pyz"}


@pytest.mark.parametrize(
    ("kind", "error"),
    [("unavailable", BackendUnavailable), ("refused", BackendRefused), ("refused_for_good", RefusedForGood)],
)
def test_errors_keep_their_kind_and_words(kind: str, error: type[Exception]) -> None:
    said = json.dumps({"error": {"kind": kind, "message": "no such partition"}}).encode()
    with pytest.raises(error, match=r"esap_slurm at esap@host:22 .*no such partition"):
        Scripted((0, said, b"")).ask({})


def test_words_that_are_no_answer_are_shown() -> None:
    with pytest.raises(BackendUnavailable, match="python3: command not found"):
        Scripted((127, b"", b"sh: python3: command not found\n")).ask({})
    with pytest.raises(BackendUnavailable, match="nothing, and ended with 137"):
        Scripted((137, b"", b"")).ask({})


def test_a_new_version_has_a_folder_of_its_own(tmp_path: Path) -> None:
    for name in ("esap_slurm", "esap_runner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "program.py").write_text("1")
    at = SshSettings("host", 22, "esap", HOST_KEY, Path("key"), "work")

    def place() -> str:
        return SshProgram(at, tmp_path, "esap_slurm", "esap_runner")._place("x")

    first = place()
    assert first == place()
    (tmp_path / "esap_runner" / "program.py").write_text("2")
    assert place() != first
