"""SLURM's own commands."""

import getpass
import os
import re
import subprocess
import time
from typing import List, Optional, Sequence

COMMAND_TIMEOUT_S = float(os.environ.get("ESAP_SLURM_TIMEOUT_S", "30"))
# What SLURM says when the controller, not the question, is at fault, or when there is only no room now.
# A limit is known by its name: "(job submit limit, user's size ...)" is said of every one that is passed.
TRANSIENT = re.compile(
    r"unable to contact slurm controller|unable to connect|connection refused|timed out|temporarily|"
    r"communication connection failure|zero bytes were transmitted|transport endpoint|"
    r"problem talking to the database|authentication credential|"
    r"(Max|Grp)Submit|partition not available|maintenance",
    re.IGNORECASE,
)
NO_ACCOUNTING = re.compile(r"accounting storage is disabled", re.IGNORECASE)
QUEUE_COLUMNS = ("%F", "%K", "%T", "%r")  # id of the array, task, state, reason
ACCOUNTING_COLUMNS = ("JobID", "State", "ExitCode")
MARGIN_S = 86400.0  # clocks, and time zones, of the site's hosts may differ


class SiteError(Exception):
    """The question cannot be answered. `kind`: unavailable (try again), refused, or refused_for_good."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def slurm(arguments: Sequence[str], text: str = "") -> str:
    """Run one of SLURM's commands; SiteError says what it says when it does not work."""
    try:
        done = subprocess.run(
            list(arguments),
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise SiteError("refused_for_good", f"{arguments[0]} is not on PATH of the login node") from None
    except subprocess.TimeoutExpired:
        message = f"{arguments[0]} did not answer within {COMMAND_TIMEOUT_S:g} s"
        raise SiteError("unavailable", message) from None
    if done.returncode == 0:
        return done.stdout
    said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
    kind = "unavailable" if TRANSIENT.search(said) else "refused_for_good"
    raise SiteError(kind, f"{arguments[0]}: {said}")


def queue(*arguments: str) -> List[List[str]]:
    """Ask the controller for this user's jobs, also ended ones it still knows: id, task, state, reason."""
    form = ["squeue", "--noheader", "--array", "--states=all", "--user", getpass.getuser()]
    lines = slurm([*form, f"--format={'|'.join(QUEUE_COLUMNS)}", *arguments]).splitlines()
    return rows(lines, len(QUEUE_COLUMNS))


def accounting(
    since: float, *arguments: str, columns: Sequence[str] = ACCOUNTING_COLUMNS
) -> Optional[List[List[str]]]:
    """Ask the accounting for jobs that were there after `since` (Unix time). None where none is kept."""
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since))
    form = ["sacct", "--allocations", "--noheader", "--parsable2", "--starttime", start]
    try:
        lines = slurm([*form, f"--format={','.join(columns)}", *arguments]).splitlines()
    except SiteError as error:
        if NO_ACCOUNTING.search(str(error)):
            return None
        raise
    return rows(lines, len(columns))


def rows(lines: Sequence[str], columns: int) -> List[List[str]]:
    """Divide lines at their bars; what SLURM says beside the table is left out."""
    split = (line.strip().split("|", columns - 1) for line in lines)
    return [row for row in split if len(row) == columns]


def tasks_of(text: str) -> List[int]:
    """Read `4`, or `[1-3,7%2]` of tasks that have not begun."""
    found: List[int] = []
    for part in text.strip("[]").partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            found += range(int(first), int(last or first) + 1)
    return found


def largest_array() -> int:
    """Give how many tasks an array may have here."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", slurm(["scontrol", "show", "config"]), re.MULTILINE)
    return max(1, int(match.group(1)) - 1) if match else 1000
