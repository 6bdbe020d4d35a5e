"""A worker node for the runner: a job directory, a software area, a storage element, a clean environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hooks.site_programs import file_name, packed

PROJECT = Path(__file__).parents[3]
RUNNER = "esap_runner"
GROUP = "esap-0123456789abcdef0123456789a"
DEADLINE_S = 60.0
PATH = os.pathsep.join([os.environ["PATH"], str(PROJECT / ".envs" / "apptainer" / "bin")])

Json = dict[str, Any]
HOG = "x = [bytearray(b'x') * 2**24 for _ in range({mb} // 16)]; import time; time.sleep(300)"


def sh(script: str) -> list[str]:
    """Give the command of a shell script."""
    return ["sh", "-c", script]


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Poll a condition until it holds; give what it gave."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {DEADLINE_S:g} s: {what}")


def adler32(content: bytes) -> str:
    return f"{zlib.adler32(content) & 0xFFFFFFFF:08x}"


def is_alive(pid: int) -> bool:
    """True for a process that runs; one that is dead and not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@dataclass
class Outcome:
    """What a run of the runner has left."""

    code: int
    report: Json
    stdout: str


@dataclass
class Node:
    """A worker node, and the batch that runs there."""

    root: Path
    runner: Path
    environment: dict[str, str]
    runtime: Json = field(default_factory=lambda: {"type": "plain", "software_root_env": "VO_CTAO_SW_DIR"})
    software: list[Json] = field(default_factory=lambda: [{"name": "esap-noop", "version": "0.1.0"}])
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def directory(self) -> Path:
        return self.root / "job"

    @property
    def storage(self) -> Path:
        return self.root / "storage"

    def output(self, name: str, validator: list[str] | None = None) -> Json:
        """Describe an output with its place on the storage element."""
        pfn = f"file://{self.storage}/ctao/esap/{name}"
        return {"name": name, "lfn": f"/ctao/esap/{name}", "validator": validator or [], "pfn": pfn}

    def stored(self, name: str) -> Path:
        return self.storage / "ctao" / "esap" / name

    def job(self, command: list[str], **changes: Any) -> Json:
        """Describe a job."""
        limits = {"wall_time_s": 60, "memory_mb": 400, "disk_mb": 200} | changes.pop("limits", {})
        empty: Json = {"files": {}, "inputs": [], "outputs": [], "environment": {}}
        return {"index": 3, "command": command, "limits": limits, **empty, **changes}

    def noop(self, behaviour: str, outputs: tuple[str, ...] = ("hello.json",), **changes: Any) -> Json:
        """Describe a job of the no-op payload."""
        config = {"behaviour": behaviour, "outputs": list(outputs), **changes.pop("config", {})}
        described = [self.output(name, ["esap-noop", "validate", name]) for name in outputs]
        command = ["esap-noop", "run", "--config", "config.json"]
        return self.job(command, **{"files": {"config.json": config}, "outputs": described, **changes})

    def document(self, job: Json) -> Json:
        return {
            "schema": 1,
            "group": GROUP,
            "runtime": self.runtime,
            "software": self.software,
            "jobs": [{"index": 2}, job],
        }

    def start(
        self, job: Json | None, *, attempt: int = 1, document: Any = None, more: list[str] | None = None
    ) -> subprocess.Popen[str]:
        """Start the runner for a job, or for a whole document."""
        self.directory.mkdir(exist_ok=True)
        content = document if document is not None else self.document(job or {})
        text = content if isinstance(content, str) else json.dumps(content)
        (self.directory / "batch.json").write_text(text)
        arguments = ["--batch", "batch.json", "--index", "3", "--attempt", str(attempt)]
        return self.start_with([*arguments, *(more or ())])

    def start_with(self, arguments: list[str]) -> subprocess.Popen[str]:
        self.directory.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, str(self.runner), *arguments],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen[str]) -> Outcome:
        """Wait for the runner and read its report."""
        stdout, _ = process.communicate(timeout=DEADLINE_S)
        report = json.loads((self.directory / "job-report.json").read_text())
        assert report["exit_code"] == process.returncode, stdout
        return Outcome(process.returncode, report, stdout)

    def run(self, job: Json | None, *, attempt: int = 1, document: Any = None) -> Outcome:
        return self.finish(self.start(job, attempt=attempt, document=document))

    def give(self, name: str, content: bytes) -> Json:
        """Put a file on the storage element and describe it as an input."""
        path = self.storage / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return {
            "name": name,
            "lfn": f"/ctao/esap/{name}",
            "size": len(content),
            "adler32": adler32(content),
            "pfn": f"file://{path}",
        }

    def pid_of(self, name: str = "pid") -> int:
        """Wait for a payload to write its process id to a file, and give it."""
        path = self.directory / name
        return int(wait_until(lambda: path.exists() and path.read_text().strip(), f"{name} is written"))


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pack the runner as the service does."""
    program = tmp_path_factory.mktemp("runner") / file_name(RUNNER)
    program.write_bytes(packed(PROJECT / "runner", RUNNER))
    return program


@pytest.fixture
def node(tmp_path: Path, runner: Path) -> Iterator[Node]:
    software = tmp_path / "software" / "esap-noop" / "0.1.0"
    software.mkdir(parents=True)
    (software / "bin").symlink_to(PROJECT / "payloads" / "noop" / "bin")
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), PATH]),
        "HOME": str(tmp_path),
        "VO_CTAO_SW_DIR": str(tmp_path / "software"),
        "DIRAC_SITE": "ESAP.Test.local",
        "ESAP_RETRY_DELAYS_S": "0.05,0.05",
        **{name: os.environ[name] for name in ("DOCKER_HOST",) if name in os.environ},
    }
    node = Node(tmp_path, runner, environment)
    yield node
    for process in node.started:
        if process.poll() is None:
            process.kill()
            process.wait()
