"""All that the runner has started: what it takes, and its end."""

import contextlib
import ctypes
import os
import resource
import signal
import time
from typing import Callable, Dict, List, Optional, Set, Tuple

UNKILLABLE_S = 30.0  # a process that hangs in the kernel is left to the site
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def load_prctl() -> Callable[[int, int], int]:
    """Give Linux's prctl; elsewhere a function that does nothing."""
    try:
        return ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return lambda option, value: 0


PRCTL = load_prctl()


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the runner is killed (runs in the new process)."""
    PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before the kernel knew
        os.kill(os.getpid(), signal.SIGKILL)


def process_table() -> Dict[int, Tuple[int, int]]:
    """Give parent and resident memory in bytes of every process, from /proc."""
    page = resource.getpagesize()
    table = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):  # it has ended meanwhile
            with open(f"/proc/{name}/stat") as stream:
                fields = stream.read().rpartition(")")[2].split()
            table[int(name)] = (int(fields[1]), int(fields[21]) * page)
    return table


def descendants(table: Dict[int, Tuple[int, int]]) -> Set[int]:
    """Give every process that the runner has started, however indirectly."""
    children: Dict[int, List[int]] = {}
    for pid, (parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found: Set[int] = set()
    todo = list(children.get(os.getpid(), ()))
    while todo:
        pid = todo.pop()
        found.add(pid)
        todo.extend(children.get(pid, ()))
    return found


def memory_mb() -> float:
    """Give the resident memory of all that the runner has started; pages count for each that shares them."""
    table = process_table()
    return sum(table[pid][1] for pid in descendants(table)) / 2.0**20


def shared_once_mb() -> float:
    """Give the same with shared pages counted once, where the kernel tells: it looks at every page."""
    table = process_table()
    shares = {pid: share_of(pid) for pid in descendants(table)}
    return sum(table[pid][1] if share is None else share for pid, share in shares.items()) / 2.0**20


def share_of(pid: int) -> Optional[int]:
    """Give a process's proportional share of memory in bytes; None where the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as stream:
            return sum(int(line.split()[1]) << 10 for line in stream if line.startswith(b"Pss:"))
    except ProcessLookupError:  # it has just ended
        return 0
    except OSError:
        return None if os.path.exists(f"/proc/{pid}") else 0


def signal_all(number: int) -> bool:
    """Send a signal to all that the runner has started; True while there is any such process."""
    alive = False
    for pid in descendants(process_table()):
        with contextlib.suppress(OSError):
            os.kill(pid, number)
            alive = True
    return alive


def reap_orphans() -> None:
    """Collect ended processes that the runner has inherited (it is their subreaper)."""
    with contextlib.suppress(OSError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end_all(grace_s: float) -> None:
    """End all that the runner has started: SIGTERM, and SIGKILL after a grace."""
    deadline = time.monotonic() + grace_s
    running = grace_s > 0 and signal_all(signal.SIGTERM)
    while running and time.monotonic() < deadline:
        reap_orphans()
        time.sleep(0.02)
        running = signal_all(0)
    deadline = time.monotonic() + UNKILLABLE_S
    while signal_all(signal.SIGKILL) and time.monotonic() < deadline:
        reap_orphans()
        time.sleep(0.02)


def await_end(seconds: float) -> None:
    """Give all that the runner has started some time to end by itself."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and signal_all(0):
        reap_orphans()
        time.sleep(0.02)
