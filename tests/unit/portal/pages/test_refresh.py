"""The script that keeps a job's page up to date, on a clock of its own; in a browser in tests/e2e."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from portal.pages import web

NODE = shutil.which("node")
HARNESS = Path(__file__).with_name("refresh_harness.js")
SCRIPT = web.HERE / "static" / "refresh.js"
PAUSE_S = 4
STEPS, SAME = [0.1, "basic", 200, "steps"], [0.1, "basic", 200, "HELD"]
LONG, CHANGED = [300, "basic", 200, "HELD"], [0.1, "basic", 200, "COMPLETED"]
TO_LOGIN, NOBODY = [0.1, "opaqueredirect", 0, ""], [0.1, "basic", 401, "log in"]
FAILED = None
pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node")


def watched(seconds: int, now: list[Any], wait: list[Any], hidden: list[list[int]] | None = None) -> Any:
    """Say when the page has asked for its steps and phase (s), how often it gave up waiting and reloaded."""
    asked = {
        "script": str(SCRIPT),
        "seconds": seconds,
        "answers": {"now": now, "wait": wait},
        "hidden": hidden or [],
    }
    command = [str(NODE), str(HARNESS), json.dumps(asked)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)


def test_an_answer_that_did_not_wait_is_followed_by_a_pause() -> None:
    told = watched(60, [STEPS], [SAME])
    assert len(told["wait"]) <= 60 / PAUSE_S + 1
    assert told["reloads"] == 0


def test_an_answer_that_has_waited_is_followed_by_the_next_question() -> None:
    assert watched(601, [STEPS], [LONG])["wait"] == [0, 300, 600]


def test_a_new_phase_renews_the_page_once() -> None:
    told = watched(60, [STEPS], [SAME, CHANGED])
    assert (told["reloads"], len(told["wait"])) == (1, 2)


def test_a_tab_that_nobody_sees_asks_nothing_and_holds_no_connection() -> None:
    told = watched(400, [STEPS], [LONG], hidden=[[10, 200]])
    assert told["aborted"] == 1
    assert not [at for at in told["now"] + told["wait"] if 10 < at < 200]
    assert next(at for at in told["now"] if at >= 200) < 200 + PAUSE_S
    assert next(at for at in told["wait"] if at >= 200) < 200 + PAUSE_S


@pytest.mark.parametrize("ended", [TO_LOGIN, NOBODY])
def test_a_session_that_has_ended_is_met_by_one_login(ended: list[Any]) -> None:
    assert watched(60, [STEPS, ended], [LONG])["reloads"] == 1
    assert watched(60, [STEPS], [SAME, ended])["reloads"] == 1


def test_failures_in_a_row_end_nothing() -> None:
    told = watched(60, [FAILED] * 3 + [STEPS], [FAILED] * 3 + [CHANGED])
    assert told["reloads"] == 1
    assert told["wait"] == [0, 4, 8, 12]
    assert len(told["now"]) > 10
