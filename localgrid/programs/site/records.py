"""What the site remembers of its jobs on disk, so that a killed site neither loses nor doubles one."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

MATCHED, RUNNING, FINISHED = "matched", "running", "finished"


@dataclass
class Record:
    """One job at this site.

    `started_ticks` is the payload's start time as the kernel counts it: it tells the process from a later one
    that got the same id.
    """

    job_id: int
    site: str
    vo: str
    owner: str
    group: str
    jdl: str
    state: str = MATCHED
    pid: int = 0
    started_ticks: int = 0
    exit_code: int = 0
    minor_status: str = ""


class Records:
    """The records in one directory, each beside the working directory of its job."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def workdir(self, job_id: int) -> Path:
        return self.root / f"{job_id}"

    def save(self, record: Record) -> None:
        path = self.root / f"{record.job_id}.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(record)))
        temporary.replace(path)

    def drop(self, record: Record) -> None:
        shutil.rmtree(self.workdir(record.job_id), ignore_errors=True)
        (self.root / f"{record.job_id}.json").unlink(missing_ok=True)

    def load(self) -> Iterator[Record]:
        for path in sorted(self.root.glob("*.json")):
            yield Record(**json.loads(path.read_text()))


def start_ticks(pid: int) -> int:
    """The kernel's start time of a process, 0 when there is none."""
    return _stat(pid)[19] if _stat(pid) else 0


def _stat(pid: int) -> list[int]:
    """The numbers of /proc/PID/stat from field 3 on, 0 in place of letters; empty without such a process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(word) if word.lstrip("-").isdigit() else 0 for word in text.rpartition(")")[2].split()]


def kill_group(record: Record) -> bool:
    """Kill what is left of a job's process group; True when there was something."""
    if not record.pid:
        return False
    leader = start_ticks(record.pid)
    if leader and leader != record.started_ticks:
        return False  # the id belongs to another process by now
    members = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]
    if not any((stat := _stat(pid)) and stat[2] == record.pid for pid in members):
        return False
    try:
        os.killpg(record.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
