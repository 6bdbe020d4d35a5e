from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import pytest

from hooks import metrics
from hooks.audit import audit_dir, write_act


def lines(folder: Path) -> list[dict[str, object]]:
    (file,) = folder.iterdir()
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_lines_are_appended_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESAP_AUDIT_DIR", str(tmp_path / "audit"))
    write_act("job.submit", "alice", "done", job=1, run="hello_world/uws-1")
    write_act("job.abort", "bob\n{}", "refused", job=1)
    first, second = lines(tmp_path / "audit")
    assert (first["user"], first["run"], first["outcome"]) == ("alice", "hello_world/uws-1", "done")
    assert (second["user"], second["act"]) == ("bob\n{}", "job.abort"), "nobody can forge a line"
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o700
    (file,) = (tmp_path / "audit").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_many_at_a_time_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESAP_AUDIT_DIR", str(tmp_path))

    def write_many(number: int) -> None:
        for _ in range(50):
            write_act("a", f"u{number}", "done")

    threads = [threading.Thread(target=write_many, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(tmp_path)) == 400


def test_what_cannot_be_written_is_said_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ESAP_AUDIT_DIR", str(tmp_path / "file"))
    with caplog.at_level(logging.ERROR):
        write_act("job.submit", "alice", "done", job=1)
    assert "alice" in caplog.text


def test_it_is_written_without_monitoring_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESAP_AUDIT_DIR", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_HOST", "statsd.invalid")
    monkeypatch.setattr(metrics, "_sender", metrics._Sender())
    write_act("job.submit", "alice", "done", job=1)
    assert lines(tmp_path)[0]["user"] == "alice"


def test_a_fault_of_counting_loses_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_labels: str) -> None:
        raise ValueError("labels")

    monkeypatch.setenv("ESAP_AUDIT_DIR", str(tmp_path))
    monkeypatch.setattr("hooks.audit.count", broken)
    with pytest.raises(ValueError, match="labels"):
        write_act("job.submit", "alice", "done", job=1)
    assert lines(tmp_path)[0]["user"] == "alice"


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ESAP_AUDIT_DIR", raising=False)
    monkeypatch.setenv("AIRFLOW_HOME", "/srv/airflow")
    assert audit_dir() == Path("/srv/airflow/audit")
