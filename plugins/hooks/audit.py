"""The audit log: a file a day, to which lines of JSON are appended and nothing else is ever done."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from esap_batch.acts import record
from esap_batch.metrics import ACTS, AUDIT_FAULTS
from hooks.metrics import count

log = logging.getLogger(__name__)
FILE = "audit-{}.jsonl"  # the day in UTC


def audit_dir() -> Path:
    """Give the folder of the audit log (`ESAP_AUDIT_DIR`, else audit/ in Airflow's home)."""
    if given := os.environ.get("ESAP_AUDIT_DIR"):
        return Path(given)
    return Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "audit"


def write_act(act: str, user: str, outcome: str, **facts: Any) -> None:
    """Write what somebody has done, or was refused.

    What cannot be written goes to the program's log and is counted: the service goes on, and an alert tells.
    """
    moment = datetime.now(UTC)
    line = record(act, moment.isoformat(timespec="milliseconds"), user, outcome, **facts)
    try:
        _append(audit_dir() / FILE.format(moment.date()), line)
    except OSError as error:
        count(AUDIT_FAULTS)
        log.error("the audit log cannot be written (%s), lost from it is %s", error, json.dumps(line))
    count(ACTS, act=act, outcome=outcome)


def _append(path: Path, line: Mapping[str, Any]) -> None:
    """Append in one write, so that lines of several processes do not mix."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)
