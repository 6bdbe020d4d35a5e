#!/usr/bin/env python3
"""Runs one job of a batch on a worker node: `esap_runner.py --batch batch.json --index 3 --attempt 1`.

Standard library only, Python >= 3.6. Started in the job's own directory. Writes the job's files, fetches and
checks its inputs, runs the payload within its limits, runs each output's validator, uploads the outputs, and
always leaves `job-report.json`. An output that its validator finds invalid does not fail the job: it is
uploaded, and the verdict stands in the report.

Exit codes, each with its reason in the report:

====  ================  ==========================================================
code  reason            meaning
====  ================  ==========================================================
0     OK                every output is uploaded
10    BAD_DESCRIPTION   batch.json or the command line is wrong
11    SOFTWARE_MISSING  the site lacks the software, the runtime or the command
20    INPUT_MISSING     an input cannot be fetched
21    INPUT_CORRUPT     an input differs from its size or checksum
30    PAYLOAD_FAILED    the payload ended with an exit code other than 0
31    PAYLOAD_SIGNAL    the payload was killed by a signal that is not the runner's
32    MEMORY_LIMIT      the payload took more memory than the job may
33    TIME_LIMIT        the payload took longer than the job may
34    DISK_LIMIT        the job took more disk than it may, or the disk is full
40    OUTPUT_MISSING    the payload ended well but did not write an output
41    VALIDATOR_FAILED  a validator crashed or printed no report
50    UPLOAD_FAILED     an output did not reach the storage element
60    TERMINATED        the site told the runner to end (SIGTERM, SIGINT, SIGHUP)
70    INTERNAL          a fault of the runner itself
====  ================  ==========================================================
"""

import argparse
import contextlib
import ctypes
import errno
import functools
import hashlib
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
import zlib
from datetime import datetime, timezone
from typing import Any, Callable, Dict, Iterator, List, Optional, Set, Tuple

VERSION = "0.1.0"
SCHEMA = 1
REPORT = "job-report.json"
PAYLOAD_LOG = "payload.log"
RESERVED = frozenset((REPORT, PAYLOAD_LOG, "batch.json", "esap_runner.py"))
EXIT_CODES = {
    "OK": 0,
    "BAD_DESCRIPTION": 10,
    "SOFTWARE_MISSING": 11,
    "INPUT_MISSING": 20,
    "INPUT_CORRUPT": 21,
    "PAYLOAD_FAILED": 30,
    "PAYLOAD_SIGNAL": 31,
    "MEMORY_LIMIT": 32,
    "TIME_LIMIT": 33,
    "DISK_LIMIT": 34,
    "OUTPUT_MISSING": 40,
    "VALIDATOR_FAILED": 41,
    "UPLOAD_FAILED": 50,
    "TERMINATED": 60,
    "INTERNAL": 70,
}
VERDICTS = {0: "valid", 1: "invalid", 2: "unreadable"}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

BLOCK = 1 << 20
TAIL_LINES, TAIL_BYTES = 20, 1 << 16
WATCH_S, DISK_WATCH_S = 0.2, 2.0
GRACE_S = 5.0  # between SIGTERM and SIGKILL
UNKILLABLE_S = 30.0  # a process that hangs in the kernel is left to the site
HTTP_TIMEOUT_S = 60.0
RETRY_DELAYS_S = tuple(float(s) for s in os.environ.get("ESAP_RETRY_DELAYS_S", "1,4,10").split(","))
SIGNALLED = 128  # exit codes above it tell of a signal where a shell or a container stands between
GONE = (401, 403, 404, 410)  # HTTP answers that trying again does not change
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
PLAIN, ROOTFS = "plain", "rootfs"
IMAGE_CACHE = "ESAP_IMAGE_CACHE"  # names the node's folder of unpacked images
INSIDE = "/work"  # the job's directory as a contained payload sees it
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

Json = Dict[str, Any]


class JobError(Exception):
    """The job ends here. `reason` is a key of `EXIT_CODES`, the text is one sentence for a user."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TransferError(Exception):
    """One try to move a file did not work; `final` when another cannot either."""

    def __init__(self, message: str, final: bool = False, corrupt: bool = False) -> None:
        super().__init__(message)
        self.final = final
        self.corrupt = corrupt


def say(text: str) -> None:
    """Write one line to the job's standard output."""
    print("esap-runner: " + text, flush=True)


def utc_now() -> str:
    """Give the time as ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


# --- the job description --------------------------------------------------------------------------


def is_text(value: Any) -> bool:
    """True for a non-empty string."""
    return isinstance(value, str) and bool(value)


def is_plain_name(value: Any) -> bool:
    """True for the name of a file in the job's directory that is not one of the runner's own."""
    return is_text(value) and os.path.basename(value) == value and value not in RESERVED | {".", ".."}


def is_command(value: Any) -> bool:
    """True for a list of strings with a program in front."""
    return (
        isinstance(value, list)
        and bool(value)
        and is_text(value[0])
        and all(isinstance(v, str) for v in value)
    )


def is_limit(value: Any) -> bool:
    """True for a number above 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def is_texts(value: Any) -> bool:
    """True for an object of strings, as an environment is."""
    return isinstance(value, dict) and all(
        isinstance(v, str) and is_text(k) and "=" not in k for k, v in value.items()
    )


def is_address(value: Any) -> bool:
    """True for an URL that the runner can read and write."""
    if not is_text(value):
        return False
    parts = urllib.parse.urlsplit(value)
    if parts.scheme == "file":
        return parts.netloc in ("", "localhost") and parts.path.startswith("/")
    return parts.scheme in TRANSPORTS and bool(parts.netloc)


def is_checksum(value: Any) -> bool:
    """True for eight hex digits."""
    return isinstance(value, str) and re.match(r"^[0-9a-fA-F]{8}$", value) is not None


def is_size(value: Any) -> bool:
    """True for a number of bytes."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_software(value: Any) -> bool:
    """True for software pinned by a name and a version that are plain names."""
    return isinstance(value, dict) and all(is_plain_name(value.get(k)) for k in ("name", "version"))


Rule = Tuple[str, Callable[[Any], bool], str]
PLAIN_NAME = "a plain file name, not " + ", ".join(sorted(RESERVED))
INPUT_RULES: Tuple[Rule, ...] = (
    ("name", is_plain_name, PLAIN_NAME),
    ("size", is_size, "bytes"),
    ("adler32", is_checksum, "eight hex digits"),
    ("pfn", is_address, "a URL of file, http or https"),
)
OUTPUT_RULES: Tuple[Rule, ...] = (
    ("name", is_plain_name, PLAIN_NAME),
    ("pfn", is_address, "a URL of file, http or https"),
    ("validator", lambda v: v == [] or is_command(v), "a command as a list of strings, or []"),
)
LIMIT_RULES: Tuple[Rule, ...] = tuple(
    (name, is_limit, "a number above 0") for name in ("wall_time_s", "memory_mb", "disk_mb")
)
JOB_RULES: Tuple[Rule, ...] = (
    ("command", is_command, "a command as a list of strings"),
    ("files", lambda v: isinstance(v, dict), "an object of file names and contents"),
    ("inputs", lambda v: isinstance(v, list), "a list"),
    ("outputs", lambda v: isinstance(v, list), "a list"),
    ("limits", lambda v: isinstance(v, dict), "an object"),
    ("environment", is_texts, "an object of strings"),
)
ROOTFS_RULES: Tuple[Rule, ...] = (
    ("image", is_plain_name, PLAIN_NAME),
    ("sha256", lambda v: isinstance(v, str) and re.match(r"^[0-9a-f]{64}$", v) is not None, "64 hex digits"),
)
BATCH_RULES: Tuple[Rule, ...] = (
    ("schema", lambda v: v == SCHEMA and not isinstance(v, bool), str(SCHEMA)),
    ("group", is_text, "a name"),
    ("runtime", lambda v: isinstance(v, dict) and is_text(v.get("type")), "an object with a type"),
    ("software", lambda v: isinstance(v, list) and all(map(is_software, v)), "a list of {name, version}"),
    ("jobs", lambda v: isinstance(v, list), "a list"),
)


def problems_of(value: Any, rules: Tuple[Rule, ...], where: str) -> List[str]:
    """Compare an object with its rules; give a sentence for each member that breaks one."""
    if not isinstance(value, dict):
        return [f"{where}: allowed is an object"]
    prefix = where + "." if where else ""
    return [
        f"{prefix}{name} = {json.dumps(value.get(name))[:80]}: allowed {allowed}"
        for name, accepts, allowed in rules
        if not accepts(value.get(name))
    ]


def job_problems(job: Json, where: str) -> List[str]:
    """Check one job's description as a whole."""
    problems = problems_of(job, JOB_RULES, where)
    if problems:
        return problems
    problems = problems_of(job["limits"], LIMIT_RULES, where + ".limits")
    for kind, rules in (("inputs", INPUT_RULES), ("outputs", OUTPUT_RULES)):
        for n, one in enumerate(job[kind]):
            problems += problems_of(one, rules, f"{where}.{kind}[{n}]")
    problems += [
        f"{where}.files: {json.dumps(name)} is no allowed name: {PLAIN_NAME}"
        for name in job["files"]
        if not is_plain_name(name)
    ]
    if not problems:
        names = list(job["files"]) + [one["name"] for one in job["inputs"] + job["outputs"]]
        twice = sorted({name for name in names if names.count(name) > 1})
        problems += [f"{where}: {name} is the name of two files" for name in twice]
    return problems


def runtime_problems(runtime: Json, job: Json) -> List[str]:
    """Check that the image of a `rootfs` runtime is one of the job's inputs and named by its digest."""
    if runtime["type"] != ROOTFS:
        return []
    problems = problems_of(runtime, ROOTFS_RULES, "runtime")
    names = [one["name"] for one in job["inputs"]]
    if not problems and runtime["image"] not in names:
        problems = [
            "runtime.image = {}: allowed is the name of an input".format(json.dumps(runtime["image"]))
        ]
    return problems


def load_batch(path: str) -> Json:
    """Read `batch.json`; JobError says what is wrong with it."""
    try:
        with open(path, encoding="utf-8") as stream:
            batch = json.load(stream)
    except (OSError, ValueError) as error:
        raise JobError("BAD_DESCRIPTION", f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(batch, dict):
        raise JobError("BAD_DESCRIPTION", f"{path}: allowed is an object")
    return batch


def select_job(batch: Json, index: int) -> Json:
    """Give the job of an index, checked; JobError names every member that is wrong."""
    problems = problems_of(batch, BATCH_RULES, "")
    if problems:
        raise JobError("BAD_DESCRIPTION", "; ".join(problems))
    for n, job in enumerate(batch["jobs"]):
        if isinstance(job, dict) and job.get("index") == index:
            problems = job_problems(job, f"jobs[{n}]") or runtime_problems(batch["runtime"], job)
            if problems:
                raise JobError("BAD_DESCRIPTION", "; ".join(problems))
            return dict(job)
    message = "no job has index {}: the batch has {} jobs".format(index, len(batch["jobs"]))
    raise JobError("BAD_DESCRIPTION", message)


def write_files(files: Json) -> None:
    """Write the small files that come with the job: text as it is, all else as JSON."""
    for name, content in files.items():
        with open(name, "w", encoding="utf-8") as stream:
            stream.write(content if isinstance(content, str) else json.dumps(content, indent=1) + "\n")


# --- software -------------------------------------------------------------------------------------


def plain_environment(batch: Json) -> Dict[str, str]:
    """Give PATH with the software from the site's software area in front."""
    root_name = batch["runtime"].get("software_root_env")
    if not root_name or not batch["software"]:
        return {}
    root = os.environ.get(root_name)
    if not root:
        message = f"this site does not set {root_name}, the root of its software area"
        raise JobError("SOFTWARE_MISSING", message)
    places = [os.path.join(root, one["name"], one["version"], "bin") for one in batch["software"]]
    for one, place in zip(batch["software"], places):
        if not os.path.isdir(place):
            message = "this site has no {} {}: {} is not there".format(one["name"], one["version"], place)
            raise JobError("SOFTWARE_MISSING", message)
    return {"PATH": os.pathsep.join([*places, os.environ.get("PATH", os.defpath)])}


RUNTIMES: Dict[str, Callable[[Json], Dict[str, str]]] = {PLAIN: plain_environment, ROOTFS: plain_environment}


def job_environment(batch: Json, job: Json, attempt: int) -> Dict[str, str]:
    """Give the environment of payload and validators; JobError when the site lacks what they need."""
    kind = batch["runtime"]["type"]
    if kind not in RUNTIMES:
        message = "runtime {}: this runner has {}".format(json.dumps(kind), ", ".join(sorted(RUNTIMES)))
        raise JobError("SOFTWARE_MISSING", message)
    environment = dict(os.environ, **job["environment"])
    environment.update(RUNTIMES[kind](batch))
    environment.update(ESAP_GROUP=batch["group"], ESAP_INDEX=str(job["index"]), ESAP_ATTEMPT=str(attempt))
    commands = [] if kind == ROOTFS else [job["command"]]  # what an image holds is seen when it is started
    commands += [one["validator"] for one in job["outputs"] if one["validator"]]
    for command in commands:
        if shutil.which(command[0], path=environment.get("PATH")) is None:
            raise JobError("SOFTWARE_MISSING", f"the program {command[0]} is not on PATH")
    return environment


# --- processes ------------------------------------------------------------------------------------


def load_prctl() -> Callable[[int, int], int]:
    """Give Linux's prctl; elsewhere a function that does nothing."""
    try:
        return ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return lambda option, value: 0


PRCTL = load_prctl()


def die_with_parent() -> None:
    """Have the kernel kill this process when the runner is killed (runs in the new process)."""
    PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL)


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
    """Give the resident memory of all that the runner has started."""
    table = process_table()
    return sum(table[pid][1] for pid in descendants(table)) / 2.0**20


def disk_mb(directory: str) -> float:
    """Give the disk space that a directory takes."""
    total = 0
    for place, _, files in os.walk(directory):
        for name in files:
            with contextlib.suppress(OSError):  # it is gone again
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
    return total / 2.0**20


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


class Watched:
    """A command that runs in its own process group, within the job's limits."""

    def __init__(self, limits: Json) -> None:
        self.limits = limits
        self.peak_mb = 0.0
        self.disk_due = 0.0

    def run(self, command: List[str], environment: Dict[str, str], stdout: Any, stderr: Any) -> int:
        """Run it to its end and give its return code as subprocess has it; JobError at a limit."""
        started = time.monotonic()
        self.disk_due = started + DISK_WATCH_S
        process = subprocess.Popen(
            [shutil.which(command[0], path=environment.get("PATH")) or command[0], *command[1:]],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - the runner has one thread
        )
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=WATCH_S)
                if process.returncode is not None:
                    return int(process.returncode)
                self.check(time.monotonic() - started)
        except JobError as error:
            end_all(0 if error.reason == "MEMORY_LIMIT" else GRACE_S)
            raise
        finally:
            self.note_peak()
            if process.returncode is None:
                end_all(GRACE_S)
            else:
                end_all(0)  # nothing may outlive its job

    def check(self, elapsed_s: float) -> None:
        """Raise JobError when a limit is passed."""
        memory = memory_mb()
        self.peak_mb = max(self.peak_mb, memory)
        if memory > self.limits["memory_mb"]:
            message = "it took {:.0f} MB of memory, the job may take {:g} MB"
            raise JobError("MEMORY_LIMIT", message.format(memory, self.limits["memory_mb"]))
        if elapsed_s > self.limits["wall_time_s"]:
            message = "it ran for more than the {:g} s that the job may take"
            raise JobError("TIME_LIMIT", message.format(self.limits["wall_time_s"]))
        if time.monotonic() >= self.disk_due:
            self.check_disk()
            self.disk_due = time.monotonic() + DISK_WATCH_S

    def check_disk(self) -> None:
        """Raise JobError when the job's directory takes more than it may."""
        disk = disk_mb(".")
        if disk > self.limits["disk_mb"]:
            message = "the job's directory took {:.0f} MB of disk, the job may take {:g} MB"
            raise JobError("DISK_LIMIT", message.format(disk, self.limits["disk_mb"]))

    def note_peak(self) -> None:
        """Take the kernel's own figure where it is larger: short peaks lie between two looks."""
        self.peak_mb = max(self.peak_mb, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024.0)


def tail_of(path: str) -> str:
    """Give the last lines of a log."""
    if not os.path.exists(path):
        return ""
    with open(path, "rb") as stream:
        stream.seek(max(0, os.path.getsize(path) - TAIL_BYTES))
        text = stream.read().decode("utf-8", "replace")
    return "\n".join(text.splitlines()[-TAIL_LINES:])


# --- files and their transport --------------------------------------------------------------------


class Checksums:
    """Size, Adler-32 and SHA-256 of what passes by."""

    def __init__(self) -> None:
        self.size = 0
        self._adler = 1
        self._sha256 = hashlib.sha256()

    @property
    def adler32(self) -> str:
        """Adler-32 as eight hex digits, as Rucio has it."""
        return f"{self._adler & 0xFFFFFFFF:08x}"

    @property
    def sha256(self) -> str:
        """SHA-256 as hex digits."""
        return self._sha256.hexdigest()

    def update(self, block: bytes) -> None:
        """Take the next block."""
        self.size += len(block)
        self._adler = zlib.adler32(block, self._adler)
        self._sha256.update(block)

    def equal(self, size: int, adler32: str) -> bool:
        """True when size and Adler-32 are these."""
        return self.size == size and self.adler32 == adler32.lower()


def copy_stream(source: Any, target: Any) -> Checksums:
    """Copy a stream block by block, and give its checksums; `target` None only reads."""
    sums = Checksums()
    for block in iter(functools.partial(source.read, BLOCK), b""):
        sums.update(block)
        if target is not None:
            target.write(block)
    return sums


def checksums_of(path: str) -> Checksums:
    """Give the checksums of a file."""
    with open(path, "rb") as stream:
        return copy_stream(stream, None)


def sync_directory(path: str) -> None:
    """Have a rename in a directory survive a crash of the machine."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class FileTransport:
    """Storage that is mounted on the worker node."""

    @staticmethod
    def path(url: str) -> str:
        """Give the path of a file URL."""
        return urllib.parse.unquote(urllib.parse.urlsplit(url).path)

    def fetch(self, url: str, target: str) -> Checksums:
        """Copy a file here."""
        try:
            with open(self.path(url), "rb") as source, open(target, "wb") as stream:
                return copy_stream(source, stream)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            raise TransferError(
                str(error), final=error.errno in (errno.ENOENT, errno.EACCES, errno.EISDIR)
            ) from error

    def standing(self, url: str) -> Optional[Checksums]:
        """Give the checksums of what lies there already, None when nothing does."""
        path = self.path(url)
        return checksums_of(path) if os.path.isfile(path) else None

    def store(self, source: str, url: str, sums: Checksums) -> None:
        """Copy a file there. It appears under its name only when it is complete and on disk."""
        path = self.path(url)
        folder, name = os.path.split(path)
        os.makedirs(folder, exist_ok=True)
        part = os.path.join(folder, f".{name}~{socket.gethostname()}-{os.getpid()}.part")
        try:
            with open(source, "rb") as stream, open(part, "wb") as target:
                written = copy_stream(stream, target)
                target.flush()
                os.fsync(target.fileno())
            if not written.equal(sums.size, sums.adler32):
                raise TransferError(f"{source} changed while it was uploaded", final=True)
            os.rename(part, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
        sync_directory(folder)
        self.remove_parts(folder, name)

    @staticmethod
    def remove_parts(folder: str, name: str) -> None:
        """Remove what killed attempts to store the same file have left (a living one tries again)."""
        for other in os.listdir(folder):
            if other.startswith("." + name + "~") and other.endswith(".part"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, other))


class HttpTransport:
    """Storage behind HTTP(S), or WebDAV."""

    @staticmethod
    @contextlib.contextmanager
    def request(url: str, method: str = "GET", body: Any = None, size: int = 0) -> Iterator[Any]:
        """Make one request; TransferError names the answer that is no success."""
        headers = {"Content-Length": str(size)} if body is not None else {}
        request = urllib.request.Request(url, data=body, headers=headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as response:  # noqa: S310
                yield response
        except urllib.error.HTTPError as error:
            message = f"{method} {url} answered {error.code} {error.reason}"
            raise TransferError(message, final=error.code in GONE) from error
        except (urllib.error.URLError, http.client.HTTPException, socket.timeout, ConnectionError) as error:
            raise TransferError(f"{method} {url}: {error}") from error

    def fetch(self, url: str, target: str) -> Checksums:
        """Download a file here."""
        with self.request(url) as response, open(target, "wb") as stream:
            return copy_stream(response, stream)

    def standing(self, url: str) -> Optional[Checksums]:
        """Give the checksums of what lies there already, None when nothing does."""
        try:
            with self.request(url) as response:
                return copy_stream(response, None)
        except TransferError as error:
            if error.final:
                return None
            raise

    def store(self, source: str, url: str, sums: Checksums) -> None:
        """Upload a file with one PUT, which a server makes visible when it is complete."""
        with open(source, "rb") as stream, self.request(url, "PUT", stream, sums.size):
            pass


TRANSPORTS: Dict[str, Any] = {"file": FileTransport(), "http": HttpTransport(), "https": HttpTransport()}


def transport_of(url: str) -> Any:
    """Give what moves files to and from an URL."""
    return TRANSPORTS[urllib.parse.urlsplit(url).scheme]


def persist(action: Callable[[], Any], what: str) -> Any:
    """Try something until it works, at most once more for each of `RETRY_DELAYS_S`."""
    for delay in (*RETRY_DELAYS_S, None):
        try:
            return action()
        except (TransferError, OSError) as error:
            final = getattr(error, "final", False) or getattr(error, "errno", None) in DISK_FULL
            if final or delay is None:
                raise
            say(f"{what}: {error}; next try in {delay:g} s")
            time.sleep(delay)
    raise AssertionError("unreachable")


def fetch_input(one: Json) -> None:
    """Fetch an input and compare it with what it must be; JobError when it is not there or differs."""

    def fetch() -> None:
        sums = transport_of(one["pfn"]).fetch(one["pfn"], one["name"])
        if not sums.equal(one["size"], one["adler32"]):
            message = "it has {} bytes and adler32 {}, must have {} bytes and {}"
            raise TransferError(
                message.format(sums.size, sums.adler32, one["size"], one["adler32"]), corrupt=True
            )

    what = "input {} ({})".format(one["name"], one["pfn"])
    try:
        persist(fetch, what)
    except TransferError as error:
        raise JobError("INPUT_CORRUPT" if error.corrupt else "INPUT_MISSING", f"{what}: {error}") from error
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise JobError("INPUT_MISSING", f"{what}: {error}") from error


def upload_output(one: Json, sums: Checksums) -> None:
    """Upload an output, or adopt an equal file that lies there already; JobError when neither works."""

    def upload() -> str:
        transport = transport_of(one["pfn"])
        standing = transport.standing(one["pfn"])
        if standing is not None and standing.equal(sums.size, sums.adler32):
            return "adopted, an equal file was there"
        transport.store(one["name"], one["pfn"], sums)
        return "uploaded" if standing is None else "replaced another file"

    what = "output {} to {}".format(one["name"], one["pfn"])
    try:
        say(f"{what}: {persist(upload, what)}")
    except (TransferError, OSError) as error:
        raise JobError("UPLOAD_FAILED", f"{what}: {error}") from error


# --- images: payloads in a root filesystem of their own --------------------------------------------


def cached_image(digest: str) -> str:
    """Give the place of an unpacked image in the node's cache; JobError when the cache is not this user's."""
    cache = os.environ.get(IMAGE_CACHE) or f"/var/tmp/esap-images-{os.getuid()}"  # noqa: S108 - checked below
    os.makedirs(cache, mode=0o700, exist_ok=True)
    found = os.lstat(cache)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise JobError("SOFTWARE_MISSING", f"the image cache {cache} is not this user's own directory")
    return os.path.join(cache, digest)


def unpack_image(archive: str, digest: str) -> str:
    """Unpack an image into the node's cache, once for all jobs; JobError when it is not what it should be."""
    target = cached_image(digest)
    if os.path.isdir(target):
        return target
    found = checksums_of(archive).sha256
    if found != digest:
        raise JobError("INPUT_CORRUPT", f"the image {archive} has sha256 {found}, must have {digest}")
    part = tempfile.mkdtemp(prefix=".part-", dir=os.path.dirname(target))
    try:
        with tarfile.open(archive) as tar:
            extract(tar, part)
        for name in ("proc", "dev", INSIDE.strip("/")):
            os.makedirs(os.path.join(part, name), exist_ok=True)
        os.chmod(part, 0o755)  # noqa: S103 - the root directory of the contained payload
        os.rename(part, target)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise JobError("INPUT_CORRUPT", f"the image {archive} cannot be unpacked: {error}") from error
    except OSError:
        if not os.path.isdir(target):  # else another job was faster
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def extract(tar: tarfile.TarFile, target: str) -> None:
    """Unpack files and directories, then symbolic links; JobError for anything that may lead outside."""
    links = []
    for member in tar:
        parts = [p for p in member.name.split("/") if p not in ("", ".")]
        if ".." in parts or not (member.isfile() or member.isdir() or member.issym()):
            raise JobError("INPUT_CORRUPT", f"the image holds {member.name}, which is not allowed in one")
        path = os.path.join(target, *parts)
        if member.isdir():
            os.makedirs(path, exist_ok=True)
        elif member.issym():
            links.append((member.linkname, path))
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as stream:
                shutil.copyfileobj(tar.extractfile(member), stream)  # type: ignore[arg-type]
            os.chmod(path, 0o755 if member.mode & 0o100 else 0o644)
    for goal, path in links:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(goal, path)


def by_bwrap(root: str) -> List[str]:
    """Start by bubblewrap: image read-only, the job's directory at /work, no network, no other process."""
    places = ["--ro-bind", root, "/", "--dev", "/dev", "--proc", "/proc", "--bind", os.getcwd(), INSIDE]
    return ["bwrap", *places, "--chdir", INSIDE, "--unshare-all", "--die-with-parent", "--new-session", "--"]


UNSHARE = [
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "--pid",
    "--net",
    "--ipc",
    "--fork",
    "--kill-child",
]
# What bwrap does, with util-linux alone. A mount that was nosuid and nodev must stay so.
MOUNTS = """set -e
root=$1 work=$2
shift 2
mount --bind "$root" "$root"
mount --bind "$work" "$root/work"
mount -t proc proc "$root/proc"
mount -t tmpfs -o size=64k,mode=755 dev "$root/dev"
for name in null zero random urandom; do
    : >"$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mount -o remount,bind,ro "$root" 2>/dev/null || mount -o remount,bind,ro,nosuid,nodev "$root"
exec unshare --root="$root" --wd=/work -- "$@"
"""


def by_unshare(root: str) -> List[str]:
    """Start by util-linux, for nodes without bubblewrap."""
    return [*UNSHARE, "--", "sh", "-c", MOUNTS, "esap-rootfs", root, os.getcwd()]


# What starts an image, in order of preference, and how to see that the node lets it.
ENGINES: Dict[str, Tuple[Callable[[str], List[str]], List[str]]] = {
    "bwrap": (by_bwrap, ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--", "true"]),
    "unshare": (by_unshare, [*UNSHARE, "--", "true"]),
}


def find_engine(wanted: Optional[str]) -> str:
    """Name what starts images here; JobError says why nothing does."""
    told = []
    for name in [wanted] if wanted else list(ENGINES):
        probe = ENGINES[name][1] if name in ENGINES else []
        if not probe or shutil.which(probe[0]) is None:
            told.append(f"{name} is not there")
            continue
        done = subprocess.run(
            probe, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False
        )
        if done.returncode == 0:
            return name
        told.append("{} says: {}".format(name, done.stderr.decode("utf-8", "replace").strip()[-200:]))
    raise JobError("SOFTWARE_MISSING", "this node cannot start images: {}".format("; ".join(told)))


# --- the job --------------------------------------------------------------------------------------


class Job:
    """One job from its description to its report."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.batch: Json = {}
        self.job: Json = {}
        self.environment: Dict[str, str] = {}
        self.watched = Watched({})
        self.report: Json = {
            "schema": SCHEMA,
            "runner_version": VERSION,
            "group": "",
            "index": options.index,
            "attempt": options.attempt,
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
            "site": os.environ.get("DIRAC_SITE", ""),
            "limits": {},
            "runtime": {},
            "software": [],
            "inputs": [],
            "outputs": [],
            "validation": [],
        }

    def run(self) -> None:
        """Do every step; JobError ends it."""
        self.describe()
        write_files(self.job["files"])
        self.environment = job_environment(self.batch, self.job, self.options.attempt)
        steps = (
            ("fetch", self.fetch),
            ("payload", self.payload),
            ("validate", self.validate),
            ("upload", self.upload),
        )
        for name, step in steps:
            started = time.monotonic()
            try:
                step()
            finally:
                self.report["timings_s"][name] = round(time.monotonic() - started, 3)

    def describe(self) -> None:
        """Read and check the description."""
        if self.options.index is None:
            raise JobError("BAD_DESCRIPTION", "--index = null: allowed is the index of a job in the batch")
        self.batch = load_batch(self.options.batch)
        self.report["group"] = str(self.batch.get("group", ""))
        self.job = select_job(self.batch, self.options.index)
        self.report["runtime"] = self.batch["runtime"]
        self.report["software"] = self.batch["software"]
        self.report["limits"] = {name: self.job["limits"][name] for name, _, _ in LIMIT_RULES}
        self.watched = Watched(self.job["limits"])
        say("job {} of {}, attempt {}".format(self.job["index"], self.batch["group"], self.options.attempt))

    def fetch(self) -> None:
        """Fetch all inputs, when they can fit at all."""
        need = sum(one["size"] for one in self.job["inputs"]) / 2.0**20
        if need > self.job["limits"]["disk_mb"]:
            message = "the inputs have {:.0f} MB, the job may take {:g} MB of disk"
            raise JobError("DISK_LIMIT", message.format(need, self.job["limits"]["disk_mb"]))
        for one in self.job["inputs"]:
            if not self.has_image(one["name"]):
                fetch_input(one)
            self.report["inputs"].append({k: one.get(k) for k in ("name", "lfn", "size", "adler32")})

    def has_image(self, name: str) -> bool:
        """True for an input that is an image which this node has unpacked already."""
        runtime = self.batch["runtime"]
        if runtime["type"] != ROOTFS or runtime["image"] != name:
            return False
        return os.path.isdir(cached_image(runtime["sha256"]))

    def start_line(self) -> Tuple[List[str], Dict[str, str]]:
        """Give the payload's command and environment; those of a contained one know nothing of the node."""
        runtime = self.batch["runtime"]
        if runtime["type"] != ROOTFS:
            return self.job["command"], self.environment
        root = unpack_image(runtime["image"], runtime["sha256"])
        engine = find_engine(runtime.get("engine"))
        self.report["runtime"] = dict(runtime, engine=engine)
        own = {k: v for k, v in self.environment.items() if k.startswith("ESAP_") and k != IMAGE_CACHE}
        places = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": INSIDE, "TMPDIR": INSIDE}
        environment = dict(places, LANG="C.UTF-8", **dict(own, **self.job["environment"]))
        program, *settings = ENGINES[engine][0](root)
        return [str(shutil.which(program)), *settings, *self.job["command"]], environment

    def payload(self) -> None:
        """Run the payload; it must end with exit code 0 and leave every output."""
        say("runs {}".format(" ".join(self.job["command"])))
        command, environment = self.start_line()
        try:
            with open(PAYLOAD_LOG, "wb") as log:
                code = self.watched.run(command, environment, log, subprocess.STDOUT)
        except JobError as error:
            if error.reason == "TERMINATED":
                raise
            raise JobError(error.reason, f"the payload was stopped: {error}") from error
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            raise JobError(
                "SOFTWARE_MISSING", "{} cannot be started: {}".format(self.job["command"][0], error)
            ) from error
        if command is not self.job["command"] and code > SIGNALLED:
            code = SIGNALLED - code  # as a container tells of a signal
        self.report["payload_exit_code"] = code
        if code < 0:
            message = f"the payload was killed by {signal.Signals(-code).name} (not by the runner)"
            raise JobError("PAYLOAD_SIGNAL", message)
        if code > 0:
            raise JobError("PAYLOAD_FAILED", f"the payload ended with exit code {code}")
        self.watched.check_disk()
        missing = [one["name"] for one in self.job["outputs"] if not os.path.isfile(one["name"])]
        if missing:
            message = "the payload ended well but did not write {}".format(", ".join(missing))
            raise JobError("OUTPUT_MISSING", message)

    def validate(self) -> None:
        """Run every output's validator and keep its report."""
        for one in self.job["outputs"]:
            if one["validator"]:
                self.report["validation"].append(self.verdict_on(one))

    def verdict_on(self, one: Json) -> Json:
        """Run one validator."""
        name, command = one["name"], " ".join(one["validator"])
        kept, errors = ".validator.out", ".validator.err"
        try:
            with open(kept, "wb") as stdout, open(errors, "wb") as stderr:
                code = self.watched.run(one["validator"], self.environment, stdout, stderr)
            with open(kept, encoding="utf-8", errors="replace") as stream:
                report = json.loads(stream.read())
        except JobError as error:
            if error.reason == "TERMINATED":
                raise
            raise JobError("VALIDATOR_FAILED", f"{command} was stopped: {error}") from error
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            raise JobError("VALIDATOR_FAILED", f"{command} cannot be started: {error}") from error
        except ValueError:
            message = "{} printed no JSON and ended with {}: {}"
            raise JobError(
                "VALIDATOR_FAILED", message.format(command, code, tail_of(errors)[-300:])
            ) from None
        finally:
            for path in (kept, errors):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        verdict = report.get("verdict") if isinstance(report, dict) else None
        if VERDICTS.get(code) != verdict:
            message = "{} ended with {} and the verdict {}: allowed are 0 valid, 1 invalid, 2 unreadable"
            raise JobError("VALIDATOR_FAILED", message.format(command, code, json.dumps(verdict)))
        say(f"output {name} is {verdict}")
        return {"output": name, "verdict": verdict, "exit_code": code, "report": report}

    def upload(self) -> None:
        """Upload every output."""
        for one in self.job["outputs"]:
            sums = checksums_of(one["name"])
            upload_output(one, sums)
            self.report["outputs"].append(
                {
                    "name": one["name"],
                    "lfn": one.get("lfn", ""),
                    "pfn": one["pfn"],
                    "size": sums.size,
                    "adler32": sums.adler32,
                    "sha256": sums.sha256,
                }
            )

    def finish(self, reason: str, message: str) -> int:
        """Write the report; give the exit code."""
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.report.update(
            exit_code=EXIT_CODES[reason],
            reason=reason,
            message=message,
            payload_log_tail=tail_of(PAYLOAD_LOG),
            finished=utc_now(),
            peak_memory_mb=round(self.watched.peak_mb, 1),
            cpu_s=round(usage.ru_utime + usage.ru_stime, 3),
        )
        if self.report["payload_log_tail"]:
            print(self.report["payload_log_tail"], flush=True)
        say(f"{reason} ({EXIT_CODES[reason]}): {message}")
        try:
            write_report(self.report)
        except OSError as error:
            say(f"{REPORT} cannot be written: {error}")
        return EXIT_CODES[reason]


def write_report(report: Json) -> None:
    """Write the report, whole or not at all."""
    part = REPORT + ".part"
    with open(part, "w", encoding="utf-8") as stream:
        json.dump(report, stream, indent=1)
        stream.write("\n")
    os.rename(part, REPORT)


def terminate(number: int, _frame: Any) -> None:
    """End the job because the site says so, once."""
    for one in SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    message = f"the site ended the job with {signal.Signals(number).name}"
    raise JobError("TERMINATED", message)


class Parser(argparse.ArgumentParser):
    """Turns a wrong command line into the runner's own exit code."""

    def error(self, message: str) -> Any:
        """Raise instead of leaving with exit code 2."""
        raise JobError("BAD_DESCRIPTION", "command line: " + message)


def parse(arguments: Optional[List[str]]) -> argparse.Namespace:
    """Read the command line; JobError when it is wrong."""
    parser = Parser(prog="esap_runner.py", description="Runs one job of a batch.")
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("--batch", default="batch.json")
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--attempt", type=int, default=1)
    return parser.parse_args(arguments)


def attempt_job(job: Job) -> Tuple[str, str]:
    """Run a job to its end; give reason and message, whatever happens."""
    try:
        job.run()
        return "OK", "{} outputs are uploaded".format(len(job.report["outputs"]))
    except JobError as error:
        return error.reason, str(error)
    except OSError as error:
        if error.errno in DISK_FULL:
            return "DISK_LIMIT", f"the worker node's disk is full: {error}"
        traceback.print_exc()
        return "INTERNAL", f"{type(error).__name__}: {error}"
    except Exception as error:
        traceback.print_exc()
        return "INTERNAL", f"{type(error).__name__}: {error}"


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the job and leave its report; give the exit code."""
    PRCTL(PR_SET_CHILD_SUBREAPER, 1)
    try:
        options = parse(arguments)
    except JobError as error:
        nothing = argparse.Namespace(batch="batch.json", index=None, attempt=None)
        return Job(nothing).finish(error.reason, str(error))
    job = Job(options)
    reason, message = "TERMINATED", "the site ended the job"
    try:
        for one in SIGNALS:
            signal.signal(one, terminate)
        reason, message = attempt_job(job)
        for one in SIGNALS:
            signal.signal(one, signal.SIG_IGN)
    except JobError as error:  # a signal between the two
        reason, message = error.reason, str(error)
    end_all(GRACE_S)
    return job.finish(reason, message)


if __name__ == "__main__":
    sys.exit(main())
