"""What runs on a worker node."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Iterator

from .folders import FULL, LOGS, REPORT, Json, out_folder, read_json, stage_file, write_json

DISK_LIMIT = 34  # as in the runner's table
UNREPORTED = 1  # what was well done, but nobody will hear of it
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SIGNALLED = 128
ID_TIMEOUT_S = 20.0
LOG_KEPT = 1 << 20  # bytes of the end of a log that come back; the service shows less
NODE_DISK, WORK_AREA = "the worker node's disk", "the disk or the quota of the work area"


class FullDiskError(Exception):
    """There is no room for a job; it says on which disk."""


@contextlib.contextmanager
def room_on(disk: str) -> Iterator[None]:
    """Name the disk when what is done finds it full."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise FullDiskError(f"{disk} is full: {error}") from error


def run(area: str, serial: int, task: int) -> int:
    """Run one task of an order in a folder of its own; give the runner's exit code."""
    path = os.path.join(area, f"{serial:04d}")
    slurm_id, order, batch = awaited_id(path + ".id"), read_json(path + ".json"), read_json(path + ".batch")
    if not (order and batch) or slurm_id not in ("", os.environ["SLURM_ARRAY_JOB_ID"]):
        print(f"order {serial} is not this array's: it was submitted twice, or given up", file=sys.stderr)
        return 1
    index, attempt = order["jobs"][task]
    out = out_folder(area, index, attempt)
    os.makedirs(out, exist_ok=True)
    scratch = ""
    try:
        place = os.environ.get(order["scratch_env"] or "TMPDIR")
        with room_on(NODE_DISK if place else WORK_AREA):
            scratch = tempfile.mkdtemp(prefix="esap-", dir=place or out)
            jobs = [job for job in batch["jobs"] if job["index"] == index]
            write_json(os.path.join(scratch, "batch.json"), dict(batch, jobs=jobs))
        with room_on(WORK_AREA):
            code = run_in(scratch, order["site"], index, attempt, out)
        return code if bring_back(scratch, out) else code or UNREPORTED
    except FullDiskError as error:
        print(error, file=sys.stderr)
        with contextlib.suppress(OSError):  # there may be no room for that either
            write_json(os.path.join(out, REPORT), full_report(batch, index, attempt, str(error)))
        return DISK_LIMIT
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def awaited_id(path: str) -> str:
    """Read the id of the array that is the order's, which is written when sbatch has returned.

    Empty when that does not happen: the submission was broken off, and this array will be found by its name.
    """
    deadline = time.monotonic() + ID_TIMEOUT_S
    while not os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(0.05)
    return str(read_json(path) or "")


def run_in(scratch: str, site: str, index: int, attempt: int, out: str) -> int:
    """Run the runner and hand it what signals come."""
    stage = stage_file(os.path.dirname(os.path.dirname(out)), index, attempt)
    os.makedirs(os.path.dirname(stage), exist_ok=True)
    runner = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "esap_runner.pyz")
    line = [sys.executable, runner, "--batch", "batch.json"]
    line += ["--index", str(index), "--attempt", str(attempt), "--stage", stage]
    environment = dict(os.environ, ESAP_SITE=site)
    with open(os.path.join(out, "std.out"), "wb") as said, open(os.path.join(out, "std.err"), "wb") as errors:
        runs = subprocess.Popen(line, cwd=scratch, stdout=said, stderr=errors, env=environment)
        for number in SIGNALS:
            signal.signal(number, lambda n, _frame: runs.send_signal(n))
        code = runs.wait()
    return code if code >= 0 else SIGNALLED - code


def bring_back(scratch: str, out: str) -> bool:
    """Copy the report to the work area, then the ends of the logs; False when the report cannot be.

    A job whose report is there does not fail for want of its log.
    """
    whole = copied(scratch, out, REPORT, sys.maxsize)
    for name in LOGS:
        copied(scratch, out, name, LOG_KEPT)
    return whole


def copied(scratch: str, out: str, name: str, most: int) -> bool:
    """Copy the last `most` bytes of a file, if there is one; when that does not work, tell why."""
    source, target = os.path.join(scratch, name), os.path.join(out, name)
    if not os.path.isfile(source):
        return True
    try:
        with open(source, "rb") as log, open(target + ".part", "wb") as part:
            log.seek(max(0, os.path.getsize(source) - most))
            shutil.copyfileobj(log, part)
        os.rename(target + ".part", target)
    except OSError as error:
        print(f"{name} cannot be copied to the work area: {error}", file=sys.stderr)
        with contextlib.suppress(OSError):
            os.unlink(target + ".part")
        return False
    return True


def full_report(batch: Json, index: int, attempt: int, message: str) -> Json:
    """Make the report of a job that there was no room for."""
    limits = next(job["limits"] for job in batch["jobs"] if job["index"] == index)
    return {
        "schema": 1,
        "group": batch["group"],
        "index": index,
        "attempt": attempt,
        "exit_code": DISK_LIMIT,
        "reason": "DISK_LIMIT",
        "message": message,
        "payload_log_tail": "",
        "limits": limits,
        "inputs": [],
        "outputs": [],
        "validation": [],
    }
