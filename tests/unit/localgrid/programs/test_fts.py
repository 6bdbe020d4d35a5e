"""The stand-in of FTS, as a process, over HTTP."""

from __future__ import annotations

import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from localgrid.layout import PROJECT, pick_ports

DATA = b"photons" * 1000
FINAL = {"FINISHED", "FAILED", "CANCELED", "FINISHEDDIRTY"}


class Fts:
    def __init__(self, state: Path) -> None:
        self.state, self.port = state, pick_ports(["fts"])["fts"]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}")
        self.start()

    def start(self) -> None:
        program = [sys.executable, "-m", "localgrid.programs.fts", "--port", str(self.port)]
        program += ["--state", str(self.state), "--stage-delay", "0"]
        self.process = subprocess.Popen(program, cwd=PROJECT)
        wait(self.answers)

    def answers(self) -> bool:
        try:
            return self.client.get("/").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def submit(
        self, source: str, target: str, checksum: str = "", recall: bool = False, **params: object
    ) -> str:
        file = {"sources": [source], "destinations": [target], "checksum": checksum, "metadata": {"n": 1}}
        params = {"verify_checksum": "both", "bring_online": 10 if recall else None} | params
        answer = self.client.post("/jobs", json={"files": [file], "params": params})
        return str(answer.raise_for_status().json()["job_id"])

    def view(self, job: str) -> dict[str, Any]:
        view: dict[str, Any] = self.client.get(f"/jobs/{job}").json()[0]
        return view

    def end(self, job: str) -> dict[str, Any]:
        wait(lambda: self.view(job)["job_state"] in FINAL)
        return self.view(job)

    def control(self, **values: object) -> httpx.Response:
        return self.client.put("/_control", json=values)


def wait(condition: Callable[[], object], within: float = 20) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "still not true"
        time.sleep(0.02)


@pytest.fixture
def fts(tmp_path: Path) -> Iterator[Fts]:
    fts = Fts(tmp_path / "state")
    yield fts
    fts.kill()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "tape" / "a.fits"
    path.parent.mkdir()
    path.write_bytes(DATA)
    return path


def adler(data: bytes) -> str:
    return f"ADLER32:{zlib.adler32(data):08x}"


def test_a_copy_is_made_and_verified(fts: Fts, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "disk" / "deep" / "a.fits"
    end = fts.end(fts.submit(f"file://localhost{source}", f"file://localhost{target}", adler(DATA)))
    assert end["job_state"] == "FINISHED"
    assert target.read_bytes() == DATA
    assert [p.name for p in target.parent.iterdir()] == ["a.fits"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [("corrupt", "SOURCE CHECKSUM MISMATCH"), ("missing", "No such file"), ("occupied", "file exists")],
)
def test_a_bad_transfer_fails_with_its_reason(
    fts: Fts, source: Path, tmp_path: Path, change: str, reason: str
) -> None:
    target = tmp_path / "b.fits"
    if change == "corrupt":
        source.write_bytes(DATA[:-1] + b"!")
    elif change == "missing":
        source.unlink()
    else:
        target.write_text("other")
    end = fts.end(fts.submit(f"file://localhost{source}", f"file://localhost{target}", adler(DATA)))
    assert end["job_state"] == "FAILED"
    assert reason in end["files"][0]["reason"]
    assert not target.exists() or target.read_text() == "other"


def test_another_scheme_is_refused(fts: Fts, tmp_path: Path) -> None:
    end = fts.end(fts.submit("root://host//a", f"file://{tmp_path}/b"))
    assert "not supported" in end["files"][0]["reason"]


def test_a_declared_fault_and_its_end(fts: Fts, source: Path, tmp_path: Path) -> None:
    fts.control(fail={"a.fits": "tape is torn"})
    ask = (f"file://localhost{source}", f"file://localhost{tmp_path}/c.fits", adler(DATA))
    assert fts.end(fts.submit(*ask, recall=True))["files"][0]["reason"] == "tape is torn"
    fts.control(fail={})
    assert fts.end(fts.submit(*ask, recall=True))["job_state"] == "FINISHED"


def test_a_recall_held_back_can_be_cancelled_and_survives_a_kill(
    fts: Fts, source: Path, tmp_path: Path
) -> None:
    fts.control(hold=True)
    kept, cancelled = tmp_path / "kept.fits", tmp_path / "cancelled.fits"
    first = fts.submit(f"file://localhost{source}", f"file://localhost{kept}", adler(DATA), recall=True)
    second = fts.submit(f"file://localhost{source}", f"file://localhost{cancelled}", adler(DATA), recall=True)
    wait(lambda: fts.view(first)["files"][0]["file_state"] == "STARTED")
    assert fts.client.delete(f"/jobs/{second}").json()["job_state"] == "CANCELED"
    assert not kept.exists()
    fts.kill()
    fts.start()
    assert fts.end(first)["job_state"] == "FINISHED"
    assert kept.read_bytes() == DATA
    assert fts.view(second)["job_state"] == "CANCELED"
    assert not cancelled.exists()


def test_unknown_things_are_refused(fts: Fts) -> None:
    assert fts.view("no-such-job")["http_status"] == "404 Not Found"
    answer = fts.control(stage_dealy=3)
    assert answer.status_code == 400
    assert "stage_delay" in answer.json()["message"]
