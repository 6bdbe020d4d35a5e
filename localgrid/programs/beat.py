"""Heartbeat files: how a service without a port shows that it works."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path


def write_beat(path: Path, **details: object) -> None:
    """Say "alive and working" with the time (s since 1970) and the process id."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps({"pid": os.getpid(), "time": time.time(), **details}))
    temporary.replace(path)
