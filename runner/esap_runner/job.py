"""One job from its description to its report."""

import argparse
import os
import subprocess
import time
from resource import RUSAGE_CHILDREN, getrusage
from signal import Signals

from .description import load_batch, select_job, write_files
from .execution import Execution
from .images import is_unpacked
from .limits import Watched, is_disk_full
from .logs import PAYLOAD_LOG, say, show, tail_of, utc_now
from .reasons import EXIT_CODES, JobError, Json
from .reports import REPORT, empty_report, keep_space, write_report
from .rules import LIMIT_RULES
from .software import job_environment
from .stages import FETCHING, STAGE, STORING
from .streams import PACE, checksums_of
from .transfers import fetch_input, upload_output
from .transports import DISK_FULL
from .validation import verdict_on


class Job:
    """All that is done for one job, step by step."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.batch: Json = {}
        self.job: Json = {}
        self.watched = Watched({})
        self.report = empty_report(options.index, options.attempt)
        STAGE.path = options.stage

    def run(self) -> None:
        """Do every step; JobError ends it."""
        self.describe()
        write_files(self.job["files"])
        environment = job_environment(self.batch, self.job, self.options.attempt)
        self.report["cores"] = int(environment["ESAP_CORES"])
        self.execution = Execution(self.batch, self.job, self.options.attempt, environment, self.watched)
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
        self.report["digest"] = self.job.get("digest", "")
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
        with STAGE.told(FETCHING, [one["size"] for one in self.job["inputs"]]):
            for one in self.job["inputs"]:
                if not is_unpacked(self.batch["runtime"], one["name"]):
                    fetch_input(one)
                STAGE.end_file(one["size"])
                self.report["inputs"].append({k: one.get(k) for k in ("name", "lfn", "size", "adler32")})

    def payload(self) -> None:
        """Run the payload; it must end with exit code 0 and leave every output."""
        say("runs {}".format(" ".join(self.job["command"])))
        self.report["runtime"] = self.execution.contain()
        try:
            with open(PAYLOAD_LOG, "wb") as log:
                code = self.execution.payload(self.job["command"], log, subprocess.STDOUT)
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
        self.check_code(code)
        self.watched.check_disk()
        missing = [one["name"] for one in self.job["outputs"] if not os.path.isfile(one["name"])]
        if missing:
            message = "the payload ended well but did not write {}".format(", ".join(missing))
            raise JobError("OUTPUT_MISSING", message)

    def check_code(self, code: int) -> None:
        """Raise JobError when a payload ended with another code than 0, and say whose fault that was."""
        if code < 0:
            message = f"the payload was killed by {Signals(-code).name} (not by the runner)"
            raise JobError("PAYLOAD_SIGNAL", message)
        if code > 0:
            self.execution.check_engine(code)
            if is_disk_full("."):
                message = "the worker node's disk is full, and the payload ended with exit code {}"
                raise JobError("DISK_LIMIT", message.format(code))
            raise JobError("PAYLOAD_FAILED", f"the payload ended with exit code {code}")

    def validate(self) -> None:
        """Run every output's validator and keep its report."""
        for one in self.job["outputs"]:
            if one["validator"]:
                self.report["validation"].append(verdict_on(one, self.execution.validator))

    def upload(self) -> None:
        """Upload every output."""
        with STAGE.told(STORING, [os.path.getsize(one["name"]) for one in self.job["outputs"]]):
            for one in self.job["outputs"]:
                sums = checksums_of(one["name"])
                upload_output(one, sums)
                STAGE.end_file(sums.size)
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
        usage = getrusage(RUSAGE_CHILDREN)
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
            show(self.report["payload_log_tail"])
        say(f"{reason} ({EXIT_CODES[reason]}): {message}")
        try:
            write_report(self.report)
        except OSError as error:
            say(f"{REPORT} cannot be written: {error}")
        return EXIT_CODES[reason]
