"""The command line, and the job's end whatever happens."""

import argparse
import signal
import traceback
from typing import Any, List, Optional, Tuple

from . import VERSION
from .job import Job
from .limits import GRACE_S
from .processes import PR_SET_CHILD_SUBREAPER, PRCTL, end_all
from .reasons import JobError
from .reports import STAGE_FILE
from .transports import DISK_FULL

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


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
    parser = Parser(prog="esap_runner.pyz", description="Runs one job of a batch.")
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("--batch", default="batch.json")
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--attempt", type=int, default=1)
    parser.add_argument("--stage", default=STAGE_FILE, help="file that says which files are moved now")
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
        nothing = argparse.Namespace(batch="batch.json", index=None, attempt=None, stage="")
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
