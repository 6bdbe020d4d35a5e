"""`job-report.json`, which every job leaves."""

import contextlib
import json
import os
import socket
from typing import Optional

from . import SCHEMA, VERSION
from .logs import PAYLOAD_LOG, utc_now
from .reasons import EXIT_CODES, Json

REPORT = "job-report.json"
SPACE = REPORT + ".space"
STAGE_FILE = "job-stage.txt"
RESERVED = frozenset((REPORT, SPACE, STAGE_FILE, PAYLOAD_LOG, "batch.json", "esap_runner.pyz"))
REPORT_SPACE = 1 << 18  # kept free for the report on a disk that fills up


def keep_space() -> None:
    """Take disk space for the report, so that a payload which fills the disk leaves room for it."""
    with open(SPACE, "wb") as stream:
        stream.write(b"\0" * REPORT_SPACE)


def write_report(report: Json) -> None:
    """Write the report, whole or not at all."""
    part = REPORT + ".part"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SPACE)
    with open(part, "w", encoding="utf-8") as stream:
        json.dump(report, stream, indent=1)
        stream.write("\n")
    os.rename(part, REPORT)


def empty_report(index: Optional[int], attempt: Optional[int]) -> Json:
    """Give the report of a job that has only begun."""
    return {
        "schema": SCHEMA,
        "runner_version": VERSION,
        "group": "",
        "index": index,
        "attempt": attempt,
        "digest": "",
        "exit_code": EXIT_CODES["INTERNAL"],
        "reason": "INTERNAL",
        "message": "",
        "payload_exit_code": None,
        "payload_log_tail": "",
        "started": utc_now(),
        "finished": "",
        "timings_s": {"fetch": 0.0, "payload": 0.0, "validate": 0.0, "upload": 0.0},
        "peak_memory_mb": 0.0,
        "cpu_s": 0.0,
        "host": socket.gethostname(),
        "site": os.environ.get("DIRAC_SITE") or os.environ.get("ESAP_SITE", ""),
        "limits": {},
        "cores": 0,
        "runtime": {},
        "software": [],
        "inputs": [],
        "outputs": [],
        "validation": [],
    }
