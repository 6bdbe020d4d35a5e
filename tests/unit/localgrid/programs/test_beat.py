"""Heartbeat files."""

from __future__ import annotations

import json
import os
from pathlib import Path

from localgrid.programs.beat import write_beat


def test_a_beat_tells_who_and_what(tmp_path: Path) -> None:
    path = tmp_path / "site.beat.json"
    write_beat(path, failed=["poller"])
    write_beat(path, failed=[])
    beat = json.loads(path.read_text())
    assert beat["pid"] == os.getpid()
    assert beat["failed"] == []
    assert list(tmp_path.iterdir()) == [path]
