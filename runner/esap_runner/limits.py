"""A command within the limits of its job."""

import contextlib
import functools
import os
import resource
import shutil
import subprocess
import time
from typing import Any, Dict, List

from .processes import await_end, die_with, end_all, memory_mb, shared_once_mb
from .reasons import JobError, Json
from .reports import REPORT_SPACE

WATCH_S, DISK_WATCH_S = 0.2, 2.0
REST = 10.0  # times as long as the last look at all pages took: it is slow, and may hold up the payload
GRACE_S = 5.0  # between SIGTERM and SIGKILL


def disk_mb(directory: str) -> float:
    """Give the disk space that a directory takes."""
    total = 0
    for place, _, files in os.walk(directory):
        for name in files:
            with contextlib.suppress(OSError):  # it is gone again
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
    return total / 2.0**20


def is_disk_full(directory: str) -> bool:
    """True when the file system of a directory has no room left, not even for a short report."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize < REPORT_SPACE


class Watched:
    """A command that runs in its own process group, within the job's limits."""

    def __init__(self, limits: Json) -> None:
        self.limits = limits
        self.peak_mb = 0.0
        self.disk_due = 0.0
        self.shared_mb, self.shared_due = 0.0, 0.0
        self.settle_s = 0.0  # for what a container engine still has to tidy up

    def run(self, command: List[str], environment: Dict[str, str], stdout: Any, stderr: Any) -> int:
        """Run it to its end and give its return code as subprocess has it; JobError at a limit."""
        started = time.monotonic()
        self.disk_due = started + DISK_WATCH_S
        process = subprocess.Popen(
            [shutil.which(command[0], path=environment.get("PATH")) or command[0], *command[1:]],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=functools.partial(die_with, os.getpid()),  # noqa: PLW1509 - the runner has one thread
        )
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=WATCH_S)
                if process.returncode is not None:
                    return int(process.returncode)
                self.check(time.monotonic() - started)
        except JobError as error:
            end_all(0 if error.reason == "MEMORY_LIMIT" else GRACE_S)
            raise
        finally:
            self.note_peak()
            if process.returncode is None:
                end_all(GRACE_S)
            else:
                await_end(self.settle_s)
                end_all(0)  # nothing may outlive its job

    def check(self, elapsed_s: float) -> None:
        """Raise JobError when a limit is passed."""
        memory = self.memory_mb()
        self.peak_mb = max(self.peak_mb, memory)
        if memory > self.limits["memory_mb"]:
            message = "it took {:.0f} MB of memory, the job may take {:g} MB"
            raise JobError("MEMORY_LIMIT", message.format(memory, self.limits["memory_mb"]))
        if elapsed_s > self.limits["wall_time_s"]:
            message = "it ran for more than the {:g} s that the job may take"
            raise JobError("TIME_LIMIT", message.format(self.limits["wall_time_s"]))
        if time.monotonic() >= self.disk_due:
            self.check_disk()
            self.disk_due = time.monotonic() + DISK_WATCH_S

    def memory_mb(self) -> float:
        """Give the memory that the job takes; only where it seems too much is it asked what is shared."""
        most = memory_mb()
        if most <= self.limits["memory_mb"]:
            return most
        began = time.monotonic()
        if began >= self.shared_due:
            self.shared_mb = shared_once_mb()
            now = time.monotonic()
            self.shared_due = now + REST * (now - began)
        return self.shared_mb

    def check_disk(self) -> None:
        """Raise JobError when the job's directory takes more than it may."""
        disk = disk_mb(".")
        if disk > self.limits["disk_mb"]:
            message = "the job's directory took {:.0f} MB of disk, the job may take {:g} MB"
            raise JobError("DISK_LIMIT", message.format(disk, self.limits["disk_mb"]))

    def note_peak(self) -> None:
        """Take the kernel's own figure where it is larger: short peaks lie between two looks."""
        self.peak_mb = max(self.peak_mb, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024.0)
