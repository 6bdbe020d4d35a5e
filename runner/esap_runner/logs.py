"""What the runner says, and what others have said."""

import os
import sys
from datetime import datetime, timezone

PAYLOAD_LOG = "payload.log"
TAIL_LINES, TAIL_BYTES = 20, 1 << 16


def say(text: str) -> None:
    """Write one line to the job's standard output."""
    show("esap-runner: " + text)


def show(text: str) -> None:
    """Write to the job's standard output; a job does not fail because there is no room for that any more."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - else what is left in the buffer fails at the end


def utc_now() -> str:
    """Give the time as ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def tail_of(path: str) -> str:
    """Give the last lines of a log."""
    if not os.path.exists(path):
        return ""
    with open(path, "rb") as stream:
        stream.seek(max(0, os.path.getsize(path) - TAIL_BYTES))
        text = stream.read().decode("utf-8", "replace")
    return "\n".join(text.splitlines()[-TAIL_LINES:])


def last_words(told: bytes) -> str:
    """Give the end of what a program said."""
    return told.decode("utf-8", "replace").strip()[-300:]
