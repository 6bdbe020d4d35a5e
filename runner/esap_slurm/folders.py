"""What a batch has on the disk of the site; see the package for its files."""

import contextlib
import errno
import fcntl
import json
import os
import re
import tempfile
import time
from typing import Any, Dict, Iterable, Iterator, List

from .commands import SiteError

LOCK_TIMEOUT_S = 120.0
REPORT, LOGS = "job-report.json", ("payload.log",)
STAGES = "stages"
FULL = (errno.ENOSPC, errno.EDQUOT)

Json = Dict[str, Any]


def read_json(path: str) -> Any:
    """Read a JSON document; None when there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError:
        return None


def write_json(path: str, document: Any) -> None:
    """Write a JSON document: it is there whole or not at all, also after a crash of the node."""
    descriptor, part = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".part")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(document, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


@contextlib.contextmanager
def locked(path: str, wait_s: float) -> Iterator[bool]:
    """Hold a lock file; gives False when somebody else still holds it after `wait_s`."""
    deadline = time.monotonic() + wait_s
    with open(path, "a", encoding="ascii") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield False
                    return
            time.sleep(0.05)
        yield True


def owner_folder(work_area: str, owner: str) -> str:
    """Name the folder of all that is a user's."""
    return os.path.join(os.path.abspath(os.path.expanduser(work_area)), owner)


def job_name(index: int, attempt: int) -> str:
    """Name a job within its batch."""
    return f"{index:05d}-{attempt:02d}"


def out_folder(area: str, index: int, attempt: int) -> str:
    """Name the folder of a job's report and logs, in its batch's."""
    return os.path.join(area, "jobs", job_name(index, attempt))


def stage_file(area: str, index: int, attempt: int) -> str:
    """Name the file in which a job's runner says which files it moves; it is there only while it does."""
    return os.path.join(area, STAGES, job_name(index, attempt))


def serials(names: Iterable[str], *suffixes: str) -> List[int]:
    """Give the numbers of the orders that these files belong to, the lowest first."""
    found = (re.match(r"^([0-9]{4,})\.([a-z]+)$", name) for name in names)
    return sorted(int(one.group(1)) for one in found if one and one.group(2) in suffixes)


class Order:
    """One job array: what is written before it is submitted, and SLURM's id once it has one."""

    def __init__(self, area: str, serial: int) -> None:
        self.path = os.path.join(area, f"{serial:04d}.json")
        self.serial = serial
        self.document: Json = read_json(self.path)
        self.slurm_id: str = read_json(self.id_path) or ""

    @property
    def id_path(self) -> str:
        return self._beside("id")

    def _beside(self, suffix: str) -> str:
        return self.path[: -len("json")] + suffix

    @property
    def jobs(self) -> List[List[int]]:
        """Index and attempt of each task."""
        return list(self.document["jobs"])

    def drop(self) -> None:
        """Give the order up. A job of it that comes to light later finds none, and ends."""
        os.rename(self.path, self._beside("void"))
        self.strip()

    def strip(self) -> None:
        """Delete the jobs' descriptions, which nobody needs any more."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._beside("batch"))

    def accepted(self, slurm_id: str) -> None:
        write_json(self.id_path, slurm_id)
        self.slurm_id = slurm_id


class Area:
    """The folder of one batch."""

    def __init__(self, work_area: str, owner: str, group: str) -> None:
        if not all(re.match(r"^[A-Za-z0-9][A-Za-z0-9._@-]*$", one) for one in (owner, group)):
            message = f"owner = {owner!r}, group = {group!r}: allowed are letters, digits and ._@-"
            raise SiteError("refused_for_good", message)
        self.group = group
        self.owner_folder = owner_folder(work_area, owner)
        self.folder = os.path.join(self.owner_folder, group)

    @property
    def exists(self) -> bool:
        return os.path.isdir(self.folder)

    def path(self, *names: str) -> str:
        return os.path.join(self.folder, *names)

    def orders(self) -> List[Order]:
        """Give all orders, the oldest first."""
        names = os.listdir(self.folder) if self.exists else []
        return [Order(self.folder, serial) for serial in serials(names, "json")]

    def next_serial(self) -> int:
        """Give the number of the next order: one that none has ever had."""
        return max(serials(os.listdir(self.folder), "json", "void"), default=-1) + 1

    def out(self, index: int, attempt: int) -> str:
        """Name the folder of a job's report and logs."""
        return out_folder(self.folder, index, attempt)

    def lock(self, wait_s: float = LOCK_TIMEOUT_S) -> Any:
        os.makedirs(self.folder, exist_ok=True)
        return locked(self.path("lock"), wait_s)

    def link(self, slurm_id: str) -> str:
        """Name the link from SLURM's id to the batch."""
        return os.path.join(self.owner_folder, "ids", slurm_id)


def tail(path: str, size: int = 65536) -> str:
    """Give the end of a text file."""
    with open(path, "rb") as stream:
        stream.seek(max(0, os.path.getsize(path) - size))
        return stream.read().decode("utf-8", "replace")


def list_folder(path: str) -> List[str]:
    """List a folder that may not be there."""
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
