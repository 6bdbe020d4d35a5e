"""What runs on a worker node."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from .folders import FULL, LOGS, REPORT, Json, out_folder, read_json, stage_file, write_json

DISK_LIMIT = 34  # as in the runner's table
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SIGNALLED = 128
ID_TIMEOUT_S = 20.0


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
        scratch = tempfile.mkdtemp(prefix="esap-", dir=place or out)
        return run_in(scratch, order, batch, index, attempt, out)
    except OSError as error:
        if error.errno not in FULL:
            raise
        write_json(os.path.join(out, REPORT), full_report(batch, index, attempt, error))
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


def run_in(scratch: str, order: Json, batch: Json, index: int, attempt: int, out: str) -> int:
    """Run the runner, hand it what signals come, and bring back what it leaves."""
    jobs = [job for job in batch["jobs"] if job["index"] == index]
    write_json(os.path.join(scratch, "batch.json"), dict(batch, jobs=jobs))
    stage = stage_file(os.path.dirname(os.path.dirname(out)), index, attempt)
    os.makedirs(os.path.dirname(stage), exist_ok=True)
    runner = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "esap_runner.pyz")
    line = [sys.executable, runner, "--batch", "batch.json"]
    line += ["--index", str(index), "--attempt", str(attempt), "--stage", stage]
    environment = dict(os.environ, ESAP_SITE=order["site"])
    with open(os.path.join(out, "std.out"), "wb") as said, open(os.path.join(out, "std.err"), "wb") as errors:
        runs = subprocess.Popen(line, cwd=scratch, stdout=said, stderr=errors, env=environment)
        for number in SIGNALS:
            signal.signal(number, lambda n, _frame: runs.send_signal(n))
        code = runs.wait()
    for name in (*LOGS, REPORT):
        if os.path.isfile(os.path.join(scratch, name)):
            shutil.copyfile(os.path.join(scratch, name), os.path.join(out, name + ".part"))
            os.rename(os.path.join(out, name + ".part"), os.path.join(out, name))
    return code if code >= 0 else SIGNALLED - code


def full_report(batch: Json, index: int, attempt: int, error: OSError) -> Json:
    """Make the report of a job that the node had no room for."""
    limits = next(job["limits"] for job in batch["jobs"] if job["index"] == index)
    return {
        "schema": 1,
        "group": batch["group"],
        "index": index,
        "attempt": attempt,
        "exit_code": DISK_LIMIT,
        "reason": "DISK_LIMIT",
        "message": f"the worker node's disk is full: {error}",
        "payload_log_tail": "",
        "limits": limits,
        "inputs": [],
        "outputs": [],
        "validation": [],
    }
