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
import fcntl
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
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

VERSION = "0.2.0"
SCHEMA = 1
REPORT = "job-report.json"
PAYLOAD_LOG = "payload.log"
SPACE = REPORT + ".space"
RESERVED = frozenset((REPORT, SPACE, PAYLOAD_LOG, "batch.json", "esap_runner.py"))
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
SETTLE_S = 1.0  # what podman has started tidies up by itself
UNKILLABLE_S = 30.0  # a process that hangs in the kernel is left to the site
HTTP_TIMEOUT_S = 60.0
RETRY_DELAYS_S = tuple(float(s) for s in os.environ.get("ESAP_RETRY_DELAYS_S", "1,4,10").split(","))
SIGNALLED = 128  # exit codes above it tell of a signal where a shell or a container stands between
PARTIAL_CONTENT, NO_SUCH_RANGE = 206, 416
GONE = (401, 403, 404, 410)  # HTTP answers that trying again does not change
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
PLAIN, ROOTFS, DOCKER = "plain", "rootfs", "docker"
CONTAINED = (ROOTFS, "apptainer", DOCKER, "podman", "udocker")
IMAGE_CACHE = "ESAP_IMAGE_CACHE"  # names the node's folder of unpacked images
INSIDE = "/work"  # the job's directory as a contained payload sees it
SYSTEM_FOLDERS = ("proc", "dev", "sys", "run", "etc", INSIDE.strip("/"))  # that something is mounted at
NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts")  # of the node, for payloads that may use the network
ENGINE_TIMEOUT_S = 600.0  # for what an engine does beside running a payload
ULIMIT = 32768  # of open files and processes in podman's containers, at most
REPORT_SPACE = 1 << 18  # kept free for the report on a disk that fills up
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

Json = Dict[str, Any]


class JobError(Exception):
    """The job ends here. `reason` is a key of `EXIT_CODES`, the text is one sentence for a user."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TransferError(Exception):
    """One try to move a file did not work; `final` when another cannot either.

    `status` is what an HTTP server answered.
    """

    def __init__(self, message: str, final: bool = False, corrupt: bool = False, status: int = 0) -> None:
        super().__init__(message)
        self.final = final
        self.corrupt = corrupt
        self.status = status


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


def is_count(value: Any) -> bool:
    """True for a whole number above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def is_list_of(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Give the test for a list of such values."""
    return lambda value: isinstance(value, list) and all(map(accepts, value))


def is_path(value: Any) -> bool:
    """True for an absolute path without `..`."""
    return is_text(value) and value.startswith("/") and ".." not in value.split("/")


def or_nothing(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Give the test for such a value, or none at all."""
    return lambda value: value is None or accepts(value)


Rule = Tuple[str, Callable[[Any], bool], str]
SHA256 = re.compile(r"^[0-9a-f]{64}$")
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
LIMIT_RULES: Tuple[Rule, ...] = (
    ("wall_time_s", is_limit, "a number above 0"),
    ("memory_mb", is_limit, "a number above 0"),
    ("disk_mb", is_limit, "a number above 0"),
    ("cores", or_nothing(is_count), "a whole number above 0"),
)
JOB_RULES: Tuple[Rule, ...] = (
    ("command", is_command, "a command as a list of strings"),
    ("files", lambda v: isinstance(v, dict), "an object of file names and contents"),
    ("inputs", lambda v: isinstance(v, list), "a list"),
    ("outputs", lambda v: isinstance(v, list), "a list"),
    ("limits", lambda v: isinstance(v, dict), "an object"),
    ("environment", is_texts, "an object of strings"),
)
RUNTIME_RULES: Tuple[Rule, ...] = (
    ("software_root_env", or_nothing(is_text), "the name of a variable"),
    ("modules", or_nothing(is_list_of(is_text)), "a list of names"),
)
IMAGE_RULES: Tuple[Rule, ...] = (
    ("image", or_nothing(is_plain_name), PLAIN_NAME),
    ("image_path", or_nothing(is_path), "an absolute path"),
    ("images", or_nothing(is_text), "the folder of the site's images"),
    ("sha256", or_nothing(lambda v: is_text(v) and SHA256.match(v) is not None), "64 hex digits"),
    ("network", or_nothing(lambda v: isinstance(v, bool)), "true or false"),
    ("mounts", or_nothing(is_list_of(is_path)), "a list of absolute paths"),
    ("required_mounts", or_nothing(is_list_of(is_path)), "a list of absolute paths"),
    ("options", or_nothing(is_list_of(is_text)), "a list of strings"),
    ("engine", or_nothing(is_text), "the name of a program"),
)
TRANSFER_RULES: Tuple[Rule, ...] = (("max_mb_per_s", or_nothing(is_limit), "a number above 0"),)
BATCH_RULES: Tuple[Rule, ...] = (
    ("schema", lambda v: v == SCHEMA and not isinstance(v, bool), str(SCHEMA)),
    ("group", is_text, "a name"),
    ("runtime", lambda v: isinstance(v, dict) and is_text(v.get("type")), "an object with a type"),
    ("software", lambda v: isinstance(v, list) and all(map(is_software, v)), "a list of {name, version}"),
    ("jobs", lambda v: isinstance(v, list), "a list"),
    ("transfer", or_nothing(lambda v: isinstance(v, dict)), "an object"),
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
    """Check a runtime; an image must be named by its digest, unless the site's own list names it."""
    problems = problems_of(runtime, RUNTIME_RULES, "runtime")
    if runtime["type"] not in CONTAINED:
        return problems
    problems += problems_of(runtime, IMAGE_RULES, "runtime")
    if problems:
        return problems
    sources = [name for name in ("image", "image_path", "images") if runtime.get(name) is not None]
    if not sources:
        return ["runtime.image = null: allowed is an image, an image_path or images"]
    if sources[0] != "images" and runtime.get("sha256") is None:
        return ["runtime.sha256 = null: allowed 64 hex digits"]
    names = [one["name"] for one in job["inputs"]]
    if sources[0] == "image" and runtime["image"] not in names:
        return ["runtime.image = {}: allowed is the name of an input".format(json.dumps(runtime["image"]))]
    return []


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
    problems += problems or problems_of(batch.get("transfer") or {}, TRANSFER_RULES, "transfer")
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


def software_root(batch: Json) -> str:
    """Give the root of the site's software area, "" when the runtime names none; JobError without it."""
    name = batch["runtime"].get("software_root_env")
    if name and not os.environ.get(name):
        raise JobError("SOFTWARE_MISSING", f"this site does not set {name}, the root of its software area")
    return os.environ[name] if name else ""


def software_path(batch: Json, path: str) -> str:
    """Put the software of the site's software area in front of a PATH; JobError for what is not there."""
    root = software_root(batch)
    if not root:
        return path
    places = [os.path.join(root, one["name"], one["version"], "bin") for one in batch["software"]]
    for one, place in zip(batch["software"], places):
        if not os.path.isdir(place):
            message = "this site has no {} {}: {} is not there".format(one["name"], one["version"], place)
            raise JobError("SOFTWARE_MISSING", message)
    return os.pathsep.join([*places, path])


def module_environment(names: List[str]) -> Dict[str, str]:
    """Give the environment after `module load`, in a login shell as the site sets it up."""
    if not names:
        return dict(os.environ)
    script = 'module load "$@" >&2 && exec env -0'
    done = run_tool(["bash", "-lc", script, "modules", *names], dict(os.environ))
    if done.returncode:
        message = "module load {} does not work here: {}"
        raise JobError("SOFTWARE_MISSING", message.format(" ".join(names), last_words(done.stderr)))
    pairs = (os.fsdecode(item).partition("=") for item in done.stdout.split(b"\0") if item)
    return {name: value for name, _, value in pairs}


def run_tool(command: List[str], environment: Dict[str, str]) -> "subprocess.CompletedProcess[bytes]":
    """Run a program of the node to its end; JobError when there is none such."""
    try:
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=ENGINE_TIMEOUT_S,
            check=False,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise JobError("SOFTWARE_MISSING", f"this node has no {command[0]}: {error}") from error
    except subprocess.TimeoutExpired as error:
        message = f"{command[0]} did not answer for {ENGINE_TIMEOUT_S:g} s"
        raise JobError("SOFTWARE_MISSING", message) from error


def last_words(told: bytes) -> str:
    """Give the end of what a program said."""
    return told.decode("utf-8", "replace").strip()[-300:]


def has_software_inside(runtime: Json) -> bool:
    """True when the software is the site's image itself, so that validators run in it too."""
    return runtime["type"] in CONTAINED and runtime.get("image") is None


def cores_of(limits: Json, environment: Dict[str, str]) -> int:
    """Give the cores that the job has: what SLURM gave it, else what it asked for, at most the node's."""
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        if environment.get(name, "").isdigit():
            return max(1, int(environment[name]))
    return min(limits.get("cores") or 1, len(os.sched_getaffinity(0)))


def job_environment(batch: Json, job: Json, attempt: int) -> Dict[str, str]:
    """Give the environment of payload and validators; JobError when the site lacks what they need."""
    runtime = batch["runtime"]
    kind = runtime["type"]
    if kind not in (PLAIN, *CONTAINED):
        message = "runtime {}: this runner has {}".format(json.dumps(kind), ", ".join((PLAIN, *CONTAINED)))
        raise JobError("SOFTWARE_MISSING", message)
    environment = dict(module_environment(runtime.get("modules") or []), **job["environment"])
    environment.update(ESAP_GROUP=batch["group"], ESAP_INDEX=str(job["index"]), ESAP_ATTEMPT=str(attempt))
    environment["ESAP_CORES"] = str(cores_of(job["limits"], environment))
    if has_software_inside(runtime):  # what an image holds is seen when it is started
        return environment
    environment["PATH"] = software_path(batch, environment.get("PATH", os.defpath))
    commands = [job["command"]] if kind == PLAIN else []
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


def is_disk_full(directory: str) -> bool:
    """True when the file system of a directory has no room left, not even for a short report."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize < REPORT_SPACE


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


class Watched:
    """A command that runs in its own process group, within the job's limits."""

    def __init__(self, limits: Json) -> None:
        self.limits = limits
        self.peak_mb = 0.0
        self.disk_due = 0.0
        self.settle_s = 0.0  # for what a container engine still has to tidy up

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
            preexec_fn=functools.partial(die_with, os.getpid()),  # noqa: PLW1509 - the runner has one thread
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
                await_end(self.settle_s)
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


class Pace:
    """Holds moves of files to so many bytes a second; None lets them go as they can."""

    def __init__(
        self,
        bytes_per_s: Optional[float] = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.bytes_per_s = bytes_per_s
        self.due = 0.0
        self._clock, self._sleep = clock, sleep

    @property
    def block(self) -> int:
        """Give how much to move at a time, so that the pace is even."""
        return BLOCK if self.bytes_per_s is None else max(1, min(BLOCK, int(self.bytes_per_s / 4)))

    def take(self, size: int) -> None:
        """Wait until so many bytes more may have been moved."""
        if self.bytes_per_s is None:
            return
        self.due = max(self.due, self._clock()) + size / self.bytes_per_s
        self._sleep(max(0.0, self.due - self._clock()))


PACE = Pace()  # of this job's transfers, set from the batch


class Paced:
    """A file that is read at the pace of transfers."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        """Read at most so many bytes."""
        block: bytes = self._stream.read(PACE.block if size < 0 else min(size, PACE.block))
        PACE.take(len(block))
        return block


def copy_stream(source: Any, target: Any, sums: Optional[Checksums] = None) -> Checksums:
    """Copy a stream block by block, and give its checksums; `target` None only reads."""
    sums = sums or Checksums()
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
                return copy_stream(Paced(source), stream)
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
                written = copy_stream(Paced(stream), target)
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
    def request(
        url: str, method: str = "GET", body: Any = None, size: int = 0, start: int = 0
    ) -> Iterator[Any]:
        """Make one request; TransferError names the answer that is no success."""
        headers = {"Content-Length": str(size)} if body is not None else {}
        if start:
            headers["Range"] = f"bytes={start}-"
        request = urllib.request.Request(url, data=body, headers=headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as response:  # noqa: S310
                yield response
        except urllib.error.HTTPError as error:
            message = f"{method} {url} answered {error.code} {error.reason}"
            raise TransferError(message, final=error.code in GONE, status=error.code) from error
        except (urllib.error.URLError, http.client.HTTPException, socket.timeout, ConnectionError) as error:
            raise TransferError(f"{method} {url}: {error}") from error

    def fetch(self, url: str, target: str) -> Checksums:
        """Download a file here, or the rest of it where a part of it lies."""
        start = os.path.getsize(target) if os.path.exists(target) else 0
        try:
            with self.request(url, start=start) as response:
                go_on = start > 0 and response.status == PARTIAL_CONTENT
                sums = checksums_of(target) if go_on else Checksums()
                with open(target, "ab" if go_on else "wb") as stream:
                    return copy_stream(Paced(response), stream, sums)
        except TransferError as error:
            if error.status == NO_SUCH_RANGE:
                os.unlink(target)
            raise

    def standing(self, url: str) -> Optional[Checksums]:
        """Give the checksums of what lies there already, None when nothing does."""
        try:
            with self.request(url) as response:
                return copy_stream(Paced(response), None)
        except TransferError as error:
            if error.final:
                return None
            raise

    def store(self, source: str, url: str, sums: Checksums) -> None:
        """Upload a file with one PUT, which a server makes visible when it is complete."""
        with open(source, "rb") as stream, self.request(url, "PUT", Paced(stream), sums.size):
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
            if sums.size >= one["size"]:
                os.unlink(one["name"])  # else it was cut off, and the next try goes on from there
            message = "it has {} bytes and adler32 {}, must have {} bytes and {}"
            raise TransferError(
                message.format(sums.size, sums.adler32, one["size"], one["adler32"]), corrupt=True
            )
        os.chmod(one["name"], 0o444)

    what = "input {} ({})".format(one["name"], one["pfn"])
    with contextlib.suppress(FileNotFoundError):
        os.unlink(one["name"])
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


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold a lock that all jobs of the node see; it ends with the process at the latest."""
    with open(path, "ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def check_digest(archive: str, digest: str) -> None:
    """Compare an image with its digest; JobError when it is another one."""
    found = checksums_of(archive).sha256
    if found != digest:
        raise JobError("INPUT_CORRUPT", f"the image {archive} has sha256 {found}, must have {digest}")


def unpack_image(archive: str, digest: str) -> str:
    """Unpack an image into the node's cache, once for all jobs; JobError when it is not what it should be."""
    target = cached_image(digest)
    if os.path.isdir(target):
        return target
    cache = os.path.dirname(target)
    with locked(os.path.join(cache, f".lock-{digest}")):
        if os.path.isdir(target):  # another job was faster
            return target
        for name in os.listdir(cache):  # what a killed job has left
            if name.startswith(f".part-{digest}-"):
                shutil.rmtree(os.path.join(cache, name))
        check_digest(archive, digest)
        part = tempfile.mkdtemp(prefix=f".part-{digest}-", dir=cache)
        try:
            with tarfile.open(archive) as tar:
                extract(tar, part)
            for name in SYSTEM_FOLDERS:
                mount_point(part, "/" + name)
            os.chmod(part, 0o755)  # noqa: S103 - the root directory of the contained payload
            os.rename(part, target)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise JobError("INPUT_CORRUPT", f"the image {archive} cannot be unpacked: {error}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return target


def mount_point(root: str, path: str, is_file: bool = False) -> None:
    """See that an image has a place to mount something at, or make it; JobError when neither works.

    Links are not followed: they would lead out of the image.
    """
    place, parts = root, [p for p in path.split("/") if p]
    try:
        for n, part in enumerate(parts):
            place = os.path.join(place, part)
            if os.path.islink(place):
                raise OSError(errno.ELOOP, "it is a symbolic link", place)
            if os.path.exists(place):
                continue
            if is_file and n == len(parts) - 1:
                with open(place, "ab"):
                    pass
            else:
                with contextlib.suppress(FileExistsError):  # another job was faster
                    os.mkdir(place)
    except OSError as error:
        message = f"the image has no place to mount {path} at, and none can be made: {error}"
        raise JobError("SOFTWARE_MISSING", message) from error


def site_image(path: str, digest: Optional[str]) -> Tuple[str, str]:
    """Find an image of the site: an archive, or a folder that one was unpacked to; give path and digest.

    PATH.sha256 beside it tells its digest (of a folder, that of its archive) as sha256sum writes it.
    """
    if not os.path.exists(path):
        raise JobError("SOFTWARE_MISSING", f"this site has no image {path}")
    index = path + ".sha256"
    try:
        with open(index, encoding="utf-8") as stream:
            told = (stream.read().split() or [""])[0]
    except (OSError, UnicodeDecodeError) as error:
        if digest and not os.path.isdir(path):
            return path, digest
        raise JobError("SOFTWARE_MISSING", f"the digest of the image {path} is not known: {error}") from error
    if not SHA256.match(told):
        raise JobError("INPUT_CORRUPT", f"{index} holds {told[:80]!r}: allowed 64 hex digits")
    if digest not in (None, told):
        raise JobError("INPUT_CORRUPT", f"the image {path} has sha256 {told}, must have {digest}")
    return path, told


def image_of(batch: Json) -> Tuple[str, str]:
    """Give path and digest of the image that a batch's payloads run in; JobError when the site lacks it."""
    runtime = batch["runtime"]
    if runtime.get("image") is not None:
        return runtime["image"], runtime["sha256"]
    if runtime.get("image_path") is not None:
        return site_image(runtime["image_path"], runtime["sha256"])
    if not batch["software"]:
        raise JobError("SOFTWARE_MISSING", "no software is named, so no image of the site can be chosen")
    one, folder = batch["software"][0], os.path.join(software_root(batch), runtime["images"])
    stem = os.path.join(folder, "{}-{}".format(one["name"], one["version"]))
    return site_image(stem if os.path.isdir(stem) else stem + ".tar.gz", one.get("sha256"))


def unpacked(batch: Json) -> Tuple[str, str]:
    """Give root directory and digest of a batch's image; JobError when there is no such image."""
    path, digest = image_of(batch)
    if not os.path.isdir(path):
        return unpack_image(path, digest), digest
    for name in SYSTEM_FOLDERS:
        mount_point(path, "/" + name)
    return path, digest


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


# --- containers: what starts a payload in an image -------------------------------------------------


class Container(NamedTuple):
    """All that decides a contained payload's command line.

    `root` is the image's root directory (docker: the name of the loaded image), `read_only` are files of the
    job's `directory`, `mounts` paths of the node.
    """

    root: str
    directory: str
    environment: Dict[str, str]
    name: str = ""
    read_only: Tuple[str, ...] = ()
    mounts: Tuple[str, ...] = ()
    network: bool = False
    memory_mb: float = 0.0
    options: Tuple[str, ...] = ()

    @property
    def binds(self) -> List[Tuple[str, str]]:
        """Give what is mounted read-only: its place on the node and inside."""
        inputs = [(os.path.join(self.directory, n), f"{INSIDE}/{n}") for n in self.read_only]
        return inputs + [(path, path) for path in self.mounts]


def csv_line(*fields: str) -> str:
    """Write one record of comma-separated values, as mount options are read."""
    quoted = ['"{}"'.format(f.replace('"', '""')) if re.search(r'[",\n]', f) else f for f in fields]
    return ",".join(quoted)


def mount_options(box: Container) -> List[str]:
    """Give the mounts as podman, docker and apptainer understand them."""
    places = [csv_line("type=bind", "src=" + box.directory, "dst=" + INSIDE)]
    places += [csv_line("type=bind", "src=" + a, "dst=" + b, "ro") for a, b in box.binds]
    return [word for place in places for word in ("--mount", place)]


def env_options(box: Container) -> List[str]:
    """Give the environment as podman, docker and udocker understand it."""
    return [f"--env={name}={value}" for name, value in sorted(box.environment.items())]


def by_bwrap(box: Container, command: List[str]) -> List[str]:
    """Bubblewrap: no other process, and it ends with the runner."""
    places = ["--ro-bind", box.root, "/", "--dev", "/dev", "--proc", "/proc", "--bind", box.directory, INSIDE]
    for source, target in box.binds:
        places += ["--ro-bind", source, target]
    apart = ["--unshare-all", *(["--share-net"] if box.network else []), "--die-with-parent", "--new-session"]
    return ["bwrap", *places, "--chdir", INSIDE, *apart, *box.options, "--", *command]


UNSHARE = [
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "--pid",
    "--ipc",
    "--fork",
    "--kill-child",
]
# What bwrap does, with util-linux alone. A mount that was nosuid, nodev or noexec must stay so.
MOUNTS = """set -e
root=$1 work=$2
shift 2
read_only() {
    for kept in "" ,nosuid,nodev ,nosuid,nodev,noexec; do
        mount -o "remount,bind,ro$kept" "$1" 2>/dev/null && return
    done
    mount -o remount,bind,ro "$1"
}
mount --bind "$root" "$root"
mount --bind "$work" "$root/work"
mount -t proc proc "$root/proc"
mount -t tmpfs -o size=64k,mode=755 dev "$root/dev"
for name in null zero random urandom; do
    : >"$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
while [ "$1" != -- ]; do
    mount --bind "$1" "$root$2"
    read_only "$root$2"
    shift 2
done
shift
read_only "$root"
exec unshare --root="$root" --wd=/work -- "$@"
"""


def by_unshare(box: Container, command: List[str]) -> List[str]:
    """Util-linux, for nodes without bubblewrap."""
    apart = UNSHARE if box.network else [*UNSHARE, "--net"]
    binds = [word for pair in box.binds for word in pair]
    script = ["sh", "-c", MOUNTS, "esap-rootfs", box.root, box.directory, *binds]
    return [*apart, *box.options, "--", *script, "--", *command]


def ulimit(name: str, number: int) -> str:
    """Give a limit that podman is allowed to set: its own defaults may be above the node's."""
    known = [value for value in resource.getrlimit(number) if value != resource.RLIM_INFINITY]
    least = min([ULIMIT, *known])
    return f"{name}={least}:{least}"


def by_podman(box: Container, command: List[str]) -> List[str]:
    """Podman: no daemon, so that the container's processes are the runner's own."""
    settings = ["--name", box.name, "--network", "host" if box.network else "none"]
    settings += ["--read-only", "--read-only-tmpfs=false", "--http-proxy=false", "--systemd=false"]
    settings += ["--cap-drop=all", "--security-opt=no-new-privileges", "--log-driver=none"]
    settings += ["--ulimit", ulimit("nofile", resource.RLIMIT_NOFILE)]
    settings += ["--ulimit", ulimit("nproc", resource.RLIMIT_NPROC)]
    settings += ["--workdir", INSIDE, *mount_options(box), *env_options(box), *box.options]
    return ["podman", "run", *settings, "--rootfs", box.root, *command]


def by_docker(box: Container, command: List[str]) -> List[str]:
    """Docker: its daemon starts the processes, so that it must hold the memory limit."""
    settings = ["--name", box.name, "--network", "host" if box.network else "none", "--read-only"]
    settings += ["--user", f"{os.getuid()}:{os.getgid()}", "--memory", f"{box.memory_mb:.0f}m"]
    settings += ["--cap-drop=all", "--security-opt=no-new-privileges", "--log-driver=none"]
    settings += ["--workdir", INSIDE, *mount_options(box), *env_options(box), *box.options]
    return ["docker", "run", *settings, box.root, *command]


def by_apptainer(box: Container, command: List[str]) -> List[str]:
    """Apptainer; the environment goes by variables of its own, since --env splits at commas."""
    settings = ["--containall", "--no-home", *(["--userns"] if os.getuid() == 0 else [])]
    settings += [] if box.network else ["--net", "--network", "none"]
    settings += ["--pwd", INSIDE, *mount_options(box), *box.options]
    return ["apptainer", "--quiet", "exec", *settings, box.root, *command]


def by_udocker(box: Container, command: List[str]) -> List[str]:
    """udocker: proot neither mounts read-only nor shuts the network off."""
    binds = [f"--volume={box.directory}:{INSIDE}", *(f"--volume={a}:{b}" for a, b in box.binds)]
    settings = ["--nobanner", "--workdir=" + INSIDE, *binds, *env_options(box), *box.options]
    return ["udocker", "--quiet", "run", *settings, "--location=" + box.root, "esap", *command]


def inner_environment(box: Container) -> Dict[str, str]:
    """Give what an engine hands on as it is."""
    return dict(box.environment)


def outer_environment(box: Container) -> Dict[str, str]:
    """Give the node's own environment, for an engine that hands none of it on."""
    return dict(os.environ)


def apptainer_environment(box: Container) -> Dict[str, str]:
    """Give the node's own environment, and the payload's under apptainer's names; HOME is its own affair."""
    given = {"APPTAINERENV_" + k: v for k, v in box.environment.items() if k != "HOME"}
    return dict(os.environ, **given)


class Engine(NamedTuple):
    """A program that starts payloads in images.

    `probe` is a command that works where the engine does; `broken` matches the last line of a log when the
    engine ended with one of `codes` without having started the payload; `remove` ends a container by name.
    """

    command: Callable[[Container, List[str]], List[str]]
    environment: Callable[[Container], Dict[str, str]]
    probe: List[str]
    codes: Tuple[int, ...] = ()
    broken: str = ""
    remove: Tuple[str, ...] = ()


ENGINES: Dict[str, Engine] = {
    "bwrap": Engine(
        by_bwrap, inner_environment, ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--", "true"]
    ),
    "unshare": Engine(by_unshare, inner_environment, [*UNSHARE, "--net", "--", "true"]),
    "podman": Engine(
        by_podman,
        outer_environment,
        ["podman", "--version"],
        codes=(125, 126),
        broken="Error: ",
        remove=("podman", "rm", "--force", "--ignore", "--time=0"),
    ),
    "docker": Engine(
        by_docker,
        outer_environment,
        ["docker", "version"],
        codes=(125, 126),
        broken="docker: ",
        remove=("docker", "rm", "--force"),
    ),
    "apptainer": Engine(
        by_apptainer,
        apptainer_environment,
        ["apptainer", "--version"],
        codes=(255,),
        broken=r"(\x1b\[\d+m)?FATAL: ",
    ),
    "udocker": Engine(by_udocker, outer_environment, ["udocker", "--version"], codes=(1,), broken="Error: "),
}
ROOTFS_ENGINES = ("bwrap", "unshare")  # in order of preference


def find_engine(kind: str, wanted: Optional[str] = None) -> str:
    """Name what starts images here; JobError says why nothing does."""
    if kind != ROOTFS:
        names: Tuple[str, ...] = (kind,)
    else:
        names = (wanted,) if wanted else ROOTFS_ENGINES
    told = []
    for name in names:
        probe = ENGINES[name].probe if name in ENGINES else []
        if not probe or shutil.which(probe[0]) is None:
            told.append(f"{name} is not there")
            continue
        done = run_tool(probe, dict(os.environ))
        if done.returncode == 0:
            return name
        told.append(f"{name} says: {last_words(done.stderr)}")
    raise JobError("SOFTWARE_MISSING", "this node cannot start images: {}".format("; ".join(told)))


def load_into_docker(archive: str, digest: str) -> str:
    """Give docker an image once for all jobs of the node; JobError when it does not take it."""
    name = f"esap/image:{digest}"
    with locked(cached_image(f".lock-docker-{digest}")):
        if run_tool(["docker", "image", "inspect", name], dict(os.environ)).returncode:
            check_digest(archive, digest)
            done = run_tool(["docker", "import", archive, name], dict(os.environ))
            if done.returncode:
                raise JobError("SOFTWARE_MISSING", f"docker takes no image: {last_words(done.stderr)}")
    return name


def mounts_of(runtime: Json, root: Optional[str]) -> Tuple[str, ...]:
    """Give the paths to mount that this node has; JobError when one is missing that must be there."""
    required = runtime.get("required_mounts") or []
    for path in required:
        if not os.path.exists(path):
            raise JobError("SOFTWARE_MISSING", f"this node has no {path}, which the runtime needs")
    optional = [path for path in runtime.get("mounts") or [] if os.path.exists(path)]
    files = [path for path in NETWORK_FILES if runtime.get("network") and os.path.exists(path)]
    if runtime["type"] not in (ROOTFS, "udocker"):
        files = []  # the other engines do that themselves
    found = list(dict.fromkeys([*required, *optional, *files]))
    for path in found if root else ():
        mount_point(str(root), path, is_file=os.path.isfile(path))
    return tuple(found)


# --- the job --------------------------------------------------------------------------------------


class Job:
    """One job from its description to its report."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.batch: Json = {}
        self.job: Json = {}
        self.environment: Dict[str, str] = {}
        self.watched = Watched({})
        self.engine = ""
        self.box: Optional[Container] = None
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
            "site": os.environ.get("DIRAC_SITE") or os.environ.get("ESAP_SITE", ""),
            "limits": {},
            "cores": 0,
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
        self.report["cores"] = int(self.environment["ESAP_CORES"])
        runtime = self.batch["runtime"]
        if runtime["type"] in CONTAINED:
            self.engine = find_engine(runtime["type"], runtime.get("engine"))
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
        limits = self.job["limits"]
        self.report["limits"] = {name: limits[name] for name, _, _ in LIMIT_RULES if limits.get(name)}
        self.watched = Watched(limits)
        most = (self.batch.get("transfer") or {}).get("max_mb_per_s")
        PACE.bytes_per_s = None if most is None else most * 1e6
        keep_space()
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
        if runtime["type"] not in (set(CONTAINED) - {DOCKER}) or runtime.get("image") != name:
            return False
        return os.path.isdir(cached_image(runtime["sha256"]))

    @property
    def container_name(self) -> str:
        """Name the container of this attempt on its node."""
        parts = (self.batch["group"], self.job["index"], self.options.attempt)
        return re.sub(r"[^A-Za-z0-9_.-]", "_", "esap-{}-{}-{}".format(*parts))

    def contain(self) -> None:
        """Make the image ready, when the payload runs in one; JobError when there is none."""
        runtime = self.batch["runtime"]
        if not self.engine:
            return
        if self.engine == DOCKER:
            path, digest = image_of(self.batch)
            root, mounts = load_into_docker(path, digest), mounts_of(runtime, None)
        else:
            root, digest = unpacked(self.batch)
            mounts = mounts_of(runtime, root)
        self.report["runtime"] = dict(runtime, engine=self.engine, sha256=digest)
        own = {k: v for k, v in self.environment.items() if k.startswith("ESAP_") and k != IMAGE_CACHE}
        places = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": INSIDE, "TMPDIR": INSIDE}
        self.box = Container(
            root=root,
            directory=os.getcwd(),
            environment=dict(places, LANG="C.UTF-8", **dict(own, **self.job["environment"])),
            name=self.container_name,
            read_only=tuple(one["name"] for one in self.job["inputs"] if os.path.isfile(one["name"])),
            mounts=mounts,
            network=bool(runtime.get("network")),
            memory_mb=self.job["limits"]["memory_mb"],
            options=tuple(runtime.get("options") or ()),
        )

    def execute(self, command: List[str], stdout: Any, stderr: Any) -> int:
        """Run a command as the runtime has it, and give its exit code as subprocess has it."""
        if self.box is None:
            return self.watched.run(command, self.environment, stdout, stderr)
        engine = ENGINES[self.engine]
        program, *settings = engine.command(self.box, command)
        line, environment = [str(shutil.which(program)), *settings], engine.environment(self.box)
        self.watched.settle_s = SETTLE_S if engine.remove else 0.0
        self.remove_container()  # that a killed runner has left
        try:
            code = self.watched.run(line, environment, stdout, stderr)
            self.check_docker()
        finally:
            self.remove_container()
        is_signal = code > SIGNALLED and code - SIGNALLED in set(signal.Signals)
        return SIGNALLED - code if is_signal else code  # as a container tells of a signal

    def check_docker(self) -> None:
        """Raise JobError when docker, whose processes the runner does not see, has held the memory limit."""
        if self.engine == DOCKER:
            command = ["docker", "inspect", "--format={{.State.OOMKilled}}", self.container_name]
            if run_tool(command, dict(os.environ)).stdout.strip() == b"true":
                raise JobError("MEMORY_LIMIT", "docker ended it at its memory limit")

    def remove_container(self) -> None:
        """End the container, whoever runs it, and forget it."""
        engine = ENGINES[self.engine]
        if not engine.remove:
            return
        done = run_tool([*engine.remove, self.container_name], dict(os.environ))
        if done.returncode and b"No such container" not in done.stderr:
            say(f"the container {self.container_name} is not removed: {last_words(done.stderr)}")

    def check_engine(self, code: int) -> None:
        """Raise JobError when it is the engine that ended with a code, not the payload."""
        if not self.engine or code not in ENGINES[self.engine].codes:
            return
        told = (tail_of(PAYLOAD_LOG).splitlines() or [""])[-1]
        if re.match(ENGINES[self.engine].broken, told):
            raise JobError("SOFTWARE_MISSING", f"{self.engine} could not start the payload: {told}")

    def payload(self) -> None:
        """Run the payload; it must end with exit code 0 and leave every output."""
        say("runs {}".format(" ".join(self.job["command"])))
        self.contain()
        try:
            with open(PAYLOAD_LOG, "wb") as log:
                code = self.execute(self.job["command"], log, subprocess.STDOUT)
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
        self.report["payload_exit_code"] = code
        if code < 0:
            message = f"the payload was killed by {signal.Signals(-code).name} (not by the runner)"
            raise JobError("PAYLOAD_SIGNAL", message)
        if code > 0:
            self.check_engine(code)
            if is_disk_full("."):
                message = "the worker node's disk is full, and the payload ended with exit code {}"
                raise JobError("DISK_LIMIT", message.format(code))
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

    def check(self, command: List[str], stdout: Any, stderr: Any) -> int:
        """Run a validator: in the image when that is the software, else with the site's own."""
        if has_software_inside(self.batch["runtime"]):
            return self.execute(command, stdout, stderr)
        return self.watched.run(command, self.environment, stdout, stderr)

    def verdict_on(self, one: Json) -> Json:
        """Run one validator."""
        name, command = one["name"], " ".join(one["validator"])
        kept, errors = ".validator.out", ".validator.err"
        try:
            with open(kept, "wb") as stdout, open(errors, "wb") as stderr:
                code = self.check(one["validator"], stdout, stderr)
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
